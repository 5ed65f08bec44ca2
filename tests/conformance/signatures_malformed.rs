//! Signatures that no honest client sends, on an UPDATE that would be good: each with the RCODE and the error that
//! RFC 8945 names, nothing changed, and the server answering on.

use crate::support::{Rcode, Reply, Signed, Stamp, TsigKey, now, wire_name};
use crate::update_malformed::{good, key, server, state};
use crate::{BOTH, Via, exchange};

const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;

/// What is to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// FORMERR, nothing signed.
    FormErr,
    /// NOTAUTH with this error; only the last two of them are signed (RFC 8945 section 5.3.2).
    NotAuth(u16),
}

/// What is wrong, who says to have signed it, the message, and what comes back.
fn cases() -> Vec<(String, TsigKey, Signed, Told)> {
    let mut list: Vec<(String, TsigKey, Signed, Told)> = Vec::new();
    let message = good().bytes();
    let mut case = |what: &str, key: &TsigKey, stamp: Stamp, told: Told| {
        list.push((what.to_owned(), key.clone(), key.sign(&message, &stamp), told));
    };
    let key = key();

    let long = [vec!["k".repeat(63); 3], vec!["k".repeat(61)]].concat().join(".");
    for name in ["", "clien", "client1", "client.client", "test.client", "*", "\\000client", "client\\000", &long] {
        let stranger = TsigKey { name: name.to_owned(), ..key.clone() };
        case(&format!("key `{name}`"), &stranger, Stamp::now(), Told::NotAuth(BADKEY));
    }
    for algorithm in [
        "",
        "hmac",
        "hmac-md5.sig-alg.reg.int",
        "hmac-sha1",
        "hmac-sha224",
        "hmac-sha384",
        "hmac-sha512",
        "hmac-sha256.",
        "hmac-sha256.test",
        "hmac-sha25",
        "hmac-sha2567",
        "hmac-sha256-128",
        "gss-tsig",
        "gss.microsoft.com",
        "\\000",
    ] {
        let told = if algorithm == "hmac-sha256." { BADSIG } else { BADKEY };
        let other = TsigKey { algorithm: algorithm.to_owned(), secret: vec![7; 32], ..key.clone() };
        case(&format!("algorithm `{algorithm}`"), &other, Stamp::now(), Told::NotAuth(told));
    }
    for secret in [vec![], vec![0], vec![0; 32], (1..=31).collect(), (1..=33).collect(), (2..=33).collect::<Vec<u8>>()]
    {
        let wrong = TsigKey { secret, ..key.clone() };
        case(&format!("another secret of {} octets", wrong.secret.len()), &wrong, Stamp::now(), Told::NotAuth(BADSIG));
    }
    for length in [0, 1, 9, 10, 15, 33, 64, 255, 4000] {
        case(&format!("a MAC of {length} octets"), &key, Stamp { length, ..Stamp::now() }, Told::FormErr);
    }
    for length in [16, 20, 31] {
        let stamp = Stamp { length, ..Stamp::now() };
        case(&format!("a MAC cut to {length} octets"), &key, stamp.clone(), Told::NotAuth(BADTRUNC));
        // Time comes before truncation (RFC 8945 section 5.2), and the MAC before both.
        case("cut and late", &key, Stamp { time: 7, ..stamp.clone() }, Told::NotAuth(BADTIME));
        let wrong = TsigKey { secret: vec![9; 32], ..key.clone() };
        case("cut, late and wrong", &wrong, Stamp { time: 7, ..stamp }, Told::NotAuth(BADSIG));
    }
    let last = (1 << 48) - 1;
    for (time, fudge) in [
        (0, 0),
        (0, 65535),
        (1, 300),
        (now() - 310, 300),
        (now() + 310, 300),
        (now() - 10, 5),
        (now() + 10, 5),
        (now() - 65_600, 65535),
        (now() + 65_600, 65535),
        (last, 0),
        (last, 65535),
        (last - 1, 300),
        (1 << 47, 300),
        (1 << 32, 300),
    ] {
        let stamp = Stamp { time, fudge, ..Stamp::now() };
        case(&format!("time {time}, fudge {fudge}"), &key, stamp, Told::NotAuth(BADTIME));
    }
    // What the record says besides is signed as well.
    for at in [0, 1, 31] {
        let mut spoiled = key.sign(&message, &Stamp::now());
        let mac = spoiled.octets.len() - 6 - 32;
        spoiled.octets[mac + at] ^= 0x80;
        spoiled.mac[at] ^= 0x80;
        list.push((format!("octet {at} of the MAC"), key.clone(), spoiled, Told::NotAuth(BADSIG)));
    }
    let fields = [(-2, "length of other data is in the MAC", Told::FormErr), (-3, "error", Told::NotAuth(BADSIG))];
    for (from_end, what, told) in fields {
        let mut spoiled = key.sign(&message, &Stamp::now());
        let at = (spoiled.octets.len() as isize + from_end) as usize;
        spoiled.octets[at] ^= 1;
        list.push((what.to_owned(), key.clone(), spoiled, told));
    }
    let record = message.len() + wire_name(&key.name).len() + 10 + wire_name(&key.algorithm).len();
    for (at, what) in [(record + 5, "time"), (record + 7, "fudge"), (message.len() - 1, "value")] {
        let mut spoiled = key.sign(&message, &Stamp::now());
        spoiled.octets[at] ^= 1;
        list.push((format!("{what} after signing"), key.clone(), spoiled, Told::NotAuth(BADSIG)));
    }
    list
}

#[test]
fn a_bad_signature_is_told_by_its_error_and_changes_nothing_rfc8945_5_2() {
    let server = server();
    let before = state(&server);
    let cases = cases();
    assert!(cases.len() >= 60, "{} messages", cases.len());
    for via in BOTH {
        for (what, key, message, told) in &cases {
            // No datagram of that length is taken.
            let via = if message.octets.len() > 4096 { Via::Tcp } else { via };
            let octets = exchange(&server, via, &message.octets);
            let reply = Reply::parse(&octets);
            assert_eq!(octets[..2], message.octets[..2], "{what}");
            assert_eq!(reply.counts[1..3], [0, 0], "{what}");
            let Told::NotAuth(error) = *told else {
                assert_eq!((octets.len(), reply.header_rcode()), (12, Rcode::FORMERR), "{what} over {via:?}");
                continue;
            };
            let signature = key.verify(&octets, message);
            assert_eq!((reply.header_rcode(), signature.error), (Rcode::NOTAUTH, error), "{what} over {via:?}");
            let signed = matches!(error, BADTIME | BADTRUNC);
            assert_eq!(signature.mac.len(), if signed { 32 } else { 0 }, "{what}");
            assert_eq!(signature.other.len(), if error == BADTIME { 6 } else { 0 }, "{what}");
        }
        assert_eq!(state(&server), before, "over {via:?}");
    }
    let message = key().sign(&good().bytes(), &Stamp::now());
    let octets = exchange(&server, Via::Udp, &message.octets);
    assert_eq!(Reply::parse(&octets).header_rcode(), Rcode::NOERROR);
    assert_ne!(state(&server), before, "and a good one is done");
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains(&key().secret()), "{log}");
}

#[test]
fn what_a_signature_may_say_is_taken_rfc8945_4_2() {
    let (server, key) = (server(), key());
    let stamps = [
        Stamp { time: now() - 60_000, fudge: 65535, ..Stamp::now() },
        Stamp { error: BADSIG, ..Stamp::now() },
        Stamp { other: vec![1; 6], ..Stamp::now() },
        Stamp { other: vec![1; 1000], ..Stamp::now() },
        // A forwarder has put an id of its own into the header (section 5.5).
        Stamp { original_id: Some([0, 1]), ..Stamp::now() },
    ];
    for via in BOTH {
        for stamp in &stamps {
            let message = key.sign(&good().bytes(), stamp);
            let octets = exchange(&server, via, &message.octets);
            assert_eq!(octets[..2], message.octets[..2]);
            let signature = key.verify(&octets, &message);
            assert_eq!(Reply::parse(&octets).header_rcode(), Rcode::NOERROR, "{stamp:?}");
            assert_eq!((signature.error, signature.mac.len(), signature.other.len()), (0, 32, 0));
        }
    }
}

/// Only the algorithm must not be compressed in what is sent (RFC 8945 section 4.2); in what is received neither does harm.
#[test]
fn a_compressed_name_in_a_signature_is_read() {
    let server = server();
    let key = TsigKey::new("client");
    let mut message = key.sign(&good().bytes(), &Stamp::now());
    let at = message.octets.len() - (8 + 10 + wire_name(&key.algorithm).len() + 10 + 32 + 6);
    assert_eq!(message.octets[at..at + 8], wire_name("client"));
    // The root's octet at the end of the name is also at the end of the zone's.
    let root = 12 + wire_name(crate::ZONE).len() as u8 - 1;
    message.octets.splice(at + 7..at + 8, [0xc0, root]);
    let octets = exchange(&server, Via::Udp, &message.octets);
    assert_eq!(key.verify(&octets, &message).error, 0);
    assert_eq!(Reply::parse(&octets).header_rcode(), Rcode::NOERROR);
}
