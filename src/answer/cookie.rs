//! DNS cookies (RFC 7873) with the interoperable server cookie (RFC 9018): a client that sends one back has received an
//! answer at its address, so nobody forged that address.
//!
//! No cookie is ever required: a query without one, or with a bad one, is answered all the same and told a good one
//! (RFC 7873 section 5.2.3 and the third way of 5.2.4). What a valid cookie gives is freedom from the rate limit.

use std::fmt;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::zone::Timestamp;

/// Octets of a secret (RFC 9018 section 4.4).
pub const SECRET: usize = 16;
/// Octets of the COOKIE option of an answer: client cookie and server cookie.
pub const REPLY: usize = CLIENT + SERVER;

/// Octets of a client cookie (RFC 7873 section 4.1).
const CLIENT: usize = 8;
/// Octets of the server cookie made here: version, reserved, time, hash (RFC 9018 section 4).
const SERVER: usize = 16;
/// Version and the reserved octets of the cookies made here (RFC 9018 sections 4.1 and 4.2).
const VERSION: [u8; 4] = [1, 0, 0, 0];

/// How long a server cookie is good (RFC 9018 section 4.3), seconds.
const LIFETIME: i32 = 3_600;
/// How far the clock of another server of the same secret may be ahead (RFC 9018 section 4.3), seconds.
const AHEAD: i32 = 300;
/// From which age on a new one is made (RFC 9018 section 4.3), seconds.
const RENEWAL: i32 = 1_800;

/// The COOKIE option of a query (RFC 7873 section 4), of legal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie<'a> {
    client: &'a [u8; CLIENT],
    /// Empty, or 8 to 32 octets that this server or another made.
    server: &'a [u8],
}

impl<'a> Cookie<'a> {
    /// `None` if the length is not legal, which is a FORMERR (RFC 7873 section 5.2.2).
    pub fn read(option: &'a [u8]) -> Option<Cookie<'a>> {
        let (client, server) = option.split_first_chunk()?;
        let legal = server.is_empty() || (8..=32).contains(&server.len());
        legal.then_some(Cookie { client, server })
    }
}

/// What a query's cookie is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieState {
    /// The client knows no server cookie yet.
    ClientOnly,
    /// Made with one of the secrets, for this client at this address, not long ago.
    Valid,
    Invalid,
}

/// The secrets, which several servers may share so that each takes the cookies of the others.
pub struct Cookies {
    signing: SipHasher24,
    others: Vec<SipHasher24>,
}

impl Cookies {
    /// Cookies made with `signing`; those made with one of `others`, the secret before or the one to come, are valid
    /// too (RFC 9018 section 5).
    pub fn new(signing: &[u8; SECRET], others: &[[u8; SECRET]]) -> Cookies {
        Cookies {
            signing: SipHasher24::new_with_key(signing),
            others: others.iter().map(SipHasher24::new_with_key).collect(),
        }
    }

    /// Judges the cookie of a query from `client`; and the COOKIE option of the answer.
    pub fn check(&self, client: IpAddr, cookie: Cookie<'_>, now: Timestamp) -> (CookieState, [u8; REPLY]) {
        let now = now as u32; // serial numbers, RFC 9018 section 4.3
        let mut reply = [0; REPLY];
        reply[..CLIENT].copy_from_slice(cookie.client);
        let (state, keep) = match cookie.server {
            [] => (CookieState::ClientOnly, false),
            server => match self.verify(client, cookie.client, server, now) {
                None => (CookieState::Invalid, false),
                Some(keep) => (CookieState::Valid, keep),
            },
        };
        if keep {
            reply[CLIENT..].copy_from_slice(cookie.server);
            return (state, reply);
        }
        reply[CLIENT..CLIENT + 4].copy_from_slice(&VERSION);
        reply[CLIENT + 4..CLIENT + 8].copy_from_slice(&now.to_be_bytes());
        let hash = hash(&self.signing, client, reply.first_chunk().unwrap_or(&[0; HASHED]));
        reply[CLIENT + 8..].copy_from_slice(&hash.to_le_bytes());
        (state, reply)
    }

    /// Whether the server cookie is good: `None` if not, else whether it is good enough to be sent back as it is.
    fn verify(&self, client: IpAddr, client_cookie: &[u8; CLIENT], server: &[u8], now: u32) -> Option<bool> {
        let [head @ .., _, _, _, _, _, _, _, _] = <&[u8; SERVER]>::try_from(server).ok()?;
        let [version, reserved @ .., t0, t1, t2, t3] = head;
        let age = now.wrapping_sub(u32::from_be_bytes([*t0, *t1, *t2, *t3])) as i32;
        if *version != VERSION[0] || !(-AHEAD..=LIFETIME).contains(&age) {
            return None;
        }
        // The reserved octets are hashed as they came (RFC 9018 section 4.2).
        let mut hashed = [0; HASHED];
        hashed[..CLIENT].copy_from_slice(client_cookie);
        hashed[CLIENT..].copy_from_slice(head);
        let claimed = u64::from_le_bytes(*server.last_chunk()?);
        if hash(&self.signing, client, &hashed) == claimed {
            return Some(age <= RENEWAL && *reserved == [0; 3]);
        }
        self.others.iter().any(|secret| hash(secret, client, &hashed) == claimed).then_some(false)
    }
}

/// No secret is shown to anybody.
impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookies(…)")
    }
}

/// Octets that are hashed besides the address: client cookie, version, reserved, time.
const HASHED: usize = CLIENT + 8;

/// RFC 9018 section 4.4; the hash stands in the cookie in little-endian order.
fn hash(secret: &SipHasher24, client: IpAddr, hashed: &[u8; HASHED]) -> u64 {
    let mut input = [0; HASHED + 16];
    input[..HASHED].copy_from_slice(hashed);
    match client.to_canonical() {
        IpAddr::V4(address) => {
            input[HASHED..HASHED + 4].copy_from_slice(&address.octets());
            secret.hash(&input[..HASHED + 4])
        }
        IpAddr::V6(address) => {
            input[HASHED..].copy_from_slice(&address.octets());
            secret.hash(&input)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET_1: [u8; 16] = 0xe5e973e5a6b2a43f48e7dc849e37bfcf_u128.to_be_bytes();
    const SECRET_2: [u8; 16] = 0xdd3bdf9344b678b185a6f5cb60fca715_u128.to_be_bytes();
    const SECRET_3: [u8; 16] = 0x445536bcd2513298075a5d379663c962_u128.to_be_bytes();

    fn octets(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[track_caller]
    fn check(cookies: &Cookies, client: &str, option: &str, now: Timestamp) -> (CookieState, String) {
        let option = octets(option);
        let cookie = Cookie::read(&option).unwrap();
        let (state, reply) = cookies.check(client.parse().unwrap(), cookie, now);
        (state, reply.iter().map(|octet| format!("{octet:02x}")).collect())
    }

    #[test]
    fn a_new_server_cookie_rfc9018_a_1() {
        let cookies = Cookies::new(&SECRET_1, &[]);
        let (state, reply) = check(&cookies, "198.51.100.100", "2464c4abcf10c957", 1_559_731_985);
        assert_eq!(state, CookieState::ClientOnly);
        assert_eq!(reply, "2464c4abcf10c957010000005cf79f111f8130c3eee29480");
    }

    #[test]
    fn a_renewed_server_cookie_rfc9018_a_2() {
        let cookies = Cookies::new(&SECRET_1, &[]);
        let sent = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let (state, reply) = check(&cookies, "198.51.100.100", sent, 1_559_734_385);
        assert_eq!(state, CookieState::Valid);
        assert_eq!(reply, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
    }

    /// The RFC calls the cookie valid when it is nearly two hours old; with the lifetime of its own section 4.3 it was
    /// so for an hour.
    #[test]
    fn reserved_octets_are_hashed_as_they_came_rfc9018_a_3() {
        let cookies = Cookies::new(&SECRET_1, &[]);
        let sent = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
        let (state, reply) = check(&cookies, "203.0.113.203", sent, 1_559_734_700);
        assert_eq!(state, CookieState::Invalid);
        assert_eq!(reply, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e");
        let (state, reply) = check(&cookies, "203.0.113.203", sent, 1_559_727_985);
        assert_eq!(state, CookieState::Valid);
        assert!(reply.starts_with("fc93fc62807ddb86010000005cf78f71"), "{reply}");
    }

    #[test]
    fn ipv6_and_another_secret_rfc9018_a_4() {
        let client = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let sent = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        let renewed = "22681ab97d52c298010000005cf7c609a6bb79d16625507a";
        let rolled = Cookies::new(&SECRET_3, &[SECRET_2]);
        assert_eq!(check(&rolled, client, sent, 1_559_741_961), (CookieState::Valid, renewed.into()));
        let without = Cookies::new(&SECRET_3, &[SECRET_1]);
        assert_eq!(check(&without, client, sent, 1_559_741_961), (CookieState::Invalid, renewed.into()));
    }

    #[test]
    fn a_cookie_has_its_time_rfc9018_4_3() {
        let cookies = Cookies::new(&SECRET_1, &[]);
        // also where the 32 bits of the time wrap around
        for made in [1_000_000_u64, u64::from(u32::MAX) - 100, (1 << 32) + 50] {
            let (_, sent) = check(&cookies, "192.0.2.1", "0102030405060708", made);
            let at = |now| check(&cookies, "192.0.2.1", &sent, now);
            assert_eq!(at(made), (CookieState::Valid, sent.clone()));
            assert_eq!(at(made + 1_800), (CookieState::Valid, sent.clone()));
            let (state, renewed) = at(made + 1_801);
            assert!(state == CookieState::Valid && renewed != sent);
            assert_eq!(at(made + 3_600).0, CookieState::Valid);
            assert_eq!(at(made + 3_601).0, CookieState::Invalid);
            assert_eq!(at(made - 300).0, CookieState::Valid);
            assert_eq!(at(made - 301).0, CookieState::Invalid);
        }
    }

    #[test]
    fn a_cookie_is_good_for_its_client_alone() {
        let cookies = Cookies::new(&SECRET_1, &[SECRET_2]);
        let (_, sent) = check(&cookies, "192.0.2.1", "0102030405060708", 1_000_000);
        let state = |client: &str, sent: &str| check(&cookies, client, sent, 1_000_000).0;
        assert_eq!(state("::ffff:192.0.2.1", &sent), CookieState::Valid, "IPv4 in IPv6 is the same client");
        assert_eq!(state("192.0.2.2", &sent), CookieState::Invalid);
        assert_eq!(state("2001:db8::1", &sent), CookieState::Invalid);
        assert_eq!(state("192.0.2.1", &sent.replacen("08", "09", 1)), CookieState::Invalid);
        for at in (16..48).step_by(2) {
            let mut changed = octets(&sent);
            changed[at / 2] ^= 0x40;
            let changed: String = changed.iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(state("192.0.2.1", &changed), CookieState::Invalid, "octet {}", at / 2);
        }
        for foreign in ["0102030405060708aaaaaaaaaaaaaaaa", &format!("{sent}00"), &sent[..46]] {
            assert_eq!(state("192.0.2.1", foreign), CookieState::Invalid, "{foreign}");
        }
    }

    #[test]
    fn lengths_rfc7873_5_2_2() {
        for len in 0..64 {
            let legal = len == 8 || (16..=40).contains(&len);
            assert_eq!(Cookie::read(&vec![0; len]).is_some(), legal, "{len}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Cookies::new(&SECRET_1, &[SECRET_2])), "Cookies(…)");
    }
}
