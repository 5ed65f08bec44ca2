//! What is known to break the validation of certificate authorities and their resolvers is impossible here: REFUSED or
//! SERVFAIL in our zones, silence, TC without TCP, an answer from another address, NOTIMP for CAA, EDNS dropped.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use crate::support::{Acmezone, Query, RawDns, Rcode, Reply, Rtype, TcpConnection, Unbound};
use crate::{ZONE, dns, serving, value};

const TEXT: &str = "\
$TTL 1h
@     SOA   ns1 hostmaster 7 4h 1h 2w 300
@     NS    ns1
@     CAA   0 issue \"ca.example\"
@     MX    0 .
ns1   A     192.0.2.1
ns1   AAAA  2001:db8::1
leaf.ent TXT x
*.wild TXT  \"wild\"
out   CNAME www.elsewhere.test.
label CNAME chosen
chain CNAME label
";

const CHALLENGES: &str = "$TTL 1h\n@ SOA ns1.auth.example.org. h 1 4h 1h 2w 300\n@ NS ns1.auth.example.org.\n";
const CHALLENGE_ZONE: &str = "_acme-challenge.example.net";

fn server() -> Acmezone {
    let server = serving("", &[(ZONE, TEXT), (CHALLENGE_ZONE, CHALLENGES)]);
    for label in ["chosen", "empty", "full"] {
        server.cli(&["account", "create", "--label", label]).expect_success();
    }
    let values: Vec<String> = (0..64).map(value).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let below = |part: &str| format!("{part}.{ZONE}");
    for (name, count) in
        [(below("chosen"), 2), (below("full"), 64), (below("_acme-challenge.www.shop"), 1), (CHALLENGE_ZONE.into(), 2)]
    {
        server.cli(&[&["txt", "set", &name], &values[..count]].concat()).expect_success();
    }
    server
}

/// Names in our zones, and whether they exist. None is below a cut.
const NAMES: [(&str, bool); 20] = [
    ("auth.example.org", true),
    ("chosen.auth.example.org", true),
    ("_acme-challenge.chosen.auth.example.org", true),
    ("empty.auth.example.org", true),
    ("_acme-challenge.empty.auth.example.org", true),
    ("full.auth.example.org", true),
    ("x.chosen.auth.example.org", false),
    ("_acme-challenge.www.shop.auth.example.org", true),
    ("www.shop.auth.example.org", true),
    ("shop.auth.example.org", true),
    ("ns1.auth.example.org", true),
    ("ent.auth.example.org", true),
    ("any.wild.auth.example.org", true),
    ("out.auth.example.org", true),
    ("label.auth.example.org", true),
    ("chain.auth.example.org", true),
    ("nope.auth.example.org", false),
    ("_acme-challenge.nope.auth.example.org", false),
    ("_acme-challenge.example.net", true),
    ("x._acme-challenge.example.net", false),
];

/// How resolvers ask: EDNS sizes and flags, header flags, options.
fn shapes(query: &Query) -> Vec<Query> {
    let edns = || query.clone().edns(1232);
    let with_flags = |flags: u16| {
        let mut query = edns();
        query.flags |= flags;
        query
    };
    let unbound = edns().dnssec_ok().checking_disabled();
    let mut unknown_flags = edns();
    unknown_flags.edns_ttl = 0x7fff;
    vec![
        query.clone(),
        query.clone().recursive().checking_disabled(),
        query.clone().edns(0),
        query.clone().edns(512).dnssec_ok(),
        query.clone().edns(4096),
        query.clone().edns(65535),
        unbound.clone(),
        with_flags(0x0170), // RD, Z, AD, CD
        with_flags(0x0680), // AA, TC, RA: without meaning in a query
        unknown_flags,
        unbound.edns_option(10, &[7; 8]),
        edns().edns_option(10, &[7; 24]),
        edns().edns_option(3, b"").edns_option(8, &[0, 1, 24, 0, 192, 0, 2]),
        edns().edns_option(11, b"").edns_option(12, &[0; 100]),
        edns().edns_option(65_001, &[9; 300]),
    ]
}

/// Types that resolvers, CAs and monitors ask for, and types that are none yet.
fn usual_types() -> Vec<u16> {
    vec![1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 35, 39, 43, 44, 46, 47, 48, 52, 59, 64, 65, 99, 255, 257, 258, 1000, 65534]
}

/// Every type but those that are no types of data: OPT, TKEY, TSIG, IXFR, AXFR.
fn all_types() -> Vec<u16> {
    let meta = [41, 249, 250, 251, 252];
    (0..=300).chain([32768, 32769, 65280, 65534, 65535]).filter(|rtype| !meta.contains(rtype)).collect()
}

struct Both {
    /// Connected: what comes from another address does not arrive.
    udp: UdpSocket,
    tcp: TcpConnection,
}

impl Both {
    fn new(server: &Acmezone) -> Both {
        Both { udp: dns(server).udp_socket(), tcp: dns(server).connect().unwrap() }
    }

    /// Answers over UDP and TCP that break nothing; the one over TCP.
    #[track_caller]
    fn judge(&mut self, query: &Query, exists: bool) -> Reply {
        let bytes = query.bytes();
        self.udp.send(&bytes).unwrap();
        let mut octets = [0; 65535];
        let length = self.udp.recv(&mut octets).unwrap_or_else(|error| panic!("silence ({error}) to {query:?}"));
        let udp = sound(query, exists, &octets[..length]);
        let limit = usize::from(query.edns.unwrap_or(512).clamp(512, 1232));
        assert!(length <= limit, "{length} octets where {limit} may be: {query:?}");

        self.tcp.send(&bytes);
        let octets = self.tcp.receive().unwrap_or_else(|| panic!("silence over TCP to {query:?}"));
        let tcp = sound(query, exists, &octets);
        assert!(!tcp.header.tc(), "{query:?}");
        if udp.header.tc() {
            assert!(octets.len() > limit, "cut without need: {query:?}");
        } else {
            assert_eq!((&udp.answer, &udp.authority, udp.rcode), (&tcp.answer, &tcp.authority, tcp.rcode), "{query:?}");
        }
        tcp
    }
}

/// What holds for every answer in our zones.
#[track_caller]
fn sound(query: &Query, exists: bool, octets: &[u8]) -> Reply {
    let reply = Reply::parse(octets);
    let header = reply.header;
    let question = query.question_bytes();
    assert_eq!((header.id(), header.qr(), header.opcode().to_int()), (query.id, true, 0), "{query:?}");
    assert_eq!(octets[12..].get(..question.len()), Some(&question[..]), "the question, as it came: {query:?}");
    assert!(header.aa(), "{query:?}");
    assert!(!header.ra() && !header.ad() && !header.z(), "{query:?}");
    assert_eq!((header.rd(), header.cd()), (query.flags & 0x100 > 0, query.flags & 0x10 > 0), "{query:?}");
    // A cut answer does not know.
    let rcode = if exists || header.tc() { Rcode::NOERROR } else { Rcode::NXDOMAIN };
    assert_eq!((reply.rcode.to_int(), header.rcode()), (rcode.to_int().into(), rcode), "{query:?}");
    assert_eq!(reply.edns.is_some(), query.edns.is_some(), "EDNS dropped, or made up: {query:?}");
    if let Some(edns) = &reply.edns {
        assert_eq!((edns.version, edns.dnssec_ok), (0, query.edns_ttl & 0x8000 > 0), "{query:?}");
        assert!(edns.options.iter().all(|(code, _)| *code == 10), "{query:?}");
    }
    // Either there is an answer, or the SOA record says that there is none; a CNAME may lead to what is not ours.
    let soa = reply.authority.iter().map(|record| record.rtype).collect::<Vec<_>>() == [Rtype::SOA];
    let (answers, cut) = (reply.answer.len(), header.tc());
    let leaves = reply.answer.last().is_some_and(|last| last.rtype == Rtype::CNAME);
    assert!(!cut || answers + reply.authority.len() == 0, "{query:?}");
    assert!(cut || soa == (answers == 0) || leaves, "{query:?}: {reply:?}");
    assert_eq!(reply.additional, [], "{query:?}");
    reply
}

#[test]
fn every_type_at_every_kind_of_name_has_an_answer() {
    let server = server();
    let mut both = Both::new(&server);
    for (name, exists) in NAMES {
        for rtype in all_types() {
            both.judge(&Query::new(name, Rtype::from_int(rtype)).edns(1232).dnssec_ok().checking_disabled(), exists);
        }
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn every_shape_of_query_has_the_same_answer() {
    let server = server();
    let mut both = Both::new(&server);
    for (name, exists) in NAMES {
        for rtype in usual_types() {
            let mut answers = BTreeMap::new();
            for query in shapes(&Query::new(name, Rtype::from_int(rtype))) {
                let reply = both.judge(&query, exists);
                answers.insert((crate::lines(&reply.answer), crate::lines(&reply.authority)), query);
            }
            assert_eq!(answers.len(), 1, "{answers:?}");
        }
    }
}

/// RFC 8659 section 3 climbs from the name to the root; a CA takes every error on the way for a "no".
#[test]
fn caa_is_answered_at_every_name_rfc8659_3() {
    let server = server();
    let mut both = Both::new(&server);
    for (name, exists) in NAMES {
        let reply = both.judge(&Query::new(name, Rtype::CAA).edns(1232), exists);
        assert_ne!(reply.header_rcode(), Rcode::NOTIMP);
        let records = reply.answer.iter().filter(|record| record.rtype == Rtype::CAA).count();
        assert_eq!(records, usize::from(name == ZONE), "{name}");
    }
}

/// The names that a challenge is looked for at, in the case that a resolver makes of them.
#[test]
fn a_challenge_is_found_whatever_the_case_and_the_transport() {
    let server = server();
    let mut both = Both::new(&server);
    for (name, count) in [
        ("_aCmE-cHaLlEnGe.ChOsEn.aUtH.eXaMpLe.OrG", 2),
        ("CHOSEN.AUTH.EXAMPLE.ORG", 2),
        ("cHaIn.auth.example.org", 2),
        ("full.auth.EXAMPLE.org", 64),
        ("_ACME-challenge.www.SHOP.auth.example.org", 1),
        ("_acme-CHALLENGE.example.NET", 2),
    ] {
        for query in shapes(&Query::new(name, Rtype::TXT)) {
            let mut values = both.judge(&query, true).txt_values();
            values.sort();
            assert_eq!(values, (0..count).map(value).collect::<Vec<_>>(), "{name}");
        }
    }
}

/// Unbound with 0x20, as ca.md's resolver: it takes what we say, over TCP where it is long.
#[test]
fn a_resolver_finds_all_of_it() {
    let server = server();
    let stubs = [("auth.example.org", server.dns.port()), (CHALLENGE_ZONE, server.dns.port())];
    let unbound = Unbound::start(&stubs);
    let ask = |name: &str, rtype| {
        let octets = RawDns::new(unbound.addr()).tcp(&Query::new(name, rtype).recursive().edns(1232).bytes());
        Reply::parse(&octets.expect("Unbound answers"))
    };
    for (name, exists) in NAMES.into_iter().filter(|(name, _)| !name.starts_with("out.")) {
        for rtype in [1, 2, 16, 28, 52, 65, 257, 65534] {
            let reply = ask(name, Rtype::from_int(rtype));
            let expected = if exists { Rcode::NOERROR } else { Rcode::NXDOMAIN };
            assert_eq!(reply.header_rcode(), expected, "{name} TYPE{rtype}: {reply:?}");
        }
    }
    assert_eq!(ask("full.auth.example.org", Rtype::TXT).txt_values().len(), 64);
    assert_eq!(ask("chain.auth.example.org", Rtype::TXT).txt_values().len(), 2);
}
