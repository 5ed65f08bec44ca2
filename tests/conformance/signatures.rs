//! TSIG (RFC 8945): dig and kdig verify what the server signs; where they cannot be made to err, the test signs itself.

use std::process::Command;
use std::time::Duration;

use crate::support::{
    Acmezone, Finished, Query, Rcode, Reply, Rtype, Signature, Signed, Stamp, TsigKey, debian, now, run,
};
use crate::{BOTH, Via, ZONE, exchange, shipped, zone_table};

const NAME: &str = "client.example.org";
const ALGORITHMS: [&str; 4] = ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"];

fn server(keys: &[&TsigKey]) -> Acmezone {
    let grants = format!("below = [\"{ZONE}\"]");
    let keys: String = keys.iter().map(|key| key.table(&grants)).collect();
    Acmezone::start(&(zone_table(ZONE, &shipped("auth.example.org.zone")) + &keys))
}

/// Asks with a key.
fn dig(server: &Acmezone, program: &str, key: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(debian(&format!("/usr/bin/{program}")));
    command.arg(format!("@{}", server.dns.ip())).args(["-p", &server.dns.port().to_string(), "-y", key]);
    command.args(arguments);
    run(program, command, Duration::from_secs(20))
}

/// The reply to a signed message, read and verified.
#[track_caller]
fn signed(server: &Acmezone, via: Via, key: &TsigKey, message: &Signed) -> (Reply, Signature) {
    let octets = exchange(server, via, &message.octets);
    (Reply::parse(&octets), key.verify(&octets, message))
}

#[test]
fn dig_and_kdig_verify_every_answer_rfc8945_5_3() {
    let keys = ALGORITHMS.map(|algorithm| TsigKey::new(&format!("{algorithm}.example.org")).algorithm(algorithm));
    let server = server(&keys.each_ref());
    let account = server.register();
    assert_eq!(server.update(&account, &crate::value(1)).status, 200);
    let nope = format!("nope.{ZONE}");
    for key in &keys {
        for program in ["dig", "kdig"] {
            for (name, rtype, status) in [
                (ZONE, "SOA", "NOERROR"),
                (&account.fulldomain, "TXT", "NOERROR"),
                (&nope, "A", "NXDOMAIN"),
                ("elsewhere.test", "A", "REFUSED"),
            ] {
                for way in ["+notcp", "+tcp"] {
                    let shown = dig(&server, program, &key.argument(), &["+norecurse", way, name, rtype]);
                    let shown = shown.expect_success().output();
                    assert!(shown.contains(&format!("status: {status}")), "{shown}");
                    let (_, tsig) = shown.split_once("TSIG PSEUDOSECTION").unwrap_or_else(|| panic!("{shown}"));
                    assert!(tsig.contains(&key.name) && tsig.contains("NOERROR"), "{shown}");
                    assert!(
                        ![";; WARNING", ";; ERROR", "Couldn't verify"].iter().any(|bad| shown.contains(bad)),
                        "{shown}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_wrong_secret_is_badsig_and_a_wrong_name_badkey_rfc8945_5_2() {
    let key = TsigKey::new(NAME);
    let server = server(&[&key]);
    let wrong = TsigKey { secret: vec![9; 32], ..key.clone() };
    let shown = dig(&server, "dig", &wrong.argument(), &[ZONE, "SOA"]).output();
    assert!(shown.contains("status: NOTAUTH") && shown.contains("BADSIG"), "{shown}");
    let stranger = TsigKey::new("stranger.example.org");
    let shown = dig(&server, "dig", &stranger.argument(), &[ZONE, "SOA"]).output();
    assert!(shown.contains("status: NOTAUTH") && shown.contains("BADKEY"), "{shown}");
    for (key, error) in [(&wrong, 16), (&stranger, 17)] {
        for via in BOTH {
            let message = key.sign(&Query::new(ZONE, Rtype::SOA).edns(1232).bytes(), &Stamp::now());
            let (reply, tsig) = signed(&server, via, key, &message);
            assert_eq!((reply.header_rcode(), reply.answer.len()), (Rcode::NOTAUTH, 0));
            assert_eq!((tsig.mac.len(), tsig.error, tsig.other.len()), (0, error, 0), "not signed, section 5.3.2");
        }
    }
    let log = server.log();
    assert!(log.contains("the key client.example.org has another secret there than here"), "{log}");
    assert!(!log.contains(&key.secret()) && !log.contains("stranger"), "{log}");
}

#[test]
fn md5_and_sha224_are_badkey_with_a_hint_in_the_log_rfc8945_5_2_1() {
    for (algorithm, named) in [("hmac-md5", "hmac-md5.sig-alg.reg.int"), ("hmac-sha224", "hmac-sha224")] {
        let key = TsigKey::new(NAME);
        let server = server(&[&key]);
        let asked = key.algorithm(algorithm);
        let shown = dig(&server, "dig", &asked.argument(), &[ZONE, "SOA"]).output();
        assert!(shown.contains("status: NOTAUTH") && shown.contains("BADKEY"), "{shown}");
        let hint = format!(
            "the key {NAME} is for hmac-sha256, not for {named}, and acmezone never takes that: set the client's \
             algorithm to hmac-sha256"
        );
        assert!(server.log().contains(&hint), "{}", server.log());
    }
}

#[test]
fn a_clock_that_is_off_is_badtime_with_our_time_and_signed_rfc8945_5_2_3() {
    let key = TsigKey::new(NAME);
    let server = server(&[&key]);
    let query = Query::new(ZONE, Rtype::SOA).bytes();
    for via in BOTH {
        for time in [0, 1, now() - 400, now() + 400, (1 << 48) - 1] {
            let message = key.sign(&query, &Stamp { time, ..Stamp::now() });
            let (reply, tsig) = signed(&server, via, &key, &message);
            assert_eq!((reply.header_rcode(), reply.answer.len()), (Rcode::NOTAUTH, 0));
            assert_eq!((tsig.error, tsig.time, tsig.mac.len()), (18, time, 32), "the client's own time, signed");
            let ours = tsig.other.iter().fold(0, |time, octet| time << 8 | u64::from(*octet));
            assert!(tsig.other.len() == 6 && ours.abs_diff(now()) < 5, "{tsig:?}");
        }
        for time in [now() - 290, now() + 290] {
            let message = key.sign(&query, &Stamp { time, ..Stamp::now() });
            let (reply, tsig) = signed(&server, via, &key, &message);
            assert_eq!((reply.header_rcode(), tsig.error, tsig.mac.len()), (Rcode::NOERROR, 0, 32));
        }
    }
    assert!(server.log().contains("set the clocks"), "{}", server.log());
}

#[test]
fn a_truncated_signature_is_badtrunc_and_signed_or_formerr_rfc8945_5_2_4() {
    let key = TsigKey::new(NAME);
    let server = server(&[&key]);
    let asked = key.clone().algorithm("hmac-sha256-128");
    let shown = dig(&server, "dig", &asked.argument(), &[ZONE, "SOA"]).output();
    assert!(shown.contains("status: NOTAUTH") && shown.contains("BADTRUNC"), "{shown}");
    let query = Query::new(ZONE, Rtype::SOA).bytes();
    for via in BOTH {
        for length in [16, 31] {
            let message = key.sign(&query, &Stamp { length, ..Stamp::now() });
            let (reply, tsig) = signed(&server, via, &key, &message);
            assert_eq!((reply.header_rcode(), tsig.error, tsig.mac.len()), (Rcode::NOTAUTH, 22, 32));
        }
        for length in [0, 1, 9, 15, 33] {
            let message = key.sign(&query, &Stamp { length, ..Stamp::now() });
            let reply = Reply::parse(&exchange(&server, via, &message.octets));
            assert_eq!((reply.header_rcode(), reply.additional.len()), (Rcode::FORMERR, 0), "{length} octets");
        }
    }
}

#[test]
fn the_name_of_the_key_comes_back_as_it_was_written() {
    let server = server(&[&TsigKey::new(NAME)]);
    for name in ["client.example.org", "CLIENT.example.ORG", "cLiEnT.eXaMpLe.OrG"] {
        let key = TsigKey::new(name);
        let message = key.sign(&Query::new(ZONE, Rtype::SOA).bytes(), &Stamp::now());
        let (reply, tsig) = signed(&server, Via::Udp, &key, &message);
        assert_eq!(reply.header_rcode(), Rcode::NOERROR);
        assert_eq!(tsig.key_name, crate::support::wire_name(name));
    }
}

#[test]
fn an_answer_that_does_not_fit_with_its_signature_has_tc_and_no_records_rfc8945_5_3() {
    let key = TsigKey::new(NAME);
    let server = server(&[&key]);
    server.cli(&["account", "create", "--label", "many"]).expect_success();
    let name = format!("many.{ZONE}");
    let values: Vec<String> = (0..20).map(crate::value).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    server.cli(&[&["txt", "set", &name], &values[..]].concat()).expect_success();
    let query = Query::new(&name, Rtype::TXT).edns(1232);
    let plain = crate::ask(&server, Via::Udp, &query);
    assert!(!plain.header.tc() && plain.length > 1150, "{} octets without a signature", plain.length);

    let message = key.sign(&query.bytes(), &Stamp::now());
    let (reply, tsig) = signed(&server, Via::Udp, &key, &message);
    assert_eq!((reply.header.tc(), reply.header_rcode(), reply.counts), (true, Rcode::NOERROR, [1, 0, 0, 1]));
    assert_eq!((tsig.error, tsig.mac.len()), (0, 32));
    let (reply, _) = signed(&server, Via::Tcp, &key, &message);
    assert_eq!((reply.header.tc(), reply.answer.len()), (false, 20));
    let shown = dig(&server, "dig", &key.argument(), &["+norecurse", "+bufsize=1232", &name, "TXT"]).expect_success();
    assert!(shown.stdout.contains("ANSWER: 20") && !shown.output().contains("Couldn't verify"), "{shown:?}");
}

#[test]
fn every_reply_to_who_is_known_is_signed_rfc8945_5_3() {
    let key = TsigKey::new(NAME);
    let server = server(&[&key]);
    for via in BOTH {
        for (query, rcode) in [
            (Query::new(ZONE, Rtype::SOA), 0),
            (Query::new("elsewhere.test", Rtype::SOA), 5),
            (Query::new(ZONE, Rtype::AXFR), 5),
            (Query::new(ZONE, Rtype::SOA).class(3), 5),
            (Query::new(ZONE, Rtype::SOA).opcode(4), 5),
            (Query::new(ZONE, Rtype::SOA).opcode(5), 0),
            (Query::new("elsewhere.test", Rtype::SOA).opcode(5), 9),
            (Query::new(ZONE, Rtype::A).opcode(5), 1),
            (Query::new(ZONE, Rtype::SOA).edns(1232).edns_version(1), 16),
            (Query::new(ZONE, Rtype::SOA).edns(1232).edns_version(1).opcode(4), 16),
            (Query::new(ZONE, Rtype::SOA).edns(1232).edns_version(1).opcode(5), 16),
        ] {
            let message = key.sign(&query.bytes(), &Stamp::now());
            let (reply, tsig) = signed(&server, via, &key, &message);
            assert_eq!((reply.rcode.to_int(), tsig.error, tsig.mac.len()), (rcode, 0, 32), "{query:?} over {via:?}");
            assert_eq!(reply.edns.is_some(), query.edns.is_some(), "{query:?}");
        }
    }
}
