//! How clients find the zone of a challenge name (RFC 2136 says nothing about it): each asks in its own way, and takes
//! some answers for something else than they are.

use crate::support::{Acmezone, Query, Rcode, Record, Reply, Rtype, Stamp, TsigKey, Update, nsupdate};
use crate::{BOTH, Via, ZONE, ask, exchange, shipped, zone_table};

const CHALLENGE_ZONE: &str = "_acme-challenge.example.net";

/// The challenge name of `customer.example` is an alias of the label `mine`.
const ALIAS: &str = "_acme-challenge.customer.example";

/// A registered label, its challenge name, a free one, an alias and a challenge zone, each with the origin of its zone.
const NAMES: [(&str, &str); 5] = [
    (ALIAS, ALIAS),
    ("mine.auth.example.org", ZONE),
    ("_acme-challenge.mine.auth.example.org", ZONE),
    ("_acme-challenge.other.auth.example.org", ZONE),
    (CHALLENGE_ZONE, CHALLENGE_ZONE),
];

struct Served {
    server: Acmezone,
    key: TsigKey,
}

fn served() -> Served {
    let key = TsigKey::new("client");
    let tables = [
        zone_table(ZONE, &shipped("auth.example.org.zone")),
        format!("[[zone]]\norigin = \"{CHALLENGE_ZONE}\"\nnameservers = [\"ns1.example.org\"]\n"),
        key.table(&format!("below = [\"{ZONE}\", \"{CHALLENGE_ZONE}\"]\ndomains = [\"customer.example\"]")),
    ];
    let server = Acmezone::start(&tables.concat());
    server.cli(&["account", "create", "--label", "mine"]).expect_success();
    server.cli(&["alias", "add", "customer.example", "mine"]).expect_success();
    Served { server, key }
}

/// The name and the names above it, longest first.
fn upward(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent))
}

fn soa(section: &[Record]) -> Option<&Record> {
    section.iter().find(|record| record.rtype == Rtype::SOA)
}

/// The SOA's owner without its final dot.
fn owner(soa: &Record) -> &str {
    soa.name.trim_end_matches('.')
}

#[test]
fn lego_goes_up_by_queries_for_soa_with_edns_until_one_is_in_the_answer_section() {
    let Served { server, .. } = served();
    for (name, zone) in NAMES {
        for via in BOTH {
            let mut found = None;
            for guess in upward(name) {
                let query = Query::new(guess, Rtype::SOA).recursive().edns(4096);
                let reply = ask(&server, via, &query);
                // Any other RCODE ends the search with an error.
                assert!([Rcode::NOERROR, Rcode::NXDOMAIN].contains(&reply.header_rcode()), "{guess}: {reply:?}");
                if let Some(soa) = soa(&reply.answer) {
                    assert_eq!(owner(soa), guess);
                    found = Some(guess);
                    break;
                }
            }
            assert_eq!(found, Some(zone), "{name} over {via:?}");
        }
    }
    // What exists has no SOA of its own, but exists.
    for (name, zone) in NAMES.into_iter().filter(|(name, _)| name.contains("mine")) {
        let reply = ask(&server, Via::Udp, &Query::new(name, Rtype::SOA).recursive().edns(4096));
        assert_eq!((reply.header_rcode(), reply.answer.len()), (Rcode::NOERROR, 0));
        assert_eq!(soa(&reply.authority).map(owner), Some(zone));
    }
}

#[test]
fn lego_asks_for_a_cname_of_the_name_first_and_is_told_that_there_is_none() {
    let Served { server, .. } = served();
    for (name, _) in NAMES.into_iter().filter(|(name, _)| !name.contains("other")) {
        let reply = ask(&server, Via::Udp, &Query::new(name, Rtype::CNAME).recursive().edns(4096));
        assert_eq!((reply.header_rcode(), reply.answer.len()), (Rcode::NOERROR, 0), "{name}");
    }
}

#[test]
fn certbot_takes_an_authoritative_soa_of_just_the_name_it_asked_for() {
    let Served { server, key } = served();
    for (name, zone) in NAMES {
        for via in BOTH {
            for signed in [false, true] {
                let is_zone = |guess: &&str| {
                    let query = Query::new(guess, Rtype::SOA).bytes();
                    let octets = if signed {
                        let message = key.sign(&query, &Stamp::now());
                        let octets = exchange(&server, via, &message.octets);
                        key.verify(&octets, &message);
                        octets
                    } else {
                        exchange(&server, via, &query)
                    };
                    let reply = Reply::parse(&octets);
                    let named = soa(&reply.answer).is_some_and(|soa| owner(soa) == *guess);
                    reply.header_rcode() == Rcode::NOERROR && reply.header.aa() && named && reply.edns.is_none()
                };
                assert_eq!(upward(name).find(is_zone), Some(zone), "{name} over {via:?}");
            }
        }
    }
}

#[test]
fn nsupdate_asks_with_its_signature_and_takes_the_soa_from_either_section() {
    let Served { server, key } = served();
    for (name, zone) in NAMES {
        for via in BOTH {
            let message = key.sign(&Query::new(name, Rtype::SOA).bytes(), &Stamp::now());
            let octets = exchange(&server, via, &message.octets);
            assert_eq!(key.verify(&octets, &message).mac.len(), 32, "it takes no answer that is not signed");
            let reply = Reply::parse(&octets);
            assert!([Rcode::NOERROR, Rcode::NXDOMAIN].contains(&reply.header_rcode()));
            let either = soa(&reply.answer).or(soa(&reply.authority)).expect("an SOA");
            assert_eq!(owner(either), zone);
            assert!(reply.edns.is_none() && reply.header.aa());
        }
        let add = format!("add {name}. 60 TXT x");
        nsupdate("nsupdate", server.dns, &["-y", &key.argument()], &[&add]).expect_success();
        let values = ask(&server, Via::Udp, &Query::new(name, Rtype::TXT)).txt_values();
        assert_eq!(values, ["x"], "{name}");
    }
    let message = key.sign(&Query::new("_acme-challenge.example.com", Rtype::SOA).bytes(), &Stamp::now());
    let octets = exchange(&server, Via::Udp, &message.octets);
    key.verify(&octets, &message);
    assert_eq!(Reply::parse(&octets).header_rcode(), Rcode::REFUSED);
}

/// dehydrated begins with the whole name, win-acme with the registrable domain.
#[test]
fn who_tries_updates_until_one_is_noerror_finds_the_one_zone() {
    let Served { server, key } = served();
    let send = |zone: &str, name: &str| {
        let message = key.sign(&Update::new(zone).add(name, "x").bytes(), &Stamp::now());
        let octets = exchange(&server, Via::Udp, &message.octets);
        key.verify(&octets, &message);
        Reply::parse(&octets).header_rcode()
    };
    for (name, zone) in NAMES {
        for guess in upward(name).chain([""]) {
            let expected = if guess == zone { Rcode::NOERROR } else { Rcode::NOTAUTH };
            assert_eq!(send(guess, name), expected, "zone {guess} of {name}");
        }
    }
    // Never NOERROR for what is not here, nor for a zone that has not the name.
    for guess in upward("_acme-challenge.www.example.com") {
        assert_eq!(send(guess, "_acme-challenge.www.example.com"), Rcode::NOTAUTH);
    }
    assert_eq!(send(ZONE, "_acme-challenge.www.example.com"), Rcode::NOTZONE);
    // Nor where nobody has signed.
    for (name, _) in NAMES {
        for guess in upward(name).chain(["_acme-challenge.example.com"]) {
            let octets = exchange(&server, Via::Udp, &Update::new(guess).add(name, "y").bytes());
            assert_eq!(Reply::parse(&octets).header_rcode(), Rcode::REFUSED, "{guess}");
        }
    }
}
