//! The ways to prove control of a name by TXT records: where the CA looks, and for what. Pure.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::ChallengeType;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::acme::ca::directory::Meta;
use crate::acme::ca::session::Session;
use crate::config::Challenge;
use crate::zone::{ACME_CHALLENGE, Name, NameError, Timestamp, TxtValue, VALIDATION_PERSIST};

/// The name of a method in the configuration, at CAs, and in CAA records (RFC 8657 section 4).
pub fn method(challenge: Challenge) -> &'static str {
    match challenge {
        Challenge::Dns01 => "dns-01",
        Challenge::DnsAccount01 => "dns-account-01",
        Challenge::DnsPersist01 => "dns-persist-01",
    }
}

/// The same for the protocol.
pub fn kind(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Dns01 => ChallengeType::Dns01,
        other => ChallengeType::Unknown(method(other).into()),
    }
}

/// How names are proven, and for whom.
#[derive(Clone, Debug)]
pub enum Method {
    Dns01,
    /// With the account's label.
    DnsAccount01(String),
    DnsPersist01(Holder),
}

/// Who a dns-persist-01 record is for.
#[derive(Clone, Debug)]
pub struct Holder {
    /// URL of the account.
    pub account: String,
    /// Of the account's key (RFC 7638), in base64url.
    pub thumbprint: String,
    /// The same of the keys that it had before: the CA takes records of them as well.
    pub former: Vec<String>,
    /// From draft -02 on: the account's URL is in no record, but this and a hash.
    pub hash_prefix: Option<String>,
    /// The names by which the CA goes in such records; none if it has not told them yet.
    pub issuers: Vec<String>,
}

impl Method {
    pub fn of(challenge: Challenge, session: &Session) -> Method {
        let (account, meta) = (&session.account, &session.directory.meta);
        Method::with(challenge, account.id(), (account.key_thumbprint(), &session.former_keys), meta)
    }

    /// The same for an account of this URL, whose keys, now and before, have these thumbprints, at a CA that says this of itself.
    pub fn with(challenge: Challenge, account: &str, (thumbprint, former): (&str, &[String]), meta: &Meta) -> Method {
        match challenge {
            Challenge::Dns01 => Method::Dns01,
            Challenge::DnsAccount01 => Method::DnsAccount01(account_label(account)),
            Challenge::DnsPersist01 => Method::DnsPersist01(Holder {
                account: account.to_owned(),
                thumbprint: thumbprint.to_owned(),
                former: former.to_vec(),
                hash_prefix: meta.account_hash_prefix.clone(),
                // Before draft -02 only the challenge tells; CAs are known to go by the same name as in CAA records.
                issuers: match meta.issuer_domain_names.as_slice() {
                    [] => valid_issuers(&meta.caa_identities),
                    names => valid_issuers(names),
                },
            }),
        }
    }

    /// The name at which the CA looks.
    pub fn challenge_name(&self, domain: &Name) -> Result<Name, NameError> {
        match self {
            Method::Dns01 => domain.child(ACME_CHALLENGE),
            Method::DnsAccount01(label) => domain.child(ACME_CHALLENGE)?.child(label.as_bytes()),
            Method::DnsPersist01(_) => domain.child(VALIDATION_PERSIST),
        }
    }

    /// The record that may stand there for good; `None` if the method has no such record, or if the CA has not told by
    /// which name it goes.
    pub fn standing(&self, domain: &Name, wildcard: bool) -> Option<Standing> {
        let Method::DnsPersist01(holder) = self else { return None };
        if holder.issuers.is_empty() {
            return None;
        }
        let accounts = match &holder.hash_prefix {
            None => vec![holder.account.clone()],
            Some(prefix) => {
                let domain = domain.to_string();
                let hash =
                    |domain, thumbprint| format!("{prefix}{}", account_hash(domain, thumbprint, &holder.account));
                let thumbprints = std::iter::once(&holder.thumbprint).chain(&holder.former);
                thumbprints.flat_map(|thumbprint| [hash(&domain, thumbprint), hash("*", thumbprint)]).collect()
            }
        };
        Some(Standing { issuers: holder.issuers.clone(), accounts, wildcard })
    }
}

/// A dns-persist-01 record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Any of them will do. At least one.
    issuers: Vec<String>,
    /// Any of them will do. At least one.
    accounts: Vec<String>,
    /// Whether it has to be good for wildcards.
    wildcard: bool,
}

impl Standing {
    /// The value to put there; without `until` it is good for ever.
    pub fn value(&self, until: Option<Timestamp>) -> String {
        let [Some(issuer), Some(account)] = [&self.issuers, &self.accounts].map(|all| all.first()) else {
            return String::new();
        };
        let policy = if self.wildcard { "; policy=wildcard" } else { "" };
        let until = until.map_or(String::new(), |until| format!("; persistUntil={until}"));
        format!("{issuer}; accounturi={account}{policy}{until}")
    }

    /// Whether a CA will take this value. What a strict one may refuse is refused.
    pub fn is_met_by(&self, value: &[u8], now: Timestamp) -> bool {
        std::str::from_utf8(value).is_ok_and(|value| self.reads(value, now).is_some())
    }

    fn reads(&self, value: &str, now: Timestamp) -> Option<()> {
        let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
        let issuer = parts.next()?;
        let mut parameters: Vec<(String, &str)> = Vec::new();
        for part in parts {
            let (tag, value) = part.split_once('=')?;
            let (tag, value) = (tag.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t']));
            let tag = tag.to_ascii_lowercase();
            let is_new = parameters.iter().all(|(known, _)| *known != tag);
            if tag.is_empty() || !is_new || !value.bytes().all(|octet| octet.is_ascii_graphic()) {
                return None;
            }
            parameters.push((tag, value));
        }
        let get = |tag: &str| parameters.iter().find(|(known, _)| known == tag).map(|(_, value)| *value);
        let until = get("persistuntil").map(str::parse::<Timestamp>).transpose().ok()?;
        let for_us = self.issuers.iter().any(|known| known == issuer)
            && self.accounts.iter().any(|account| get("accounturi") == Some(account))
            && (!self.wildcard || get("policy").is_some_and(|policy| policy.eq_ignore_ascii_case("wildcard")))
            && until.is_none_or(|until| now < until);
        for_us.then_some(())
    }

    /// The record to make by hand, in master-file form.
    pub fn record(&self, at: &Name) -> String {
        format!("{at}. IN TXT {}", quoted(self.value(None).as_bytes()))
    }
}

/// The first label of the name at which a CA looks for dns-account-01 values of this account
/// (draft-ietf-acme-dns-account-label section 3.1).
fn account_label(account: &str) -> String {
    let hash = Sha256::digest(account.as_bytes());
    format!("_{}", base32(&hash[..10]))
}

/// Lower-case base32 (RFC 4648 section 6) without padding.
fn base32(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| octets.get(at / 8).map_or(0, |octet| usize::from(octet >> (7 - at % 8) & 1));
    let character = |at| char::from(ALPHABET[(at..at + 5).fold(0, |five, at| five << 1 | bit(at))]);
    (0..octets.len() * 8).step_by(5).map(character).collect()
}

/// What stands for an account in a record for one domain, or for any with `*` (draft-ietf-acme-dns-persist-02).
fn account_hash(domain: &str, thumbprint: &str, account: &str) -> String {
    // A name has at most 253 characters.
    let len = u8::try_from(domain.len()).unwrap_or(u8::MAX);
    let hash = Sha256::new().chain_update([len]).chain_update(domain).chain_update(thumbprint).chain_update(account);
    format!("sha-256/{}", BASE64_URL_SAFE_NO_PAD.encode(hash.finalize()))
}

/// Those names that may stand in a record.
fn valid_issuers(names: &[String]) -> Vec<String> {
    /// draft-ietf-acme-dns-persist: a CA has no more.
    const MOST: usize = 10;
    let is_valid = |name: &&String| {
        let host = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
        Name::parse(name).is_ok() && name.len() <= 253 && !name.ends_with('.') && name.bytes().all(host)
    };
    names.iter().take(MOST).filter(is_valid).cloned().collect()
}

/// The names by which the CA goes in the records of this challenge, which instant-acme does not read: `None` if the
/// authorization has no such challenge.
pub fn issuers(authorization: &[u8], challenge_url: &str) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Authorization {
        challenges: Vec<Offered>,
    }
    #[derive(Deserialize)]
    struct Offered {
        url: String,
        #[serde(default, rename = "issuerDomainNames")]
        issuers: Vec<String>,
        /// Before draft -02.
        #[serde(default, rename = "issuer-domain-names")]
        with_hyphens: Vec<String>,
    }
    let authorization: Authorization = serde_json::from_slice(authorization).ok()?;
    let challenge = authorization.challenges.into_iter().find(|offered| offered.url == challenge_url)?;
    let told = if challenge.issuers.is_empty() { challenge.with_hyphens } else { challenge.issuers };
    Some(valid_issuers(&told))
}

/// The name of a challenge that the CA offers.
pub fn offered(kind: &ChallengeType) -> String {
    match kind {
        ChallengeType::Http01 => "http-01".into(),
        ChallengeType::Dns01 => "dns-01".into(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".into(),
        ChallengeType::Unknown(name) => name.clone(),
        other => format!("{other:?}"),
    }
}

/// The character-strings of a TXT record in master-file form (RFC 1035 sections 3.3.14 and 5.1).
fn quoted(value: &[u8]) -> String {
    let strings = value.chunks(255).filter_map(|string| TxtValue::new(string).ok());
    strings.map(|string| format!("\"{string}\"")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://ca.example/acct/123";
    const THUMBPRINT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn persist(hash_prefix: Option<&str>, issuers: &[&str]) -> Method {
        Method::DnsPersist01(Holder {
            account: ACCOUNT.into(),
            thumbprint: THUMBPRINT.into(),
            former: Vec::new(),
            hash_prefix: hash_prefix.map(str::to_owned),
            issuers: issuers.iter().map(|&issuer| issuer.to_owned()).collect(),
        })
    }

    #[test]
    fn an_account_has_a_label_of_its_own_dns_account_label_3_1() {
        let label = account_label("https://example.com/acme/acct/ExampleAccount");
        assert_eq!(label, "_ujmmovf2vn55tgye");
        let at = Method::DnsAccount01(label).challenge_name(&name("www.example.test")).unwrap();
        assert_eq!(at.to_string(), "_ujmmovf2vn55tgye._acme-challenge.www.example.test");
        assert_eq!(crate::zone::proven_domain(&at), Some(name("www.example.test")));
    }

    #[test]
    fn base32_is_that_of_rfc4648_10() {
        for (octets, text) in [("", ""), ("f", "my"), ("foobar", "mzxw6ytboi"), ("fooba", "mzxw6ytb")] {
            assert_eq!(base32(octets.as_bytes()), text);
        }
    }

    #[test]
    fn an_account_is_hashed_with_the_domain_dns_persist_02() {
        let hash = |domain| account_hash(domain, THUMBPRINT, ACCOUNT);
        assert_eq!(hash("example.com"), "sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw");
        assert_eq!(hash("*"), "sha-256/NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug");

        let method = persist(Some("https://ca.example/hash/"), &["ca.example"]);
        let standing = method.standing(&name("example.com"), true).unwrap();
        let value = "ca.example; accounturi=https://ca.example/hash/sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw\
                     ; policy=wildcard";
        assert_eq!(standing.value(None), value);
        assert!(standing.is_met_by(value.as_bytes(), 0));
        let any = value.replace("5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw", &hash("*")["sha-256/".len()..]);
        assert!(standing.is_met_by(any.as_bytes(), 0));
        // The account itself is told nobody any more.
        let plain = persist(None, &["ca.example"]).standing(&name("example.com"), true).unwrap().value(None);
        assert!(!standing.is_met_by(plain.as_bytes(), 0));
    }

    #[test]
    fn records_of_former_keys_stay_good_and_new_ones_are_of_the_key_in_use_dns_persist_02() {
        let method = |thumbprint: &str, former: &[&str]| {
            Method::DnsPersist01(Holder {
                account: ACCOUNT.into(),
                thumbprint: thumbprint.into(),
                former: former.iter().map(|&former| former.to_owned()).collect(),
                hash_prefix: Some("https://ca.example/hash/".into()),
                issuers: vec!["ca.example".into()],
            })
        };
        let standing = |method: Method| method.standing(&name("example.com"), false).unwrap();
        let (before, other) =
            (standing(method(THUMBPRINT, &[])).value(None), standing(method("other", &[])).value(None));
        let now = standing(method("another", &["older", THUMBPRINT]));
        assert!(now.is_met_by(before.as_bytes(), 0) && now.is_met_by(now.value(None).as_bytes(), 0));
        assert!(!now.is_met_by(other.as_bytes(), 0));
        assert_eq!(now.value(None), standing(method("another", &[])).value(None));
    }

    #[test]
    fn the_record_to_make_is_told_in_strings_of_255_octets_rfc1035_3_3_14() {
        let at = name("_validation-persist.example.com");
        assert_eq!(persist(None, &[]).challenge_name(&name("example.com")).unwrap(), at);
        assert_eq!(persist(None, &[]).standing(&name("example.com"), false), None);
        let standing = persist(None, &["ca.example", "other.example"]).standing(&name("example.com"), false).unwrap();
        assert_eq!(
            standing.record(&at),
            "_validation-persist.example.com. IN TXT \"ca.example; accounturi=https://ca.example/acct/123\""
        );
        let until = standing.value(Some(1_800_000_000));
        assert_eq!(until, "ca.example; accounturi=https://ca.example/acct/123; persistUntil=1800000000");
        assert!(standing.is_met_by(until.as_bytes(), 1_799_999_999));
        let long = Standing { accounts: vec![format!("https://ca.example/{}", "x".repeat(300))], ..standing };
        let strings: Vec<usize> = long.record(&at).split('"').skip(1).step_by(2).map(str::len).collect();
        assert_eq!(strings, [255, long.value(None).len() - 255]);
    }

    /// As Boulder and Pebble read them.
    #[test]
    fn records_that_are_there_are_read_strictly_dns_persist_01() {
        let standing = |wildcard| {
            persist(None, &["ca.example", "other.example"]).standing(&name("example.com"), wildcard).unwrap()
        };
        let account = format!("accounturi={ACCOUNT}");
        for (value, plain, wildcard) in [
            (format!("ca.example; {account}"), true, false),
            (format!("other.example;{account};policy=wildcard"), true, true),
            (format!("\tca.example ;ACCOUNTURI = {ACCOUNT} ; Policy=WildCard "), true, true),
            (format!("ca.example; {account}; policy=other"), true, false),
            (format!("ca.example; {account}; later=1; policy=wildcard; empty="), true, true),
            (format!("ca.example; {account}; persistUntil=1001"), true, false),
            (format!("ca.example; {account}; persistUntil=1000"), false, false),
            (format!("ca.example; {account}; persistUntil=soon"), false, false),
            (format!("ca.example; {account};"), false, false),
            (format!("ca.example; {account}; {account}"), false, false),
            (format!("ca.example; {account}; Policy=wildcard; policy=wildcard"), false, false),
            (format!("ca.example; {account}; a=b c"), false, false),
            (format!("ca.example; {account}; policy"), false, false),
            (format!("ca.example; {account}; =x"), false, false),
            (format!("ca.example; {account}/4"), false, false),
            (format!("CA.example; {account}"), false, false),
            (format!("; {account}"), false, false),
            (account.clone(), false, false),
            ("ca.example".into(), false, false),
            (String::new(), false, false),
        ] {
            assert_eq!(standing(false).is_met_by(value.as_bytes(), 1000), plain, "{value}");
            assert_eq!(standing(true).is_met_by(value.as_bytes(), 1000), wildcard, "{value}");
        }
        for wildcard in [false, true] {
            assert!(standing(wildcard).is_met_by(standing(wildcard).value(Some(2000)).as_bytes(), 1000));
        }
    }

    #[test]
    fn the_cas_names_are_read_from_its_challenge_in_both_spellings() {
        let read = |text: &str| issuers(text.as_bytes(), "https://ca.test/2");
        let others = r#"{"type":"dns-01","url":"https://ca.test/1","token":"t","status":"pending"}"#;
        for key in ["issuer-domain-names", "issuerDomainNames"] {
            let text = format!(
                r#"{{"status":"pending","challenges":[{others},{{"type":"dns-persist-01","url":"https://ca.test/2",
                   "status":"pending","{key}":["UPPER.test","a b","ca.test.","ca;test","first.test","second.test"]}}]}}"#
            );
            assert_eq!(read(&text), Some(vec!["first.test".to_owned(), "second.test".to_owned()]));
        }
        assert_eq!(read(&format!(r#"{{"challenges":[{others}]}}"#)), None);
        assert_eq!(read("<html>"), None);
    }
}
