//! Static zones as they are written, seen by dig and kdig.

use std::process::Command;
use std::time::Duration;

use crate::support::{Acmezone, Query, Rcode, Reply, Rtype, debian, dig, run};
use crate::{BOTH, Via, ZONE, ask, quick_start, shipped, value, zone_table};

fn everything() -> Acmezone {
    Acmezone::start(&zone_table("everything.example", &shipped("everything.example.zone")))
}

/// The name below everything.example; "@" for the origin.
fn below(name: &str) -> String {
    if name == "@" { "everything.example.".to_owned() } else { format!("{name}.everything.example.") }
}

/// Lines of `dig +short`, sorted.
fn short(server: &Acmezone, name: &str, rtype: &str) -> Vec<String> {
    let text = dig(server.dns, &["+short", "+norecurse", &below(name), rtype]);
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn every_type_of_a_zone_file_is_served_as_dig_reads_it_rfc1035_5() {
    let server = everything();
    for (name, rtype, expected) in [
        ("@", "SOA", &["ns1.everything.example. dns\\.admin.everything.example. 2025010100 5400 900 1209600 300"][..]),
        // ".Example" is a pointer to the question
        ("@", "NS", &["NS2.Elsewhere.example.", "ns1.everything.example."]),
        ("@", "MX", &["10 everything.example.", "20 mail.elsewhere.example."]),
        ("@", "CAA", &["128 issue \"ca.example; validationmethods=dns-01\""]),
        (
            "@",
            "TXT",
            &[
                "\"several\" \"strings\" \"with a ; semicolon, a \\\" quote, a ( and a \\\\\" \"\"",
                "\"v=spf1 mx -all\"",
            ],
        ),
        ("ns1", "A", &["192.0.2.1"]),
        ("ns1", "AAAA", &["2001:db8::1"]),
        ("a\\.b", "A", &["192.0.2.2"]),
        ("aBC", "A", &["192.0.2.3"]),
        ("$money", "TXT", &["\"escaped ;A\""]),
        ("alias", "CNAME", &["www.everything.example."]),
        ("alias", "A", &["192.0.2.5", "www.everything.example."]),
        ("_sip._tcp", "SRV", &["0 5 5060 sip.everything.example."]),
        ("@", "HTTPS", &["1 . alpn=\"h2,h3\" port=8443"]),
        ("_dns.ns1", "SVCB", &["1 ns1.everything.example. alpn=\"dot\""]),
        ("_443._tcp.www", "TLSA", &["3 1 1 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF01234567 89ABCDEF"]),
        ("www", "SSHFP", &["4 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF01234567 89ABCDEF"]),
        ("www", "HINFO", &["\"a CPU\" \"OS\""]),
        ("@", "NAPTR", &["100 10 \"u\" \"E2U+sip\" \"!^.*$!sip:info@everything.example!\" ."]),
        ("new", "TYPE65280", &["\\# 4 0A000001"]),
        ("same", "A", &["192.0.2.6"]),
        ("sub", "DS", &["12345 13 2 49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC49FD46E6C4B45C55 D4AC1234"]),
        ("leaf.deep.down", "PTR", &["deep.down.everything.example."]),
        ("last.deep.down", "TXT", &["\"no newline follows\""]),
    ] {
        assert_eq!(short(&server, name, rtype), expected, "{name} {rtype}");
    }
    let key = short(&server, "sel._domainkey", "TXT");
    assert!(key[0].starts_with("\"v=DKIM1; k=rsa; \" \"p=MIIB"), "{key:?}");
}

#[test]
fn ttls_are_those_of_the_file_rfc1035_5_rfc2308_4() {
    let server = everything();
    for (name, rtype, ttl) in [
        ("@", Rtype::SOA, 604_800),
        ("@", Rtype::NS, 86_400),
        ("ns1", Rtype::A, 86_400),
        ("last.deep.down", Rtype::TXT, 60),
    ] {
        let reply = ask(&server, Via::Udp, &Query::new(&below(name), rtype));
        assert_eq!(reply.answer[0].ttl, ttl, "{name} {rtype}");
    }
}

#[test]
fn of_two_zones_the_longer_origin_answers_rfc1034_4_3_2() {
    let mut server = Acmezone::prepare("");
    let outer = server.folder().join("outer.zone");
    let inner = server.folder().join("inner.zone");
    let head =
        |serial: u32| format!("@ 60 SOA ns.outer.test. h.outer.test. {serial} 1 1 1 60\n@ 60 NS ns.outer.test.\n");
    let hidden = "ns A 192.0.2.1\ninner 60 NS ns.outer.test.\nwww 60 TXT outer\n";
    std::fs::write(&outer, format!("$TTL 60\n{}{hidden}", head(100))).unwrap();
    std::fs::write(&inner, format!("$TTL 60\n{}www TXT inner\n", head(200))).unwrap();
    server.configure(&(zone_table("outer.test", &outer) + &zone_table("inner.outer.test", &inner)));
    server.restart();
    for via in BOTH {
        for (name, owner) in [("outer.test", "outer.test."), ("inner.outer.test", "inner.outer.test.")] {
            let reply = ask(&server, via, &Query::new(name, Rtype::SOA));
            assert!(reply.header.aa());
            assert_eq!(reply.answer[0].name, owner);
            let zone = name.split('.').next().unwrap();
            let reply = ask(&server, via, &Query::new(&format!("www.{name}"), Rtype::TXT));
            assert_eq!(reply.txt_values(), [zone]);
            let reply = ask(&server, via, &Query::new(&format!("nope.{name}"), Rtype::TXT));
            assert_eq!((reply.header_rcode(), reply.authority[0].name.as_str()), (Rcode::NXDOMAIN, owner));
        }
        // The parent's side of the cut (RFC 4035 section 3.1.4.1): DS, and nothing else.
        let ds = ask(&server, via, &Query::new("inner.outer.test", Rtype::DS));
        assert_eq!((ds.header_rcode(), ds.authority[0].name.as_str()), (Rcode::NOERROR, "outer.test."));
        let similar = ask(&server, via, &Query::new("xinner.outer.test", Rtype::SOA));
        assert_eq!(similar.header_rcode(), Rcode::NXDOMAIN);
        let similar = ask(&server, via, &Query::new("xouter.test", Rtype::SOA));
        assert_eq!(similar.header_rcode(), Rcode::REFUSED);
    }
}

#[test]
fn a_challenge_zone_delegated_by_ns_has_its_values_at_the_apex() {
    let challenges = "[[zone]]\norigin = \"_acme-challenge.example.net\"\nnameservers = [\"ns1.example.org\"]\n";
    let server = Acmezone::start(&(zone_table(ZONE, &shipped("auth.example.org.zone")) + challenges));
    let name = "_acme-challenge.example.net";
    server.cli(&["txt", "add", name, &value(1)]).expect_success();
    for via in BOTH {
        let reply = ask(&server, via, &Query::new(name, Rtype::TXT));
        assert_eq!((reply.header.aa(), reply.txt_values()), (true, vec![value(1)]));
        assert_eq!(ask(&server, via, &Query::new(name, Rtype::NS)).answer[0].rdata, "ns1.example.org.");
        assert_eq!(ask(&server, via, &Query::new(name, Rtype::SOA)).answer.len(), 1);
        assert_eq!(ask(&server, via, &Query::new("example.net", Rtype::A)).header_rcode(), Rcode::REFUSED);
    }
}

fn kdig(server: &Acmezone, arguments: &[&str]) -> String {
    let mut command = Command::new(debian("/usr/bin/kdig"));
    command.arg(format!("@{}", server.dns.ip())).args(["-p", &server.dns.port().to_string()]).args(arguments);
    let finished = run("kdig", command, Duration::from_secs(20)).expect_success();
    finished.output()
}

#[test]
fn dig_and_kdig_have_nothing_to_warn_about() {
    let server = quick_start();
    let account = server.register();
    for number in 0..64 {
        assert_eq!(server.update(&account, &value(number)).status, 200);
    }
    for (name, rtype, status) in [
        (ZONE, "SOA", "NOERROR"),
        (ZONE, "CAA", "NOERROR"),
        (ZONE, "MX", "NOERROR"),
        (ZONE, "ANY", "NOERROR"),
        (&account.fulldomain, "TXT", "NOERROR"),
        (&account.fulldomain, "A", "NOERROR"),
        ("nope.auth.example.org", "TXT", "NXDOMAIN"),
        ("elsewhere.test", "A", "REFUSED"),
    ] {
        for transport in ["+notcp", "+tcp"] {
            let arguments = ["+norecurse", "+dnssec", transport, name, rtype];
            for text in [dig(server.dns, &arguments), kdig(&server, &arguments)] {
                let lower = text.to_ascii_lowercase();
                for complaint in ["warning", "error:", "malformed", "mismatch", "unexpected", "extra bytes"] {
                    assert!(!lower.contains(complaint), "{name} {rtype}:\n{text}");
                }
                assert!(text.contains(status), "{name} {rtype}:\n{text}");
            }
        }
    }
    let text = dig(server.dns, &["+norecurse", &account.fulldomain, "TXT"]);
    assert!(text.contains("ANSWER: 64"), "dig goes over to TCP:\n{text}");
}

#[test]
fn replies_are_read_whole_by_another_implementation() {
    let server = everything();
    for name in ["@", "www", "ns1", "alias", "sub", "new", "sel._domainkey", "nobody", "x.mail"] {
        for rtype in (1..=70).chain([255, 256, 257, 65280]).filter(|rtype| *rtype != 41) {
            let query = Query::new(&below(name), Rtype::from_int(rtype)).edns(1232);
            // Panics on anything that is not one well-formed message.
            Reply::parse(&crate::exchange(&server, Via::Udp, &query.bytes()));
        }
    }
}
