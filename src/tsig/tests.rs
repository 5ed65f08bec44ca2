//! Signatures that are wrong in every way, at any time. What real clients make of the replies is tested in
//! `tests/conformance`.

use zeroize::Zeroizing;

use super::*;
use crate::account::{Replace, TsigSecret};

/// Signed at this time.
const TIME: u64 = 1_700_000_000;

fn key(name: &str, algorithm: TsigAlgorithm) -> TsigKey {
    let secret = TsigSecret::new(Zeroizing::new(b"0123456789abcdef0123456789abcdef".to_vec()));
    TsigKey { name: Name::parse(name).unwrap(), algorithm, secret, grants: Vec::new(), replace: Replace::Rfc }
}

fn keys() -> Keys {
    Keys::new(TsigAlgorithm::ALL.map(|algorithm| key(&format!("{algorithm}.key"), algorithm)))
}

/// `example.test. SOA` with an OPT record.
fn query() -> Vec<u8> {
    let question = b"\x07example\x04test\0\0\x06\0\x01";
    [&[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], question, b"\0\0\x29\x04\xd0\0\0\0\0\0\0"].concat()
}

fn variables(name: &str, algorithm: &str, time: u64) -> Variables {
    let wire = |text: &str| {
        let labels = text.split('.').map(|label| [&[label.len() as u8], label.as_bytes()].concat());
        [labels.collect::<Vec<_>>().concat(), vec![0]].concat()
    };
    let (key_name, algorithm) = (wire(name), wire(algorithm));
    Variables { key_name, algorithm, time, fudge: 300, error: 0, other: Vec::new() }
}

/// A record as a client writes it, the MAC cut or changed by `spoil`.
fn with_mac(message: &[u8], variables: &Variables, key: &TsigKey, spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut digest = context(key);
    variables.digest_message(&mut digest, 0x1234, message);
    let mut mac = digest.sign().as_ref().to_vec();
    spoil(&mut mac);
    let mut packet = message.to_vec();
    packet[11] += 1;
    packet.extend(&variables.key_name);
    packet.extend([0, 250, 0, 255, 0, 0, 0, 0]);
    let rdata = [
        &variables.algorithm[..],
        &variables.time.to_be_bytes()[2..],
        &variables.fudge.to_be_bytes(),
        &(mac.len() as u16).to_be_bytes(),
        &mac,
        &[0x12, 0x34],
        &variables.error.to_be_bytes(),
        &(variables.other.len() as u16).to_be_bytes(),
        &variables.other,
    ];
    let rdata = rdata.concat();
    packet.extend((rdata.len() as u16).to_be_bytes());
    packet.extend(rdata);
    packet
}

fn signed(name: &str, algorithm: &str, time: u64) -> Vec<u8> {
    let algorithm = variables(name, algorithm, time);
    with_mac(&query(), &algorithm, &key("any", TsigAlgorithm::HmacSha256), |_| {})
}

#[track_caller]
fn checked(packet: &[u8], now: u64) -> Signed {
    match check(&keys(), packet, now) {
        Checked::Signed(signed) => signed,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn error(packet: &[u8], now: u64) -> Option<TsigError> {
    checked(packet, now).by.err().map(|distrust| distrust.error)
}

#[test]
fn every_algorithm_verifies_rfc8945_6() {
    for algorithm in TsigAlgorithm::ALL {
        let name = format!("{algorithm}.key");
        for spelled in [name.clone(), name.to_uppercase()] {
            let record = variables(&spelled, &algorithm.name().to_uppercase(), TIME);
            let packet = with_mac(&query(), &record, &key(&name, algorithm), |_| {});
            let signed = checked(&packet, TIME);
            assert_eq!(signed.by.unwrap().name, Name::parse(&name).unwrap());
            assert_eq!(signed.message, query());
            let mut reply = query();
            let before = reply.len();
            signed.signature.finish(&mut reply);
            assert_eq!(reply.len() - before, signed.signature.added_octets());
            assert_eq!(reply[11], 2);
            assert_eq!(reply[before..][..record.key_name.len()], record.key_name, "in the case of the requestor");
        }
    }
}

#[test]
fn a_changed_octet_is_badsig_and_unsigned_rfc8945_5_2_2() {
    let packet = signed("hmac-sha256.key", "hmac-sha256", TIME);
    // Flags, the letters of QNAME, QTYPE, QCLASS, the payload of OPT; not counts and lengths: those make another message.
    for at in [2, 3].into_iter().chain(13..20).chain(21..25).chain(26..30).chain([33, 34]) {
        let mut changed = packet.clone();
        changed[at] ^= 1;
        assert_eq!(error(&changed, TIME), Some(TsigError::BadSig), "octet {at}");
    }
    let mut wrong = packet.clone();
    let at = wrong.len() - 7; // the last octet of the MAC
    wrong[at] ^= 1;
    let signed = checked(&wrong, TIME);
    let mut reply = query();
    signed.signature.finish(&mut reply);
    assert!(reply.ends_with(&[0, 0, 0x12, 0x34, 0, 16, 0, 0]), "no MAC, the id, BADSIG: {reply:02x?}");
    // The id on the way may be another one: the original one is what was signed.
    let mut forwarded = packet;
    forwarded[..2].copy_from_slice(&[9, 9]);
    assert_eq!(error(&forwarded, TIME), None);
}

#[test]
fn an_unknown_key_or_another_algorithm_is_badkey_with_a_hint_rfc8945_5_2_1() {
    let hint = |name: &str, algorithm: &str| {
        let distrust = checked(&signed(name, algorithm, TIME), TIME).by.unwrap_err();
        assert_eq!(distrust.error, TsigError::BadKey);
        distrust.hint
    };
    assert_eq!(hint("nobody.key", "hmac-sha256"), None);
    assert_eq!(
        hint("hmac-sha512.key", "HMAC-MD5.SIG-ALG.REG.INT").unwrap(),
        "the key hmac-sha512.key is for hmac-sha512, not for hmac-md5.sig-alg.reg.int, and acmezone never takes that: \
         set the client's algorithm to hmac-sha512"
    );
    assert!(hint("hmac-sha512.key", "hmac-sha224").unwrap().contains("never takes that"));
    assert!(!hint("hmac-sha512.key", "hmac-sha256").unwrap().contains("never takes that"));
    assert!(hint("hmac-sha256.key", "hmac-sha256.test").is_some());
}

#[test]
fn a_time_beyond_the_fudge_is_badtime_signed_with_our_time_rfc8945_5_2_3() {
    let packet = signed("hmac-sha256.key", "hmac-sha256", TIME);
    for good in [TIME - 300, TIME, TIME + 300] {
        assert_eq!(error(&packet, good), None);
    }
    for bad in [0, TIME - 301, TIME + 301, LAST_TIME, LAST_TIME + 1, u64::MAX] {
        let signed = checked(&packet, bad);
        assert_eq!(signed.by.unwrap_err().error, TsigError::BadTime);
        let mut reply = query();
        signed.signature.finish(&mut reply);
        assert!(reply.ends_with(&[&[0x12, 0x34, 0, 18, 0, 6], &bad.min(LAST_TIME).to_be_bytes()[2..]].concat()));
        // The requestor's time stays, and the MAC covers the six octets that are sent.
        let Signing { key, request_mac } = signed.signature.signing.as_ref().unwrap();
        assert_eq!(signed.signature.variables.time, TIME);
        let mut whole = (request_mac.len() as u16).to_be_bytes().to_vec();
        whole.extend(request_mac);
        whole.extend(query());
        whole.extend(&variables("hmac-sha256.key", "hmac-sha256", 0).key_name);
        whole.extend([0, 255, 0, 0, 0, 0]);
        whole.extend(b"\x0bhmac-sha256\0");
        whole.extend(&TIME.to_be_bytes()[2..]);
        whole.extend([1, 44, 0, 18, 0, 6]);
        whole.extend(&bad.min(LAST_TIME).to_be_bytes()[2..]);
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.secret.reveal());
        let mac = hmac::sign(&key, &whole);
        assert!(reply.windows(32).any(|octets| octets == mac.as_ref()));
    }
}

#[test]
fn extreme_times_are_no_panic() {
    for time in [0, 1, 299, 300, LAST_TIME - 1, LAST_TIME] {
        for fudge in [0, 1, 300, u16::MAX] {
            let record = Variables { fudge, ..variables("hmac-sha256.key", "hmac-sha256", time) };
            let packet = with_mac(&query(), &record, &key("any", TsigAlgorithm::HmacSha256), |_| {});
            for now in [0, 1, TIME, LAST_TIME, u64::MAX] {
                let near = now.min(LAST_TIME).abs_diff(time) <= u64::from(fudge);
                assert_eq!(error(&packet, now).is_none(), near, "{time} {fudge} {now}");
            }
        }
    }
}

#[test]
fn a_truncated_mac_is_badtrunc_signed_or_formerr_rfc8945_5_2_4() {
    let cut = |len: usize| {
        let record = variables("hmac-sha256.key", "hmac-sha256", TIME);
        with_mac(&query(), &record, &key("any", TsigAlgorithm::HmacSha256), |mac| mac.resize(len, 0))
    };
    for len in [16, 17, 31] {
        let signed = checked(&cut(len), TIME);
        assert_eq!(signed.by.unwrap_err().error, TsigError::BadTrunc);
        assert!(signed.signature.signing.is_some());
    }
    for len in [0, 1, 10, 15, 33, 64] {
        assert!(matches!(check(&keys(), &cut(len), TIME), Checked::Malformed), "{len} octets");
    }
    // Time comes first.
    assert_eq!(error(&cut(16), TIME + 301), Some(TsigError::BadTime));
}

#[test]
fn a_record_out_of_place_is_malformed_rfc8945_5_1() {
    let good = signed("hmac-sha256.key", "hmac-sha256", TIME);
    let malformed = |packet: &[u8]| matches!(check(&keys(), packet, TIME), Checked::Malformed);
    assert!(!malformed(&good));
    let record = good[query().len()..].to_vec();
    let mut twice = [good.clone(), record.clone()].concat();
    twice[11] += 1;
    assert!(malformed(&twice));
    let mut before_another = [&good[..], b"\0\0\x10\0\x01\0\0\0\0\0\x01\0"].concat();
    before_another[11] += 1;
    assert!(malformed(&before_another));
    let question_end = query().len() - 11;
    for section in [7, 9] {
        let mut elsewhere = [&query()[..question_end], &record[..]].concat();
        elsewhere[11] = 0;
        elsewhere[section] = 1;
        assert!(malformed(&elsewhere), "section {section}");
    }
    let after_name = query().len() + b"\x0bhmac-sha256\x03key\0".len();
    for (at, what) in [(after_name + 3, "class"), (after_name + 7, "TTL"), (after_name + 9, "RDLENGTH")] {
        let mut odd = good.clone();
        odd[at] ^= 2;
        assert!(malformed(&odd), "{what}");
    }
    for len in 0..good.len() {
        assert!(malformed(&good[..len]), "{len} octets");
    }
    assert!(matches!(check(&keys(), &query(), TIME), Checked::Unsigned));
}

#[test]
fn no_octet_makes_it_panic() {
    let good = signed("hmac-sha256.key", "hmac-sha256", TIME);
    for at in 0..good.len() {
        for octet in [0, 1, 0x3f, 0x40, 0x7f, 0xc0, 0xff] {
            let mut odd = good.clone();
            odd[at] = octet;
            if let Checked::Signed(signed) = check(&keys(), &odd, TIME) {
                let mut reply = query();
                signed.signature.finish(&mut reply);
            }
        }
    }
}
