//! Names at their limits: RFC 1035 sections 2.3.4 and 5.1, RFC 2181 section 11, RFC 4343.

use std::process::Command;
use std::time::Duration;

use crate::support::{Acmezone, Query, Rcode, Reply, Rtype, debian, judge, run, wire_name};
use crate::{BOTH, Via, ask, exchange, judged, serving};

const HEAD: &str = "$TTL 1h\n@ SOA ns1 hostmaster 7 4h 1h 2w 300\n@ NS ns1\nns1 A 192.0.2.1\n";

/// An octet of a label in a master file and for dig.
fn escaped(octet: u8) -> String {
    format!("\\{octet:03}")
}

/// A name of this many octets in wire form below names.test, of labels of 63 octets and a shorter first one.
fn of_length(octets: usize) -> String {
    let mut rest = octets - wire_name("names.test").len();
    let mut labels = Vec::new();
    while rest > 0 {
        // the last octet that is left could not be a label
        let label = if rest == 65 { 62 } else { rest.min(64) - 1 };
        labels.push("x".repeat(label));
        rest -= label + 1;
    }
    labels.reverse();
    labels.join(".") + ".names.test"
}

fn query_for(wire: &[u8]) -> Vec<u8> {
    [&[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], wire, &[0, 16, 0, 1]].concat()
}

#[test]
fn labels_of_63_octets_and_names_of_255_are_served_rfc1035_2_3_4() {
    let long_label = format!("{}.names.test", "l".repeat(63));
    let longest = of_length(255);
    assert_eq!(wire_name(&longest).len(), 255);
    let mut text = format!("{HEAD}{long_label}. TXT label\n{longest}. TXT name\nalias CNAME {longest}.\n");
    text += &format!("mail MX 10 {longest}.\nwild CNAME any.wildcard\n*.wildcard TXT wildcard\n");
    let server = serving("", &[("names.test", &text)]);
    for via in BOTH {
        for (name, value) in [(&long_label, "label"), (&longest, "name")] {
            let reply = judged(&server, via, name, Rtype::TXT);
            assert_eq!((reply.txt_values(), &reply.answer[0].name), (vec![value.to_owned()], &format!("{name}.")));
        }
        let alias = judged(&server, via, "alias.names.test", Rtype::TXT);
        assert_eq!((alias.answer[0].rdata.clone(), alias.txt_values()), (format!("{longest}."), vec!["name".into()]));
        let mail = judged(&server, via, "mail.names.test", Rtype::MX);
        assert_eq!(mail.answer[0].rdata, format!("10 {longest}."));
        // names that are not there
        for missing in [format!("{}.names.test", "m".repeat(63)), format!("y{}", &longest[1..])] {
            let reply = judged(&server, via, &missing, Rtype::TXT);
            assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NXDOMAIN, true));
        }
        // a wildcard covers a name of 255 octets, where `*` in place of its labels is short
        let covered = of_length(255 - "wildcard.".len()).replace("names.test", "wildcard.names.test");
        assert_eq!(wire_name(&covered).len(), 255);
        assert_eq!(judged(&server, via, &covered, Rtype::TXT).txt_values(), ["wildcard"]);
        // as many labels as a name can have here
        let many = "mm.".to_owned() + &"m.".repeat(120) + "names.test";
        assert_eq!(wire_name(&many).len(), 255);
        assert_eq!(judged(&server, via, &many, Rtype::TXT).header_rcode(), Rcode::NXDOMAIN);
    }
}

#[test]
fn longer_ones_are_formerr_rfc1035_2_3_4() {
    let server = serving("", &[("names.test", HEAD)]);
    let zone = wire_name("names.test");
    let label = |length: u8| [&[length][..], &vec![b'x'; length.into()]].concat();
    let name = |lengths: &[u8]| [lengths.iter().flat_map(|length| label(*length)).collect(), zone.clone()].concat();
    let longest = name(&[63, 63, 63, 50]);
    assert_eq!(longest.len(), 255);
    for via in BOTH {
        let reply = Reply::parse(&exchange(&server, via, &query_for(&longest)));
        assert_eq!(reply.header_rcode(), Rcode::NXDOMAIN);
        for (what, wire) in [
            ("256 octets", name(&[63, 63, 63, 51])),
            ("318 octets", name(&[63, 63, 63, 63, 49])),
            ("64 octets in a label", name(&[64])),
            ("a label type of RFC 6891 section 5", name(&[0x41])),
            ("a label type that nobody uses", name(&[0x80])),
            ("no end", longest[..254].to_vec()),
        ] {
            let octets = exchange(&server, via, &query_for(&wire));
            assert_eq!((&octets[..2], octets[3] & 15, octets.len()), (&[0x12, 0x34][..], 1, 12), "{what}");
        }
    }
}

#[test]
fn a_zone_file_with_longer_ones_is_not_taken_rfc1035_2_3_4() {
    let server = serving("", &[("names.test", HEAD)]);
    let file = server.folder().join("names.test.zone");
    for (name, complaint) in [("x".repeat(64), "63"), (of_length(255) + ".names.test", "255")] {
        std::fs::write(&file, format!("{HEAD}{name} A 192.0.2.1\n")).unwrap();
        let said = server.cli(&["check"]).expect_failure().output();
        assert!(said.contains(complaint) && said.contains("names.test.zone:5"), "{said}");
    }
}

#[test]
fn a_label_may_have_any_octets_rfc2181_11() {
    // `n` before each octet, so that `*` is no wildcard; capital letters are no names of their own
    let octets: Vec<u8> = (0..=255).filter(|octet: &u8| !octet.is_ascii_uppercase()).collect();
    let owners = octets.iter().map(|octet| format!("n{} TXT \"{octet}\"\n{0} A 192.0.2.1\n", escaped(*octet)));
    let server = serving("", &[("names.test", &(HEAD.to_owned() + &owners.collect::<String>()))]);
    for octet in 0..=255_u8 {
        let name = format!("n{}.names.test", escaped(octet));
        let wire = Query::new(&name, Rtype::TXT).bytes();
        for via in BOTH {
            let octets = exchange(&server, via, &wire);
            assert_eq!(octets[12..].get(..wire.len() - 12), Some(&wire[12..]), "the question");
            let reply = Reply::parse(&octets);
            assert_eq!(reply.txt_values(), [octet.to_ascii_lowercase().to_string()], "{name} over {via:?}");
            // the owner is the name that was asked for, read by the domain crate
            assert_eq!(wire_name(&reply.answer[0].name), wire_name(&name));
        }
        let alone = ask(&server, Via::Udp, &Query::new(&format!("{}.names.test", escaped(octet)), Rtype::A));
        assert_eq!((alone.header_rcode(), alone.answer.len()), (Rcode::NOERROR, 1), "{octet}");
    }
    // all of them for dig and for kdig, which ask one after the other
    for program in ["dig", "kdig"] {
        for transport in ["+notcp", "+tcp"] {
            let mut command = Command::new(debian(&format!("/usr/bin/{program}")));
            command.arg(format!("@{}", server.dns.ip())).args(["-p", &server.dns.port().to_string()]);
            for octet in &octets {
                command.args(["-q", &format!("n{}.names.test", escaped(*octet)), "-t", "TXT"]);
                command.args(["+short", transport]);
            }
            let text = run(program, command, Duration::from_secs(20)).expect_success().stdout;
            let expected: Vec<_> = octets.iter().map(|octet| format!("\"{octet}\"")).collect();
            let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
            assert_eq!(lines, expected, "{program} {transport}");
        }
    }
}

#[test]
fn an_escaped_dot_is_no_end_of_a_label_rfc1035_5_1() {
    let text = format!(
        "{HEAD}a\\.b TXT escaped\na.b TXT two\nc\\.d.names.test. TXT absolute\ne CNAME c\\046d\n\\* A 192.0.2.7\n"
    );
    let server = serving("", &[("names.test", &text)]);
    for via in BOTH {
        for (name, values) in [
            ("a\\.b.names.test", &["escaped"][..]),
            ("a.b.names.test", &["two"]),
            ("c\\.d.names.test", &["absolute"]),
            ("c\\046d.names.test", &["absolute"]),
            ("e.names.test", &["absolute"]),
            ("b.names.test", &[]),
        ] {
            let reply = judged(&server, via, name, Rtype::TXT);
            assert_eq!(
                (reply.header_rcode(), reply.txt_values()),
                (Rcode::NOERROR, values.to_vec().iter().map(|value| (*value).to_owned()).collect()),
                "{name}"
            );
        }
        for missing in ["c.d.names.test", "d.names.test", "a\\.b\\.names.test"] {
            let reply = ask(&server, via, &Query::new(missing, Rtype::TXT));
            assert_eq!(reply.answer.len(), 0, "{missing}");
        }
    }
    // An escaped asterisk in a master file is an asterisk label all the same: RFC 4592 section 2.1.1.
    assert_eq!(judged(&server, Via::Udp, "any.names.test", Rtype::A).answer.len(), 1);
}

/// Letters turned by the bits of `pattern`, as 0x20 does.
fn mixed(name: &str, pattern: u32) -> String {
    let turn = |(at, letter): (usize, char)| {
        if pattern >> (at % 32) & 1 == 1 { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
    };
    name.chars().enumerate().map(turn).collect()
}

#[test]
fn case_makes_no_difference_and_comes_back_in_every_kind_of_answer_rfc4343_3() {
    let mut text = format!("{HEAD}WwW A 192.0.2.1\nAlias CNAME wWw\nsub NS NS.sub\nNS.sub A 192.0.2.2\n");
    text += "*.Wild TXT Wild\nlow\\228 TXT latin\n";
    (0..60).for_each(|number| text += &format!("bIg TXT \"{number} {}\"\n", "x".repeat(30)));
    let server = serving("", &[("names.test", &text)]);
    for (name, rtype, rcode, answers) in [
        ("www.names.test", Rtype::A, Rcode::NOERROR, 1),
        ("alias.names.test", Rtype::A, Rcode::NOERROR, 2),
        ("host.sub.names.test", Rtype::A, Rcode::NOERROR, 0),
        ("any.wild.names.test", Rtype::TXT, Rcode::NOERROR, 1),
        ("www.names.test", Rtype::TXT, Rcode::NOERROR, 0),
        ("nothing.names.test", Rtype::TXT, Rcode::NXDOMAIN, 0),
        ("elsewhere.example.org", Rtype::TXT, Rcode::REFUSED, 0),
        ("names.test", Rtype::AXFR, Rcode::REFUSED, 0),
        ("names.test", Rtype::SOA, Rcode::NOERROR, 1),
        ("big.names.test", Rtype::TXT, Rcode::NOERROR, 60),
    ] {
        for pattern in [0, u32::MAX, 0x5555_5555, 0xaaaa_aaaa, 0x1234_5678] {
            let query = Query::new(&mixed(name, pattern), rtype).edns(1232);
            for via in BOTH {
                let octets = exchange(&server, via, &query.bytes());
                let question = query.question_bytes();
                assert_eq!(octets[12..].get(..question.len()), Some(&question[..]), "{} over {via:?}", query.name);
                let reply = Reply::parse(&octets);
                assert_eq!(reply.header_rcode(), rcode, "{}", query.name);
                let cut = reply.header.tc();
                assert_eq!(cut, answers == 60 && via == Via::Udp);
                assert_eq!(reply.answer.len(), if cut { 0 } else { answers });
                // the owner is the question's, octet for octet
                assert!(reply.answer.first().is_none_or(|first| first.name == format!("{}.", query.name)));
            }
        }
    }
    // RFC 4343 section 3: only the letters of ASCII have two cases (228 and 196 are one letter in Latin-1)
    for (octet, answers) in [(228, 1), (196, 0)] {
        let reply = judge(server.dns, false, &format!("low\\{octet}.names.test"), Rtype::TXT).reply;
        assert_eq!(reply.answer.len(), answers, "{octet}");
    }
}

/// The case of names in RDATA is that of the file where it is not compressed away.
#[test]
fn names_in_rdata_keep_their_case_rfc4343_4_1() {
    let server: Acmezone = serving("", &[("names.test", &format!("{HEAD}s SRV 0 0 1 MixedCase.Elsewhere.Test.\n"))]);
    for via in BOTH {
        let reply = judged(&server, via, "s.names.test", Rtype::SRV);
        assert_eq!(reply.answer[0].rdata, "0 0 1 MixedCase.Elsewhere.Test");
    }
}
