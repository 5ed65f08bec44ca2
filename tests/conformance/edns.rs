//! EDNS: RFC 6891, and what travels in its options: RFC 5001, RFC 8914.

use crate::support::{Acmezone, Judged, Query, Rcode, Reply, Rtype, dig, judge};
use crate::{BOTH, Via, ZONE, ask, exchange, quick_start};

const NSID: u16 = 3;
const EXTENDED_ERROR: u16 = 15;

const BADVERS: u16 = 16;

/// Questions with every kind of answer.
fn every_kind(server: &Acmezone) -> Vec<(Query, Rcode)> {
    let account = server.register();
    assert_eq!(server.update(&account, &crate::value(1)).status, 200);
    server.cli(&["account", "create", "--label", "full"]).expect_success();
    let values: Vec<String> = (0..64).map(crate::value).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    server.cli(&[&["txt", "set", "full.auth.example.org"], &values[..]].concat()).expect_success();
    let of = Query::new;
    vec![
        (of(ZONE, Rtype::SOA), Rcode::NOERROR),
        (of(&account.fulldomain, Rtype::TXT), Rcode::NOERROR),
        (of(&account.fulldomain, Rtype::A), Rcode::NOERROR),
        (of("full.auth.example.org", Rtype::TXT), Rcode::NOERROR),
        (of(ZONE, Rtype::ANY), Rcode::NOERROR),
        (of("nope.auth.example.org", Rtype::A), Rcode::NXDOMAIN),
        (of("elsewhere.test", Rtype::A), Rcode::REFUSED),
        (of(ZONE, Rtype::AXFR), Rcode::REFUSED),
        (of("version.bind", Rtype::TXT).class(3), Rcode::REFUSED),
        (of(ZONE, Rtype::SOA).opcode(4), Rcode::REFUSED),
        (of(ZONE, Rtype::SOA).opcode(5), Rcode::REFUSED),
        (of(ZONE, Rtype::OPT), Rcode::FORMERR),
    ]
}

#[test]
fn an_opt_record_answers_an_opt_record_and_nothing_else_does_rfc6891_6_1_1_and_7() {
    let server = quick_start();
    for (query, rcode) in every_kind(&server) {
        for via in BOTH {
            let reply = ask(&server, via, &query);
            assert_eq!((reply.header_rcode(), reply.edns), (rcode, None), "{query:?}");
            for size in [0, 512, 1232, 4096, 65535] {
                let reply = ask(&server, via, &query.clone().edns(size));
                let edns = reply.edns.as_ref().unwrap_or_else(|| panic!("no OPT for {query:?}"));
                assert_eq!((reply.header_rcode(), edns.version, edns.dnssec_ok), (rcode, 0, false), "{query:?}");
                assert_eq!(edns.udp_size, 1232, "what the server takes, whatever was offered");
                let limit = usize::from(size.clamp(512, 1232));
                assert!(via == Via::Tcp || reply.length <= limit, "{} octets, {limit} may be: {query:?}", reply.length);
                assert!(!reply.header.tc() || via == Via::Udp);
            }
            let asked = query.clone().edns(1232).dnssec_ok();
            assert!(ask(&server, via, &asked).edns.unwrap().dnssec_ok, "DO comes back, RFC 3225 section 3: {query:?}");
        }
    }
}

#[test]
fn a_version_that_is_not_known_is_badvers_and_nothing_is_answered_rfc6891_6_1_3() {
    let server = quick_start();
    for (query, _) in every_kind(&server) {
        for via in BOTH {
            for version in [1, 2, 127, 255] {
                let query = query.clone().edns(1232).edns_version(version).edns_option(100, b"x");
                let octets = exchange(&server, via, &query.bytes());
                let reply = Reply::parse(&octets);
                assert_eq!(reply.rcode.to_int(), BADVERS, "{query:?}");
                assert_eq!(reply.counts, [1, 0, 0, 1]);
                let edns = reply.edns.unwrap();
                assert_eq!((edns.version, edns.options, reply.header.aa()), (0, vec![], false), "{query:?}");
            }
        }
    }
    // the options of another version are of a form that nobody knows
    for options in [&[0, 100, 0, 9, 1][..], &[0, 10, 0, 3, 1, 2, 3], &[7]] {
        for via in BOTH {
            let mut query = Query::new(ZONE, Rtype::SOA).edns(1232).edns_version(1);
            query.edns_options = options.to_vec();
            let reply = ask(&server, via, &query);
            assert_eq!((reply.rcode.to_int(), reply.counts), (BADVERS, [1, 0, 0, 1]), "{options:?}");
        }
    }
    // dig turns back to version 0 by itself
    let text = dig(server.dns, &["+norecurse", "+edns=1", "+noednsnegotiation", ZONE, "SOA"]);
    assert!(text.contains("status: BADVERS") && text.contains("EDNS: version: 0"), "{text}");
    let text = dig(server.dns, &["+norecurse", "+edns=1", ZONE, "SOA"]);
    assert!(text.contains("status: NOERROR") && text.contains("ANSWER: 1"), "{text}");
}

#[test]
fn flags_that_are_not_known_are_ignored_and_not_sent_back_rfc6891_6_1_4() {
    let server = quick_start();
    for via in BOTH {
        for bit in 0..16 {
            let mut query = Query::new(ZONE, Rtype::SOA).edns(1232);
            query.edns_ttl = 1 << bit;
            let octets = exchange(&server, via, &query.bytes());
            assert_eq!(Reply::parse(&octets).answer.len(), 1);
            let flags = if bit == 15 { [0x80, 0] } else { [0, 0] };
            let opt = [[0, 0, 41, 0x04, 0xd0, 0, 0], [flags[0], flags[1], 0, 0, 0, 0, 0]].concat();
            assert!(octets.ends_with(&opt[..11]), "bit {bit}: {octets:02x?}");
        }
        // an extended RCODE in a query has no meaning
        let mut query = Query::new(ZONE, Rtype::SOA).edns(1232);
        query.edns_ttl = 0xff00_0000;
        assert_eq!(ask(&server, via, &query).rcode.to_int(), 0);
    }
}

#[test]
fn options_that_are_not_known_are_ignored_and_not_sent_back_rfc6891_6_1_2() {
    let server = quick_start();
    let plain = Query::new(ZONE, Rtype::SOA).edns(1232);
    // LLQ, UL, NSID, DAU, client subnet, EXPIRE, keepalive, padding, CHAIN, key tag, extended error, report channel,
    // ZONEVERSION, and some that nobody has assigned; but for COOKIE, which is 10
    for code in (0..=30).chain([100, 65_001, 65_535]).filter(|code| *code != 10) {
        for via in BOTH {
            for data in [&b""[..], b"x", &[0; 8], &[0xff; 400]] {
                let reply = ask(&server, via, &plain.clone().edns_option(code, data));
                assert_eq!((reply.rcode.to_int(), reply.answer.len()), (0, 1), "option {code}");
                assert_eq!(reply.edns.unwrap().options, [], "option {code}");
            }
        }
    }
    let many = (0..250).fold(plain, |query, number| query.edns_option(1_000 + number, b"x"));
    for via in BOTH {
        let reply = ask(&server, via, &many);
        assert_eq!((reply.answer.len(), reply.edns.unwrap().options), (1, vec![]));
    }
}

#[test]
fn nsid_is_not_told_rfc5001_2_1() {
    let server = quick_start();
    for (query, _) in every_kind(&server) {
        for via in BOTH {
            let reply = ask(&server, via, &query.clone().edns(1232).edns_option(NSID, b""));
            assert!(reply.edns.unwrap().options.iter().all(|(code, _)| *code != NSID));
        }
    }
    let text = dig(server.dns, &["+norecurse", "+nsid", ZONE, "SOA"]);
    assert!(text.contains("status: NOERROR") && !text.contains("; NSID"), "{text}");
}

/// A query for the SOA record, and records in its other sections.
fn with_records(answer: &[u8], authority: &[u8], additional: &[&[u8]]) -> Vec<u8> {
    let mut query = Query::new(ZONE, Rtype::SOA).id(0x1234).bytes();
    query[7] = u8::from(!answer.is_empty());
    query[9] = u8::from(!authority.is_empty());
    query[11] = additional.len() as u8;
    [&query, answer, authority, &additional.concat()].concat()
}

#[test]
fn there_is_one_opt_record_of_the_root_among_the_additional_records_rfc6891_6_1_1() {
    let server = quick_start();
    let opt = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0];
    let named = [&[1, b'x', 0], &opt[1..]].concat();
    let pointed = [&[0xc0, 12], &opt[1..]].concat();
    let address = [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1];
    for via in BOTH {
        for good in [&[&opt[..]][..], &[&address, &opt], &[&opt, &address], &[&address, &opt, &address]] {
            let reply = Reply::parse(&exchange(&server, via, &with_records(b"", b"", good)));
            assert_eq!((reply.header_rcode(), reply.answer.len()), (Rcode::NOERROR, 1), "anywhere in the section");
            assert!(reply.edns.is_some());
        }
        for (what, additional) in [
            ("two", &[&opt[..], &opt][..]),
            ("three", &[&opt, &opt, &opt]),
            ("two and another", &[&opt, &address, &opt]),
            ("of a name", &[&named]),
            ("of the question's name", &[&pointed]),
            ("one good, one not", &[&opt, &named]),
        ] {
            let reply = Reply::parse(&exchange(&server, via, &with_records(b"", b"", additional)));
            assert_eq!((reply.header_rcode(), reply.counts), (Rcode::FORMERR, [1, 0, 0, 1]), "{what}");
            assert!(!reply.header.aa() && reply.edns.is_some(), "{what}");
        }
        for (answer, authority) in [(&opt[..], &b""[..]), (b"", &opt)] {
            let octets = exchange(&server, via, &with_records(answer, authority, &[]));
            assert_eq!((&octets[..2], octets[3] & 15), (&[0x12, 0x34][..], 1), "in another section");
            assert!(Reply::parse(&octets).counts[1..3] == [0, 0]);
        }
        // options that run out of the record, or leave something over
        for options in [&[0][..], &[0, 100, 0], &[0, 100, 0, 1], &[0, 100, 0, 2, 1], &[0, 100, 0, 0, 0]] {
            let malformed = [&opt[..9], &(options.len() as u16).to_be_bytes(), options].concat();
            let reply = Reply::parse(&exchange(&server, via, &with_records(b"", b"", &[&malformed])));
            assert_eq!((reply.header_rcode(), reply.counts), (Rcode::FORMERR, [1, 0, 0, 1]), "{options:?}");
            assert!(reply.edns.is_some(), "RFC 6891 section 7: an OPT record, so that EDNS is not given up");
        }
    }
}

#[test]
fn a_refusal_says_why_where_there_is_an_opt_record_rfc8914_2() {
    let server = quick_start();
    for (query, rcode) in every_kind(&server) {
        let reason = match (query.rtype, query.class, query.flags >> 11 & 15) {
            _ if rcode != Rcode::REFUSED => None,
            (Rtype::AXFR, ..) | (_, _, 4 | 5) => Some(18),
            (_, 3, _) => Some(21),
            _ => Some(20),
        };
        for via in BOTH {
            let asked = query.clone().edns(512);
            let reply = ask(&server, via, &asked);
            let expected: Vec<_> = reason.map(|reason| (EXTENDED_ERROR, vec![0, reason])).into_iter().collect();
            assert_eq!(reply.edns.unwrap().options, expected, "{query:?}");
            // No bait for those who forge addresses: six octets more than were sent.
            assert!(rcode != Rcode::REFUSED || reply.length <= asked.bytes().len() + 6);
            assert_eq!(ask(&server, via, &query).edns, None);
        }
    }
}

#[test]
fn dig_and_kdig_show_why_rfc8914_4() {
    let server = quick_start();
    for tcp in [false, true] {
        let Judged { printed, .. } = judge(server.dns, tcp, "www.elsewhere.test", Rtype::A);
        assert!(printed.contains("EDE: 20 (Not Authoritative)"), "{printed}");
        let Judged { printed, .. } = judge(server.dns, tcp, "nope.auth.example.org", Rtype::A);
        assert!(!printed.contains("EDE"), "{printed}");
    }
    for (arguments, reason) in [
        (&["+tcp", ZONE, "IXFR=1"][..], "; EDE: 18 (Prohibited)"),
        (&["version.bind", "CH", "TXT"], "; EDE: 21 (Not Supported)"),
        (&["+opcode=notify", ZONE, "SOA"], "; EDE: 18 (Prohibited)"),
    ] {
        let text = dig(server.dns, &[&["+norecurse", "+edns=0"], arguments].concat());
        assert!(text.contains("REFUSED") && text.contains(reason) || text.contains("Transfer failed"), "{text}");
        let without = dig(server.dns, &[&["+norecurse", "+noedns"], arguments].concat());
        assert!(!without.contains("EDE"), "{without}");
    }
}
