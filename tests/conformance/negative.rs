//! Negative answers: RFC 2308, RFC 8020.

use std::collections::BTreeSet;

use crate::support::{Acmezone, Query, Rcode, Reply, Rtype};
use crate::{BOTH, ask, judged, serving, value};

/// A zone whose SOA record has this TTL and MINIMUM.
fn zone(ttl: u32, minimum: u32) -> String {
    format!(
        "$TTL 1h\n@ {ttl} SOA ns1 hostmaster 7 4h 1h 2w {minimum}\n@ NS ns1\nns1 A 192.0.2.1\nleaf.ent TXT x\n\
         *.wild TXT x\ngone CNAME nothing\nempty CNAME ns1\nacross CNAME nothing.slow.test.\n"
    )
}

/// Zones that differ in what bounds the negative TTL: `slow` by none of its own, `soa` by TTL, `minimum` by MINIMUM.
fn server(keys: &str) -> Acmezone {
    let zones = [("slow.test", zone(86_400, 7_200)), ("soa.test", zone(60, 7_200)), ("minimum.test", zone(7_200, 90))];
    let server = serving(keys, &zones.each_ref().map(|(origin, text)| (*origin, text.as_str())));
    server.cli(&["account", "create", "--label", "chosen"]).expect_success();
    server
}

/// That the answer is denied by the SOA record of this zone, with this TTL.
#[track_caller]
fn assert_denied(reply: &Reply, rcode: Rcode, zone: &str, ttl: u32) {
    assert_eq!((reply.header_rcode(), reply.header.aa()), (rcode, true), "{:?}", reply.question);
    let [soa] = &reply.authority[..] else { panic!("{:?}", reply.authority) };
    assert_eq!((soa.rtype, &soa.name[..], soa.ttl), (Rtype::SOA, &format!("{zone}.")[..], ttl), "{:?}", reply.question);
    assert_eq!(reply.additional, []);
}

#[test]
fn the_ttl_of_a_denial_is_the_least_of_soa_ttl_minimum_and_negative_ttl_rfc2308_3_and_5() {
    for (keys, slow, soa, minimum) in [
        ("", 1, 1, 1),
        ("negative_ttl = \"0s\"", 0, 0, 0),
        ("negative_ttl = \"75s\"", 75, 60, 75),
        ("negative_ttl = \"1d\"", 7_200, 60, 90),
    ] {
        let server = server(keys);
        for (zone, ttl) in [("slow.test", slow), ("soa.test", soa), ("minimum.test", minimum)] {
            for via in BOTH {
                for (part, rtype, rcode, answers) in [
                    ("nothing", Rtype::A, Rcode::NXDOMAIN, 0),
                    ("x.ns1", Rtype::TXT, Rcode::NXDOMAIN, 0),
                    ("ns1", Rtype::AAAA, Rcode::NOERROR, 0),
                    ("ent", Rtype::TXT, Rcode::NOERROR, 0),
                    ("any.wild", Rtype::A, Rcode::NOERROR, 0),
                    // at the end of a CNAME, RFC 2308 sections 2.1 and 2.2
                    ("gone", Rtype::A, Rcode::NXDOMAIN, 1),
                    ("empty", Rtype::TXT, Rcode::NOERROR, 1),
                ] {
                    let reply = ask(&server, via, &Query::new(&format!("{part}.{zone}"), rtype).edns(1232));
                    assert_denied(&reply, rcode, zone, ttl);
                    assert_eq!(reply.answer.len(), answers);
                }
                let apex = judged(&server, via, zone, Rtype::MX);
                assert_denied(&apex, Rcode::NOERROR, zone, ttl);
                // the zone of the last name denies it, with its own TTLs
                let across = judged(&server, via, &format!("across.{zone}"), Rtype::A);
                assert_denied(&across, Rcode::NXDOMAIN, "slow.test", slow);
            }
        }
        let label = judged(&server, crate::Via::Udp, "chosen.slow.test", Rtype::TXT);
        assert_denied(&label, Rcode::NOERROR, "slow.test", slow);
    }
}

#[test]
fn the_soa_record_itself_is_as_written_rfc2308_4() {
    let server = server("");
    for via in BOTH {
        for (zone, ttl, minimum) in
            [("slow.test", 86_400, "7200"), ("soa.test", 60, "7200"), ("minimum.test", 7_200, "90")]
        {
            let asked = judged(&server, via, zone, Rtype::SOA);
            assert_eq!((asked.answer[0].ttl, asked.authority.len()), (ttl, 0));
            let denial = judged(&server, via, &format!("nothing.{zone}"), Rtype::SOA);
            for soa in [&asked.answer[0], &denial.authority[0]] {
                assert!(soa.rdata.ends_with(&format!(" {minimum}")), "MINIMUM stays: {}", soa.rdata);
            }
        }
    }
}

#[test]
fn what_is_there_comes_without_a_denial_rfc2308_2() {
    let server = server("");
    server.cli(&["txt", "add", "chosen.slow.test", &value(1)]).expect_success();
    for via in BOTH {
        for (name, rtype) in [
            ("slow.test", Rtype::NS),
            ("ns1.slow.test", Rtype::A),
            ("any.wild.slow.test", Rtype::TXT),
            ("empty.slow.test", Rtype::A),
            ("chosen.slow.test", Rtype::TXT),
        ] {
            let reply = judged(&server, via, name, rtype);
            assert!(!reply.answer.is_empty() && reply.authority.is_empty(), "{name} {rtype}");
        }
    }
}

/// A resolver that has learned NXDOMAIN for a name takes it for all names below (RFC 8020 section 2), so none above a
/// name that exists may get one; and everything below one that gets it must get it too.
#[test]
fn nxdomain_is_said_only_where_nothing_is_below_rfc8020_2() {
    let server = serving("", &[("slow.test", &zone(3_600, 300))]);
    server.cli(&["account", "create", "--label", "chosen"]).expect_success();
    let deep = "_acme-challenge.a.b.c.slow.test";
    server.cli(&["txt", "add", deep, &value(1)]).expect_success();
    let chosen = ["chosen.slow.test", "_acme-challenge.chosen.slow.test"];
    for existing in ["leaf.ent.slow.test", "ns1.slow.test", "x.y.wild.slow.test", deep].iter().chain(&chosen) {
        let mut name = *existing;
        while name != "test" {
            for via in BOTH {
                for rtype in [Rtype::NS, Rtype::A, Rtype::TXT] {
                    let reply = ask(&server, via, &Query::new(name, rtype));
                    assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NOERROR, true), "{name} {rtype}");
                }
            }
            name = name.split_once('.').unwrap().1;
        }
    }
    let mut gone = BTreeSet::new();
    for missing in ["c.b.a.nothing", "y.x.ns1", "x.chosen", "x._acme-challenge.chosen", "x.leaf.ent", "y.x.a.b.c"] {
        let name = format!("{missing}.slow.test");
        let parts: Vec<_> = name.split('.').collect();
        for from in (0..parts.len() - 2).rev() {
            let name = parts[from..].join(".");
            let rcode = ask(&server, BOTH[from % 2], &Query::new(&name, Rtype::TXT)).header_rcode();
            let below_gone = gone.iter().any(|above| name.ends_with(&format!(".{above}")));
            assert!(!below_gone || rcode == Rcode::NXDOMAIN, "{name} is below a name that does not exist");
            if rcode == Rcode::NXDOMAIN {
                gone.insert(name);
            }
        }
    }
    assert!(gone.len() > 8, "{gone:?}");
}
