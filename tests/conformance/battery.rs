//! The probes of RFC 8906 and ten more of the same kind.

use crate::support::{Query, Reply, Rtype};
use crate::{BOTH, Via, ZONE, ask, exchange, quick_start};

const NOERROR: u16 = 0;
const NXDOMAIN: u16 = 3;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;

const AD: u16 = 0x0020;
const Z: u16 = 0x0040;

const NSID: u16 = 3;
const CLIENT_SUBNET: u16 = 8;
const EXPIRE: u16 = 9;
const COOKIE: u16 = 10;

struct Probe {
    number: u8,
    section: &'static str,
    query: Query,
    rcode: u16,
    aa: bool,
    /// Type of the one record in the answer section.
    answer: Option<Rtype>,
    /// Whether the SOA stands in the authority section.
    denied: bool,
}

/// Header bits that must be as they were sent, or clear: QR, opcode, TC, RD, RA, Z, AD, CD.
fn flags_expected(sent: u16) -> u16 {
    const OPCODE_RD_CD: u16 = 0x7910;
    0x8000 | sent & OPCODE_RD_CD
}

fn probes() -> Vec<Probe> {
    let soa = || Query::new(ZONE, Rtype::SOA);
    let of = |rtype| Query::new(ZONE, rtype);
    let with = |mut query: Query, flags: u16| {
        query.flags |= flags;
        query
    };
    // as dig asks
    let like_dig = |query: Query| with(query, AD).edns(1232).edns_option(COOKIE, &[7; 8]);
    let unknown_flag = |mut query: Query| {
        query.edns_ttl |= 0x40;
        query
    };
    let options = soa()
        .edns(1232)
        .edns_option(COOKIE, &[7; 8])
        .edns_option(NSID, b"")
        .edns_option(EXPIRE, b"")
        .edns_option(CLIENT_SUBNET, &[0, 1, 0, 0]);
    let version_1 = || soa().edns(1232).edns_version(1);

    let mut number = 0;
    let mut probe = |section, query, rcode, aa, answer, denied| {
        number += 1;
        Probe { number, section, query, rcode, aa, answer, denied }
    };
    let found = Some(Rtype::SOA);
    vec![
        probe("8.1.1", soa(), NOERROR, true, found, false),
        probe("8.1.2", of(Rtype::from_int(1000)), NOERROR, true, None, true),
        probe("8.1.3", soa().checking_disabled(), NOERROR, true, found, false),
        probe("8.1.3", with(soa(), AD), NOERROR, true, found, false),
        probe("8.1.3", with(soa(), Z), NOERROR, true, found, false),
        probe("8.1.3", soa().recursive(), NOERROR, true, found, false),
        // of this one only the header is sent
        probe("8.1.4", soa().opcode(15), NOTIMP, false, None, false),
        probe("8.1.5", soa(), NOERROR, true, found, false),
        probe("8.2.1", soa().edns(1232), NOERROR, true, found, false),
        probe("8.2.2", version_1(), BADVERS, false, None, false),
        probe("8.2.3", soa().edns(1232).edns_option(100, b""), NOERROR, true, found, false),
        probe("8.2.4", unknown_flag(soa().edns(1232)), NOERROR, true, found, false),
        probe("8.2.5", unknown_flag(version_1()), BADVERS, false, None, false),
        probe("8.2.6", version_1().edns_option(100, b""), BADVERS, false, None, false),
        probe("8.2.7", of(Rtype::DNSKEY).edns(512).dnssec_ok(), NOERROR, true, None, true),
        probe("8.2.8", soa().edns(1232).dnssec_ok(), NOERROR, true, found, false),
        probe("8.2.9", version_1().dnssec_ok(), BADVERS, false, None, false),
        probe("8.2.10", options, NOERROR, true, found, false),
        probe("extra", like_dig(Query::new("www.elsewhere.test", Rtype::A)), REFUSED, false, None, false),
        probe("extra", like_dig(Query::new("version.bind", Rtype::TXT).class(3)), REFUSED, false, None, false),
        probe("extra", like_dig(of(Rtype::ANY)), NOERROR, true, Some(Rtype::HINFO), false),
        probe("extra", like_dig(of(Rtype::MX)), NOERROR, true, None, true),
        probe("extra", like_dig(Query::new(&format!("nope.{ZONE}"), Rtype::TXT)), NXDOMAIN, true, None, true),
        probe("extra", like_dig(soa()).opcode(4), REFUSED, false, None, false),
        probe("extra", like_dig(soa()).opcode(5), REFUSED, false, None, false),
    ]
}

fn judge(probe: &Probe, via: Via, octets: &[u8]) {
    let (query, what) = (&probe.query, format!("probe {} ({}) over {via:?}", probe.number, probe.section));
    let reply = Reply::parse(octets);
    assert_eq!(reply.header.id(), query.id, "{what}");
    assert_eq!(reply.rcode.to_int(), probe.rcode, "{what}");
    let flags = u16::from_be_bytes([octets[2], octets[3]]) & 0xfff0;
    let aa = if probe.aa { 0x0400 } else { 0 };
    assert_eq!(flags, flags_expected(query.flags) | aa, "the flags of {what}: {flags:04x}");
    let question = query.question_bytes();
    assert_eq!(reply.counts[0], 1, "{what}");
    assert_eq!(octets[12..].get(..question.len()), Some(&question[..]), "the question of {what}");

    let answers: Vec<_> = reply.answer.iter().map(|record| record.rtype).collect();
    assert_eq!(answers, Vec::from_iter(probe.answer), "{what}");
    let denials: Vec<_> = reply.authority.iter().map(|record| record.rtype).collect();
    assert_eq!(denials, if probe.denied { vec![Rtype::SOA] } else { vec![] }, "{what}");
    assert_eq!(reply.additional, [], "{what}");

    assert_eq!(reply.edns.is_some(), query.edns.is_some(), "OPT in {what}");
    let Some(edns) = &reply.edns else { return };
    assert_eq!((edns.version, edns.udp_size >= 512), (0, true), "{what}: {edns:?}");
    // A refusal has its reason (RFC 8914). Of the options sent only COOKIE is known: back come the client's part and
    // sixteen octets of ours (RFC 9018 section 4).
    let cookie = query.edns_ttl >> 16 == 0 // EDNS version 0
        && query.edns_options.windows(3).any(|option| option == [0, 10, 0]);
    let mut lengths: Vec<_> = edns.options.iter().map(|(code, data)| (*code, data.len())).collect();
    lengths.sort();
    let reason = (probe.rcode == REFUSED).then_some((15, 2));
    assert_eq!(lengths, Vec::from_iter(cookie.then_some((10, 24)).into_iter().chain(reason)), "{what}");
    // Root, type, size, extended RCODE, version, flags, the length of the options: the end of the message.
    let opt = &octets[octets.len() - 11 - edns.options.iter().map(|(_, data)| 4 + data.len()).sum::<usize>()..];
    assert_eq!(opt[..3], [0, 0, 41], "the last record of {what}");
    let flags = u16::from_be_bytes([opt[7], opt[8]]);
    assert_eq!(flags, (query.edns_ttl & 0x8000) as u16, "the EDNS flags of {what}");
}

#[test]
fn all_probes_of_rfc8906_8_and_ten_more_over_udp_and_tcp() {
    let server = quick_start();
    let probes = probes();
    assert_eq!(probes.len(), 25);
    for probe in &probes {
        for via in BOTH {
            if probe.section == "8.1.4" {
                let header = [&probe.query.bytes()[..4], &[0; 8]].concat();
                let octets = exchange(&server, via, &header);
                assert_eq!(octets.len(), 12, "probe 7 over {via:?}");
                let expected = [&probe.query.id.to_be_bytes()[..], &[0xf8, 4], &[0; 8]].concat();
                assert_eq!(octets, expected, "probe 7 over {via:?}");
            } else {
                judge(probe, via, &exchange(&server, via, &probe.query.bytes()));
            }
        }
    }
}

#[test]
fn every_opcode_but_query_notify_and_update_is_notimp_rfc8906_8_1_4() {
    let server = quick_start();
    for opcode in (1..16).filter(|opcode| ![4, 5].contains(opcode)) {
        for via in BOTH {
            let reply = ask(&server, via, &Query::new(ZONE, Rtype::SOA).opcode(opcode));
            assert_eq!(reply.rcode.to_int(), NOTIMP, "opcode {opcode}");
        }
    }
}

#[test]
fn question_and_owner_come_back_in_the_case_of_the_query_rfc4343_4_1() {
    let server = quick_start();
    let account = server.register();
    assert_eq!(server.update(&account, &crate::value(1)).status, 200);
    let mixed = |name: &str| {
        let turn = |(at, letter): (usize, char)| if at % 2 == 0 { letter.to_ascii_uppercase() } else { letter };
        name.chars().enumerate().map(turn).collect::<String>()
    };
    for via in BOTH {
        for (name, rtype) in [
            (mixed(&account.fulldomain), Rtype::TXT),
            (mixed(&format!("_acme-challenge.{}", account.fulldomain)), Rtype::TXT),
            (mixed(&format!("ns1.{ZONE}")), Rtype::A),
            (mixed(ZONE), Rtype::CAA),
        ] {
            let query = Query::new(&name, rtype);
            let octets = exchange(&server, via, &query.bytes());
            assert_eq!(octets[12..].get(..query.question_bytes().len()), Some(&query.question_bytes()[..]));
            let reply = Reply::parse(&octets);
            assert!(!reply.answer.is_empty(), "{name} {rtype}");
            for record in reply.answer {
                assert_eq!(record.name, format!("{name}."), "over {via:?}");
            }
        }
    }
}

#[test]
fn dnssec_ok_is_echoed_and_only_when_set_rfc3225_3() {
    let server = quick_start();
    for via in BOTH {
        for (name, rtype) in [(ZONE, Rtype::SOA), (ZONE, Rtype::MX), ("nope.auth.example.org", Rtype::A)] {
            let plain = Query::new(name, rtype).edns(1232);
            let asked = plain.clone().dnssec_ok();
            assert!(ask(&server, via, &asked).edns.unwrap().dnssec_ok);
            assert!(!ask(&server, via, &plain).edns.unwrap().dnssec_ok);
        }
    }
}
