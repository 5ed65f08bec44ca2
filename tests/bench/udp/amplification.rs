//! What a forger of source addresses could gain: the longest answer for each octet asked.

use std::time::Duration;

use crate::servers::Server;
use crate::stand::fill::Entry;
use crate::stand::labels::{self, ORIGIN};
use crate::support::{Query, RawDns, Rtype};

/// A delegation with many name servers and all their addresses, and a long name, in acmezone's zone file.
pub const RECORDS: &str = "\
sub         NS  ns1.sub
sub         NS  ns2.sub
sub         NS  ns3.sub
sub         NS  ns4.sub
ns1.sub     A   192.0.2.11
ns1.sub     AAAA 2001:db8::11
ns2.sub     A   192.0.2.12
ns2.sub     AAAA 2001:db8::12
ns3.sub     A   192.0.2.13
ns3.sub     AAAA 2001:db8::13
ns4.sub     A   192.0.2.14
ns4.sub     AAAA 2001:db8::14
";

/// Labels of one letter, so that the question is short, with these numbers of values: the most that fit into 512
/// octets, into 1232, and the most that a name can have.
const FULL: [(&str, usize); 3] = [("p", 8), ("e", 21), ("m", 64)];
const FIRST: u64 = 1 << 41;

/// What must be in the store for this.
pub fn entries() -> impl Iterator<Item = Entry> {
    FULL.into_iter().zip(FIRST..).map(|((label, count), number)| {
        let values = (0..count as u64).map(|value| labels::value(FIRST + value)).collect();
        Entry { username: labels::username(number), label: label.to_owned(), values }
    })
}

/// How many of the worst are shown.
const SHOWN: usize = 12;

/// Sends each of the queries over UDP and prints the largest ratios.
pub fn print(acmezone: &Server) {
    let server = RawDns::new(acmezone.address).timeout(Duration::from_millis(300));
    let mut lines: Vec<(f64, String)> = Vec::new();
    for (what, query) in queries() {
        let answer = server.udp(&query).map_or(0, |answer| answer.len());
        let ratio = answer as f64 / query.len().max(1) as f64;
        lines.push((ratio, format!("| {what} | {} | {answer} | {ratio:.1} |", query.len())));
    }
    lines.sort_by(|one, other| other.0.total_cmp(&one.0));
    println!("\nThe worst of {} queries over UDP:\n", lines.len());
    println!("| query | octets asked | octets answered | ratio |\n|---|--:|--:|--:|");
    for (_, line) in lines.iter().take(SHOWN) {
        println!("{line}");
    }
    println!("\nlargest response/request ratio: {:.1}", lines.first().map_or(0.0, |(ratio, _)| *ratio));
}

fn queries() -> Vec<(String, Vec<u8>)> {
    let mut queries = Vec::new();
    let mut add = |what: &str, query: Query| {
        queries.push((what.to_owned(), query.clone().bytes()));
        queries.push((format!("{what}, EDNS 65535"), query.clone().edns(65535).bytes()));
        queries.push((format!("{what}, EDNS 65535 DO"), query.edns(65535).dnssec_ok().bytes()));
    };
    let below = |label: &str| format!("{label}.{ORIGIN}");
    for (label, count) in FULL {
        add(&format!("TXT at a name with {count} values"), Query::new(&below(label), Rtype::TXT));
        add(&format!("ANY at a name with {count} values"), Query::new(&below(label), Rtype::ANY));
    }
    add("NODATA", Query::new(&below("m"), Rtype::A));
    add("NXDOMAIN", Query::new(&below("x"), Rtype::TXT));
    add("referral with glue", Query::new(&below("sub"), Rtype::A));
    for rtype in [Rtype::SOA, Rtype::NS, Rtype::ANY, Rtype::DNSKEY, Rtype::AXFR, Rtype::IXFR] {
        add(&format!("{rtype} at the apex"), Query::new(ORIGIN, rtype));
    }
    add("out of zone", Query::new("example.com", Rtype::TXT));
    add("the root's NS", Query::new(".", Rtype::NS));
    add("class CHAOS", Query::new("version.bind", Rtype::TXT).class(3));
    for opcode in 1..=6 {
        add(&format!("opcode {opcode}"), Query::new(ORIGIN, Rtype::SOA).opcode(opcode));
    }
    add("EDNS version 1", Query::new(&below("e"), Rtype::TXT).edns(65535).edns_version(1));
    add("unknown EDNS option", Query::new(&below("e"), Rtype::TXT).edns(65535).edns_option(65001, &[0; 8]));
    add("cookie", Query::new(&below("e"), Rtype::TXT).edns(65535).edns_option(10, &[7; 8]));
    add("cookie of a wrong length", Query::new(&below("e"), Rtype::TXT).edns(65535).edns_option(10, &[7; 9]));

    let header = |flags: u8, questions: u8| vec![1, 2, flags, 0, 0, questions, 0, 0, 0, 0, 0, 0];
    let good = Query::new(&below("e"), Rtype::TXT).bytes();
    let mut many = good.clone();
    many[4..6].copy_from_slice(&[0xff, 0xff]);
    let mut reply = good.clone();
    reply[2] |= 0x80;
    let junk = [
        ("nothing", Vec::new()),
        ("one octet", vec![0]),
        ("zeros", vec![0; 12]),
        ("ones", vec![0xff; 64]),
        ("a header, no question", header(0, 0)),
        ("a header that promises a question", header(0, 1)),
        ("65,535 questions", many),
        ("half a question", good[..good.len() / 2].to_vec()),
        ("octets after the question", [&good[..], &[0; 100]].concat()),
        ("a response", reply),
        ("a name that points to itself", [header(0, 1), vec![0xc0, 12, 0, 16, 0, 1]].concat()),
    ];
    queries.extend(junk.map(|(what, query)| (what.to_owned(), query)));
    queries
}
