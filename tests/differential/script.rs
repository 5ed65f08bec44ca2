//! Messages of every kind, written by hand, with what they are answered.

use std::net::{IpAddr, Ipv4Addr};

use acmezone::answer::{Transport, Verdict};

use crate::paths::{Served, TRANSPORTS, both, now_millis, rare};
use crate::support::{Query, Rtype};

/// Response code, AA, and records in the answer section; or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Reply(u16, bool, u16),
    /// Also TC over UDP, and everything over TCP.
    Cut(u16),
    Rare(u16),
    Silence,
}
use Said::{Cut, Reply, Silence};

/// A valid server cookie of now for a client on 127.0.0.1, client cookie included.
pub fn valid_cookie() -> Vec<u8> {
    let ask = Query::new("one.auth.example.org", Rtype::TXT).edns(1232).edns_option(10, b"client c").bytes();
    let (_, reply) = both(&rare(), &ask, Transport::Udp, now_millis());
    let reply = reply.unwrap();
    reply[reply.len() - 24..].to_vec()
}

/// An OPT record, or another one of the additional section, that the builder of queries does not make.
fn with_additional(query: &Query, record: &[u8]) -> Vec<u8> {
    let mut octets = query.bytes();
    octets[11] += 1;
    octets.extend_from_slice(record);
    octets
}

fn with_counts(query: &Query, counts: [u16; 4]) -> Vec<u8> {
    let mut octets = query.bytes();
    for (index, count) in counts.into_iter().enumerate() {
        octets[4 + 2 * index..6 + 2 * index].copy_from_slice(&count.to_be_bytes());
    }
    octets
}

fn header(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut octets = vec![0xca, 0xfe];
    octets.extend([[flags].as_slice(), &counts].concat().iter().flat_map(|field| field.to_be_bytes()));
    octets.extend_from_slice(rest);
    octets
}

fn script() -> Vec<(&'static str, Vec<u8>, Said)> {
    let q = |label: &str, rtype| Query::new(&format!("{label}.auth.example.org"), rtype).id(0x1234);
    let one = || q("one", Rtype::TXT);
    let apex = |rtype| Query::new("auth.example.org", rtype);
    let hit = Reply(0, true, 1);
    let nodata = Reply(0, true, 0);
    let nxdomain = Reply(3, true, 0);
    let referral = Reply(0, false, 0);
    let refused = Reply(5, false, 0);
    let formerr = Reply(1, false, 0);
    let valid = valid_cookie();
    let mut invalid = valid.clone();
    invalid[23] ^= 1;
    // a key of one letter, of an algorithm of one letter, without a MAC
    let tsig = [&[1, b'k', 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 19][..], &[1, b'a', 0], &[0; 16]].concat();
    let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    let cookie_option = [&[0, 10, 0, 8][..], &[7; 8]].concat();
    let cookie_opt = [&opt[..10], &[12][..], &cookie_option].concat();
    let mut signed_before_opt = with_additional(&one(), &[&tsig[..], &opt].concat());
    signed_before_opt[11] = 2;
    let question = one().question_bytes();
    vec![
        ("a hit", one().bytes(), hit),
        ("RD and CD", one().recursive().checking_disabled().bytes(), hit),
        ("0x20", Query::new("oNe.AUTH.exAMPLE.org", Rtype::TXT).bytes(), hit),
        ("EDNS", one().edns(1232).bytes(), hit),
        ("DO", one().edns(4096).dnssec_ok().bytes(), hit),
        (
            "as a CA asks",
            Query::new("_aCmE-chaLLenge.oNe.auth.EXAMPLE.org", Rtype::TXT).edns(512).dnssec_ok().bytes(),
            hit,
        ),
        ("a client cookie", one().edns(1232).edns_option(10, &valid[..8]).bytes(), hit),
        ("a valid cookie", one().edns(1232).edns_option(10, &valid).bytes(), hit),
        ("an invalid cookie", one().edns(1232).edns_option(10, &invalid).bytes(), hit),
        ("a cookie too short", one().edns(1232).edns_option(10, &[7; 7]).bytes(), formerr),
        (
            "NSID, ECS, padding",
            one().edns(1232).edns_option(3, b"").edns_option(8, &[0, 1, 0, 0]).edns_option(12, &[0; 20]).bytes(),
            hit,
        ),
        ("an unknown option", one().edns(1232).edns_option(65_001, b"x").bytes(), hit),
        ("half an option", with_additional(&one(), &[&opt[..10], &[3, 0, 3, 0]].concat()), formerr),
        ("a small payload", one().edns(0).bytes(), hit),
        ("BADVERS", one().edns(1232).edns_version(1).bytes(), Reply(16, false, 0)),
        (
            "BADVERS, with a cookie",
            one().edns(1232).edns_version(255).edns_option(10, &valid).bytes(),
            Reply(16, false, 0),
        ),
        ("two OPT", with_additional(&one().edns(1232), &opt), formerr),
        ("OPT below the root", with_additional(&one(), &[&[1, b'x'][..], &opt].concat()), formerr),
        ("two values", Query::new("_acme-challenge.example.net", Rtype::TXT).bytes(), Reply(0, true, 2)),
        ("what 512 octets cannot hold", q("few", Rtype::TXT).bytes(), Cut(9)),
        ("and 1232 can", q("few", Rtype::TXT).edns(1232).bytes(), Reply(0, true, 9)),
        ("what 1232 octets cannot hold", q("many", Rtype::TXT).edns(65_535).bytes(), Cut(22)),
        ("64 values", q("full", Rtype::TXT).edns(1232).dnssec_ok().bytes(), Cut(64)),
        ("values of 4,096 octets", q("long", Rtype::TXT).bytes(), Cut(4)),
        ("an empty value", q("void", Rtype::TXT).bytes(), hit),
        ("no value yet", q("idle", Rtype::TXT).bytes(), nodata),
        ("NODATA", q("one", Rtype::A).bytes(), nodata),
        ("NODATA for CAA", q("one", Rtype::CAA).edns(1232).dnssec_ok().bytes(), nodata),
        ("TYPE65280", q("odd", Rtype::from_int(65_280)).bytes(), hit),
        ("NODATA for TYPE65279", q("odd", Rtype::from_int(65_279)).bytes(), nodata),
        ("NXDOMAIN", q("below.one", Rtype::TXT).bytes(), nxdomain),
        ("an expired name", q("_acme-challenge.old", Rtype::TXT).bytes(), Reply(0, true, 0)),
        ("an empty non-terminal", q("b.c", Rtype::A).edns(1232).bytes(), nodata),
        ("a CNAME", q("alias", Rtype::A).bytes(), Reply(0, true, 2)),
        ("the CNAME itself", q("alias", Rtype::CNAME).bytes(), hit),
        ("a CNAME to NODATA", q("alias", Rtype::TXT).bytes(), hit),
        ("a CNAME to nowhere", q("none", Rtype::A).bytes(), Reply(3, true, 1)),
        ("a CNAME out", q("out", Rtype::A).bytes(), hit),
        ("a CNAME to a value", q("to1", Rtype::TXT).bytes(), Reply(0, true, 2)),
        ("a CNAME to too much", q("to", Rtype::TXT).bytes(), Cut(65)),
        ("a CNAME below a cut", q("down", Rtype::TXT).bytes(), hit),
        ("a loop", q("l1", Rtype::A).bytes(), Reply(0, true, 2)),
        ("a long chain", q("c1", Rtype::TXT).edns(1232).bytes(), Reply(0, true, 9)),
        ("a referral", q("deep.sub", Rtype::TXT).bytes(), referral),
        ("a wide referral", q("wide", Rtype::A).edns(1232).dnssec_ok().bytes(), referral),
        ("DS at a cut", q("sub", Rtype::DS).bytes(), nodata),
        ("a wildcard", q("Some.Thing.w", Rtype::TXT).bytes(), hit),
        ("a wildcard's NODATA", q("thing.w", Rtype::A).bytes(), nodata),
        ("a wildcard CNAME", q("any.v", Rtype::A).bytes(), hit),
        ("ANY", apex(Rtype::ANY).bytes(), hit),
        ("ANY at an empty non-terminal", q("c", Rtype::ANY).bytes(), nodata),
        ("SOA", apex(Rtype::SOA).bytes(), hit),
        ("NS", apex(Rtype::NS).edns(1232).bytes(), Reply(0, true, 2)),
        ("AXFR", apex(Rtype::AXFR).bytes(), refused),
        ("IXFR", apex(Rtype::IXFR).bytes(), refused),
        ("CHAOS", Query::new("version.bind", Rtype::TXT).class(3).bytes(), refused),
        ("class ANY", one().class(255).bytes(), refused),
        (
            "TKEY",
            one()
                .edns(1232)
                .bytes()
                .iter()
                .copied()
                .enumerate()
                .map(|(at, octet)| if at == 35 { 249 } else { octet })
                .collect(),
            refused,
        ),
        ("out of zone", Query::new("www.example.com", Rtype::A).bytes(), refused),
        ("the root", Query::new(".", Rtype::NS).edns(1232).bytes(), refused),
        ("a cookie alone", header(0, [0, 0, 0, 1], &cookie_opt), Reply(0, false, 0)),
        ("a header alone", header(0, [0; 4], b""), formerr),
        ("QDCOUNT 0", with_counts(&one(), [0; 4]), formerr),
        ("QDCOUNT 2", with_counts(&one(), [2, 0, 0, 0]), formerr),
        ("QDCOUNT 2 and two questions", header(0, [2, 0, 0, 0], &[&question[..], &question].concat()), formerr),
        ("QDCOUNT 65,535", with_counts(&one(), [65_535, 0, 0, 0]), formerr),
        ("ANCOUNT 1", with_counts(&one(), [1, 1, 0, 0]), formerr),
        ("ARCOUNT 65,535", with_counts(&one().edns(1232), [1, 0, 0, 65_535]), formerr),
        ("octets at the end", [one().bytes(), vec![0; 9]].concat(), hit),
        ("a record that means nothing", with_additional(&one(), &[0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]), hit),
        ("half a question", one().bytes()[..20].to_vec(), formerr),
        ("a name that points to itself", header(0, [1, 0, 0, 0], &[0xc0, 12, 0, 16, 0, 1]), formerr),
        ("IQUERY", one().opcode(1).bytes(), Reply(4, false, 0)),
        ("STATUS", one().opcode(2).bytes(), Reply(4, false, 0)),
        ("DSO", one().opcode(6).bytes(), Reply(4, false, 0)),
        ("opcode 15", header(15 << 11, [65_535; 4], b""), Reply(4, false, 0)),
        ("NOTIFY", apex(Rtype::SOA).opcode(4).bytes(), Said::Rare(5)),
        ("NOTIFY with EDNS", apex(Rtype::SOA).opcode(4).edns(1232).bytes(), Said::Rare(5)),
        ("NOTIFY without a zone", header(4 << 11, [0; 4], b""), formerr),
        ("UPDATE", apex(Rtype::SOA).opcode(5).bytes(), Said::Rare(5)),
        ("UPDATE cut short", apex(Rtype::SOA).opcode(5).bytes()[..20].to_vec(), Said::Rare(1)),
        ("UPDATE of two zones", with_counts(&apex(Rtype::SOA).opcode(5), [2, 0, 0, 0]), formerr),
        ("a signed query", with_additional(&one(), &tsig), Said::Rare(9)),
        ("a signed query with EDNS", with_additional(&one().edns(1232), &tsig), Said::Rare(9)),
        ("a signature before OPT", signed_before_opt, formerr),
        ("an answer", header(0x8000, [1, 0, 0, 0], &question), Silence),
        ("eleven octets", one().bytes()[..11].to_vec(), Silence),
        ("one octet", vec![0], Silence),
        ("nothing", Vec::new(), Silence),
    ]
}

fn said(verdict: Verdict, reply: Option<&[u8]>) -> Said {
    let Some(reply) = reply else { return Silence };
    let rcode = crate::support::Reply::parse(reply).rcode.to_int();
    let answers = u16::from_be_bytes([reply[6], reply[7]]);
    match verdict {
        Verdict::Rare => Said::Rare(rcode),
        _ if reply[2] & 2 != 0 => Cut(answers),
        _ => Reply(rcode, reply[2] & 4 != 0, answers),
    }
}

#[test]
fn every_kind_of_message_is_answered_as_it_should_be_on_both_paths() {
    let (rare, now) = (rare(), now_millis());
    for (what, message, expected) in script() {
        for transport in TRANSPORTS {
            let (verdict, reply) = both(&rare, &message, transport, now);
            let expected = match (expected, transport) {
                (Cut(_), Transport::Udp) => Cut(0),
                (Cut(answers), Transport::Tcp) => Reply(0, true, answers),
                (other, _) => other,
            };
            assert_eq!(said(verdict, reply.as_deref()), expected, "{what} over {transport:?}");
        }
    }
}

#[test]
fn the_loops_answer_every_kind_of_message_as_the_handler_does() {
    let served = Served::start();
    let script = script();
    let silent = script.iter().filter(|(_, _, said)| *said == Silence).count();
    let answers = served.compare(script.iter().map(|(_, message, _)| message.as_slice()));
    assert_eq!(answers, 2 * (script.len() - silent));
}

/// A cookie is valid where it was made.
#[test]
fn the_valid_cookie_of_the_script_is_valid() {
    let rare = rare();
    let cookie = valid_cookie();
    let query = Query::new("one.auth.example.org", Rtype::TXT).edns(1232).edns_option(10, &cookie).bytes();
    let (_, reply) = both(&rare, &query, Transport::Udp, now_millis() + 60_000);
    assert!(reply.unwrap().ends_with(&cookie), "it comes back as it was sent");
    let client: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
    let mut other = Vec::new();
    rare.answerer().answer(&query, client, Transport::Udp, now_millis() + 60_000, &mut other);
    assert!(!other.ends_with(&cookie[8..]));
}
