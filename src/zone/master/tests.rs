//! Master files good and bad, judged by the records and the places of problems.

use super::*;
use crate::zone::Zone;

const AUTH: &str = include_str!("../../../zones/auth.example.org.zone");
const EVERYTHING: &str = include_str!("../../../zones/everything.example.zone");

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Reads lines of a zone `example` with `$TTL 60`.
#[track_caller]
fn records(text: &str) -> Vec<Record> {
    let read = read(&format!("$TTL 60\n{text}"), &name("example"));
    read.unwrap_or_else(|problems| panic!("{problems:?}")).into_iter().map(|located| located.record).collect()
}

#[track_caller]
fn record(text: &str) -> Record {
    let mut records = records(text);
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

/// The RDATA of one record.
#[track_caller]
fn rdata(text: &str) -> Vec<u8> {
    record(&format!("a {text}")).rdata.into()
}

/// Line, column and message of each problem in the text as it is.
#[track_caller]
fn problems(text: &str) -> Vec<(usize, usize, String)> {
    let problems = read(text, &name("example")).expect_err("no problem was found");
    problems.into_iter().map(|problem| (problem.place.line, problem.place.column, problem.message)).collect()
}

/// The one problem; its message holds `part`.
#[track_caller]
fn problem(text: &str, line: usize, column: usize, part: &str) {
    let problems = problems(text);
    let [(l, c, message)] = problems.as_slice() else { panic!("not one problem: {problems:#?}") };
    assert_eq!((*l, *c), (line, column), "{message}");
    assert!(message.contains(part), "{message}");
}

#[test]
fn the_quick_start_zone_is_good() {
    let origin = name("auth.example.org");
    let zone = Zone::from_records(origin.clone(), read(AUTH, &origin).unwrap()).unwrap();
    assert_eq!((zone.soa().minimum(), zone.soa().serial(), zone.soa().ttl), (300, 1, 3600));
    for host in ["ns1.auth.example.org", "api.auth.example.org"] {
        let node = zone.node(&name(host).key()).unwrap();
        assert_eq!(*node.rrset(rtype::A).unwrap().rdata[0], [127, 0, 0, 1]);
        assert_eq!(node.rrset(rtype::AAAA).unwrap().rdata[0][15], 1);
        assert_eq!(node.rrsets.len(), 2);
    }
    let apex = zone.node(&origin.key()).unwrap();
    assert_eq!(*apex.rrset(rtype::NS).unwrap().rdata[0], *name("ns1.auth.example.org").as_wire());
    assert_eq!(apex.rrset(rtype::CAA).unwrap().rdata.len(), 2);
    assert_eq!(*apex.rrset(rtype::CAA).unwrap().rdata[0], *b"\x00\x05issue;");
    assert_eq!(zone.nodes().count(), 3);
}

#[test]
fn the_zone_of_everything_is_good() {
    assert!(!EVERYTHING.ends_with('\n'));
    let origin = name("everything.example");
    let zone = Zone::from_records(origin.clone(), read(EVERYTHING, &origin).unwrap()).unwrap();
    let set = |owner: &str, rtype| {
        let owner = if owner == "@" { origin.clone() } else { name(&format!("{owner}.everything.example")) };
        zone.node(&owner.key()).and_then(|node| node.rrset(rtype)).unwrap_or_else(|| panic!("{owner} {rtype}"))
    };
    assert_eq!(zone.soa().ttl, 604_800);
    assert_eq!(
        *zone.soa().rdata,
        *b"\x03ns1\x0aeverything\x07example\0\x09dns.admin\x0aeverything\x07example\0\
           \x78\xb3\x33\xb4\0\0\x15\x18\0\0\x03\x84\0\x12\x75\x00\0\0\x01\x2c"
    );
    assert_eq!(*set("@", rtype::NS).rdata[1], *b"\x03NS2\x09Elsewhere\x07Example\0", "the case of the file");
    assert_eq!(set("@", rtype::NS).ttl, 86_400);
    assert_eq!(*set("@", rtype::MX).rdata[0], *b"\0\x0a\x0aeverything\x07example\0");
    assert_eq!(*set("@", rtype::CAA).rdata[0], *b"\x80\x05issueca.example; validationmethods=dns-01");
    let txt = set("@", rtype::TXT);
    assert_eq!(txt.ttl, 300, "one TTL for the set, RFC 2181 section 5.2");
    assert_eq!(*txt.rdata[1], *b"\x07several\x07strings\x2awith a ; semicolon, a \" quote, a ( and a \\\0");
    assert_eq!(*set("a\\.b", rtype::A).rdata[0], [192, 0, 2, 2]);
    assert_eq!(*set("abc", rtype::A).rdata[0], [192, 0, 2, 3]);
    assert_eq!(*set("\\$money", rtype::TXT).rdata[0], *b"\x0aescaped ;A");
    assert_eq!(*set("alias", rtype::CNAME).rdata[0], *b"\x03www\x0aeverything\x07example\0");
    assert_eq!(*set("*", rtype::A).rdata[0], [192, 0, 2, 4]);
    assert_eq!(*set("*.mail", rtype::MX).rdata[0], [0, 0, 0]);
    assert_eq!(*set("_sip._tcp", rtype::SRV).rdata[0], *b"\0\0\0\x05\x13\xc4\x03sip\x0aeverything\x07example\0");
    assert_eq!(*set("@", rtype::HTTPS).rdata[0], *b"\0\x01\0\0\x01\0\x06\x02h2\x02h3\0\x03\0\x02\x20\xfb");
    assert_eq!(*set("_dns.ns1", rtype::SVCB).rdata[0], *b"\0\x01\x03ns1\x0aeverything\x07example\0\0\x01\0\x04\x03dot");
    assert_eq!(set("_443._tcp.www", rtype::TLSA).rdata[0].len(), 35);
    assert_eq!(set("www", rtype::SSHFP).rdata[0].len(), 34);
    assert_eq!(*set("www", rtype::HINFO).rdata[0], *b"\x05a CPU\x02OS");
    assert_eq!(
        *set("@", rtype::NAPTR).rdata[0],
        *b"\0\x64\0\x0a\x01u\x07E2U+sip\x22!^.*$!sip:info@everything.example!\0"
    );
    assert_eq!(*set("new", 65280).rdata[0], [10, 0, 0, 1]);
    assert_eq!(*set("same", rtype::A).rdata[0], [192, 0, 2, 6]);
    assert_eq!(set("sel._domainkey", rtype::TXT).rdata[0][0], 16);
    assert_eq!(*set("sub", rtype::NS).rdata[0], *b"\x02ns\x03sub\x0aeverything\x07example\0");
    assert_eq!(set("sub", rtype::DS).rdata[0].len(), 36);
    assert_eq!(*set("ns.sub", rtype::A).rdata[0], [192, 0, 2, 53]);
    assert_eq!(zone.cut_above(name("ns.sub.everything.example").as_wire()).unwrap().0, &name("sub.everything.example"));
    assert_eq!(*set("leaf.deep.down", rtype::PTR).rdata[0], *b"\x04deep\x04down\x0aeverything\x07example\0");
    assert_eq!(set("last.deep.down", rtype::TXT).ttl, 60);
    assert!(zone.node(&name("down.everything.example").key()).unwrap().rrsets.is_empty());
}

#[test]
fn an_omitted_owner_is_the_last_one_rfc1035_5_1() {
    let owners: Vec<_> = records("a A 192.0.2.1\n\tA 192.0.2.2\n\n ; comment\n  AAAA ::1\nb A 192.0.2.3\n A 192.0.2.4")
        .into_iter()
        .map(|record| record.owner.to_string())
        .collect();
    assert_eq!(owners, ["a.example", "a.example", "a.example", "b.example", "b.example"]);
    problem("$TTL 1\n  A 192.0.2.1\n  A 192.0.2.2\n", 2, 3, "no record before");
}

#[test]
fn owner_forms_rfc1035_5_1() {
    for (written, meant) in [
        ("@", "example"),
        ("a", "a.example"),
        ("a.", "a"),
        (".", "."),
        ("A.Example.", "a.example"),
        ("*", "*.example"),
        ("*.a", "*.a.example"),
        ("a\\.b", "a\\.b.example"),
        ("a\\.", "a\\..example"),
        ("a\\\\.", "a\\\\"),
        ("\\064", "\\@.example"),
        ("\\@", "\\@.example"),
        ("\\$TTL", "\\$ttl.example"),
        ("\\000", "\\000.example"),
        ("a\\;b\\(\\\"", "a\\;b\\(\\\".example"),
        ("IN", "in.example"),
        ("300", "300.example"),
    ] {
        assert_eq!(record(&format!("{written} A 192.0.2.1")).owner, name(meant), "{written}");
    }
    let long = ["x".repeat(63).as_str(), "y"].join(".").repeat(5);
    for (bad, part) in [
        ("a..b", "label must not be empty"),
        (".a", "label must not be empty"),
        (&"x".repeat(64), "63 octets"),
        (&long, "octets"),
        ("\"a\"", "without quotes"),
        ("bücher", "xn--"),
    ] {
        problem(&format!("$TTL 60\n{bad} A 192.0.2.1\n A 192.0.2.2"), 2, 1, part);
    }
}

#[test]
fn origin_directive_is_absolute_or_relative_rfc1035_5_1() {
    let text =
        "$ORIGIN sub\na A 192.0.2.1\n$origin deeper\nb NS c\n$ORIGIN example.\n@ A 192.0.2.1\n$Origin .\nr A 192.0.2.1";
    let records = records(text);
    let owners: Vec<_> = records.iter().map(|record| record.owner.to_string()).collect();
    assert_eq!(owners, ["a.sub.example", "b.deeper.sub.example", "example", "r"]);
    assert_eq!(*records[1].rdata, *b"\x01c\x06deeper\x03sub\x07example\0");
    problem("$ORIGIN\n", 1, 1, "needs a name");
    problem("$ORIGIN a..b\n", 1, 9, "empty");
    problem("$ORIGIN a b\n", 1, 11, "nothing else");
}

#[test]
fn ttl_directive_and_units_rfc2308_4() {
    let ttls = |text: &str| {
        let read = read(text, &name("example")).unwrap_or_else(|problems| panic!("{problems:?}"));
        read.into_iter().map(|located| located.record.ttl).collect::<Vec<_>>()
    };
    assert_eq!(
        ttls("$TTL 1h30m\na A 192.0.2.1\n$ttl 1W2d\n A 192.0.2.2\n 4H A 192.0.2.3\n A 192.0.2.4"),
        [5400, 777_600, 14_400, 777_600]
    );
    assert_eq!(ttls("$TTL 0\na A 192.0.2.1\n"), [0]);
    assert_eq!(ttls("a 2147483647 A 192.0.2.1\n A 192.0.2.2\n"), [2_147_483_647, 2_147_483_647]);
    let soa = "@ SOA ns1 h 1 2 3 4 5m\n";
    assert_eq!(ttls(&format!("a A 192.0.2.1\n{soa}b 7 A 192.0.2.1\n A 192.0.2.2")), [300, 300, 7, 7]);
    problem("a A 192.0.2.1\n", 1, 1, "no TTL");
    problem("$TTL\n", 1, 1, "needs a time");
    problem("$TTL 1h 2\n", 1, 9, "nothing else");
    for bad in ["h", "1x", "1h30", "-1", "1.5h", "1hh", "99999999999999999999999w", "'"] {
        problem(&format!("$TTL {bad}\na A 192.0.2.1"), 1, 6, "");
    }
}

#[test]
fn a_ttl_ends_at_2_to_the_31_minus_1_rfc2181_8() {
    problem("$TTL 2147483648\n", 1, 6, "RFC 2181");
    problem("a 2147483648 IN A 192.0.2.1\n", 1, 3, "RFC 2181");
    problem("$TTL 1\n@ SOA a b 4294967295 1 1 1 4294967295\n", 2, 28, "RFC 2181");
}

#[test]
fn ttl_and_class_come_in_any_order_rfc1035_5_1() {
    for head in ["5m IN", "IN 5m", "in 300", "300 CLASS1", "300"] {
        let record = record(&format!("a {head} a 192.0.2.1"));
        assert_eq!((record.ttl, record.rtype), (300, rtype::A), "{head}");
    }
    assert_eq!(record("a IN A 192.0.2.1").ttl, 60);
    problem("a 1 2 A 192.0.2.1", 1, 5, "`2` is no record type");
    problem("a 1 IN IN A 192.0.2.1", 1, 8, "`IN` is no record type");
    problem("a 1 IN", 1, 5, "before its type");
    problem("a", 1, 1, "before its type");
    problem("a 1 \"A\" 192.0.2.1", 1, 5, "no record type");
}

#[test]
fn only_class_in_is_served_rfc1035_5_2() {
    for class in ["CH", "hs", "CS", "NONE", "CLASS3"] {
        problem(&format!("a 1 {class} A 192.0.2.1\n"), 1, 5, "only IN");
    }
}

#[test]
fn include_and_generate_are_refused() {
    problem("$INCLUDE other.zone\n", 1, 1, "not supported");
    problem("$generate 1-9 a$ A 192.0.2.$\n", 1, 1, "not supported");
    problem("$FOO bar\n", 1, 1, "no directive");
}

#[test]
fn parentheses_span_lines_rfc1035_5_1() {
    let whole = rdata("SOA ns1 h 1 2 3 4 5");
    assert_eq!(rdata("SOA ns1 h (1 2\n3\t;)\n\n 4\n5)"), whole);
    assert_eq!(rdata("SOA ( ns1 ( h ) ( 1 2\n3 4 ) \n5\n) ; end"), whole);
    assert_eq!(rdata("( SOA\nns1\nh\n1\n2\n3\n4\n5 )"), whole);
    assert_eq!(rdata("TXT(a)\n"), b"\x01a");
    assert_eq!(rdata("TXT ( \"v=DKIM1; k=rsa; p=a)\"\n \"(b;\" )"), b"\x14v=DKIM1; k=rsa; p=a)\x03(b;");
    problem("a 1 A 192.0.2.1 )\nb 1 A 192.0.2.1\n", 1, 17, "no parenthesis is open");
}

#[test]
fn an_open_parenthesis_does_not_hide_what_follows() {
    let text = "$TTL 1\n@ SOA ns1 h ( 1 2\n  3 4 5\nb A nonsense\nc TXT ( d\nd A 192.0.2.1\n";
    let problems = problems(text);
    let places: Vec<_> = problems.iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(places, [(2, 13), (4, 5), (5, 7)], "{problems:?}");
    problem("$TTL 1\na TXT (\n", 2, 7, "not closed");
    problem("$TTL 1\na TXT ( \"a\n )\n", 2, 9, "quote is not closed");
}

#[test]
fn quoted_texts_and_escapes_rfc1035_5_1() {
    for (written, meant) in [
        (r#""""#, b"\0".as_slice()),
        (r#""" """#, b"\0\0"),
        ("a b", b"\x01a\x01b"),
        (r#""a""b""#, b"\x01a\x01b"),
        (r#""a b""#, b"\x03a b"),
        ("\"a\tb\"", b"\x03a\tb"),
        (r"\065", b"\x01A"),
        (r#""\065\000\255\127""#, b"\x04A\0\xff\x7f"),
        (r"a\;b", b"\x03a;b"),
        (r#""\"\\""#, b"\x02\"\\"),
        (r"\a\ \(", b"\x03a ("),
        (r#""\;""#, b"\x01;"),
        ("@", b"\x01@"),
        ("ä", "\x02ä".as_bytes()),
        (r#""\ä""#, "\x02ä".as_bytes()),
        (r"\\#", b"\x02\\#"),
        (r#""\#" 1"#, b"\x01#\x011"),
    ] {
        assert_eq!(rdata(&format!("TXT {written}")), meant, "{written}");
    }
    problem("a 1 TXT \"b\n", 1, 9, "not closed on its line");
    problem("a 1 TXT b\"", 1, 10, "not closed on its line");
    problem("a 1 TXT b\\25\n", 1, 10, "three digits");
    problem("a 1 TXT \"\\256\"\n", 1, 10, "three digits");
    problem("a 1 TXT b\\\n", 1, 10, "nothing to escape");
    problem("a 1 TXT b\\\r\n", 1, 10, "nothing to escape");
    problem("a 1 TXT b\u{0}c\n", 1, 10, "U+0000");
    problem("a 1 TXT\n", 1, 5, "too early");
}

#[test]
fn a_character_string_ends_at_255_octets_rfc1035_3_3() {
    assert_eq!(rdata(&format!("TXT {}", "x".repeat(255))).len(), 256);
    assert_eq!(rdata(&format!("TXT \"{}\"", "\\120".repeat(255))).len(), 256);
    problem(&format!("a 1 TXT b {}\n", "x".repeat(256)), 1, 11, "256 octets");
    problem(&format!("a 1 TXT \"{}\"\n", "ä".repeat(128)), 1, 9, "256 octets");
    problem(&format!("a 1 HINFO b \"{}\"\n", "x".repeat(256)), 1, 13, "256 octets");
    problem(&format!("a 1 TXT {}\n", "\"\" ".repeat(65_536)), 1, 9, "too long");
    assert_eq!(rdata(&format!("CAA 0 issue \"{}\"", "x".repeat(300))).len(), 307, "no character-string, RFC 8659 4.1");
}

#[test]
fn line_ends_and_marks() {
    let plain = records("a A 192.0.2.1\n TXT (b\n c) ; d\nb NS @\n");
    assert_eq!(records("a A 192.0.2.1\r\n TXT (b\r\n c) ; d\r\nb NS @\r\n"), plain);
    assert_eq!(records("a A 192.0.2.1\n TXT (b\n c) ; d\nb NS @"), plain);
    assert_eq!(records("a A 192.0.2.1\r\n TXT (b\r\n c) ; d\r\nb NS @\r"), plain);
    assert_eq!(records("a\tA\t192.0.2.1\n\tTXT\t(b\n\tc)\t;\td\nb\tNS\t@\t\n \t\n"), plain);
    assert_eq!(read("\u{feff}$TTL 1\na A 192.0.2.1\n", &name("example")).unwrap().len(), 1);
    problem("\u{feff}a B c\n", 1, 3, "`B` is no record type");
    assert!(read("", &name("example")).unwrap().is_empty());
    assert!(read(";", &name("example")).unwrap().is_empty());
}

#[test]
fn names_in_rdata_are_completed_with_the_origin_rfc1035_5_1() {
    assert_eq!(rdata("NS @"), b"\x07example\0");
    assert_eq!(rdata("NS ."), b"\0");
    assert_eq!(rdata("NS Host"), b"\x04Host\x07example\0");
    assert_eq!(rdata("NS Host.Example.COM."), b"\x04Host\x07Example\x03COM\0");
    assert_eq!(rdata("CNAME a\\.b"), b"\x03a.b\x07example\0");
    assert_eq!(rdata("CNAME \\@"), b"\x01@\x07example\0");
    assert_eq!(rdata("MX 10 @"), b"\0\x0a\x07example\0");
    assert_eq!(rdata("RP @ ."), b"\x07example\0\0");
    assert_eq!(rdata("SRV 1 2 3 @"), b"\0\x01\0\x02\0\x03\x07example\0");
    assert_eq!(rdata("HTTPS 1 @"), b"\0\x01\x07example\0");
    let in_the_root = read("$TTL 1\na NS @\nb NS c\n", &Name::root()).unwrap();
    assert_eq!((&*in_the_root[0].record.rdata, &*in_the_root[1].record.rdata), (&b"\0"[..], &b"\x01c\0"[..]));
}

#[test]
fn problems_point_at_the_token() {
    for (line, column, part) in [
        ("a 1 A nonsense", 7, "IPv4"),
        ("a 1 A 192.0.2.1 192.0.2.2", 17, "too many"),
        ("a 1 A", 5, "too early"),
        ("a 1 AAAA 192.0.2.1", 10, "IPv6"),
        ("a 1 NS b..c", 8, "empty"),
        ("a 1 NS \"b\"", 8, "without quotes"),
        ("a 1 NS b c", 10, "too many"),
        ("a 1 MX mail", 8, "`mail` is not a number"),
        ("a 1 MX 65536 mail", 8, "65535"),
        ("a 1 MX 10", 8, "too early"),
        ("a 1 SRV 0 0 port b", 13, "`port` is not a number"),
        ("a 1 SOA ns1 h 1 2 3 4x 5", 21, "not a time"),
        ("a 1 SOA ns1 h 1h 2 3 4 5", 15, "not a number"),
        ("a 1 CAA 256 issue x", 9, "255"),
        ("a 1 CAA 0 is-sue x", 9, "CAA"),
        ("a 1 TLSA 3 1 1 xyz", 10, "TLSA"),
        ("a 1 TLSA 3 1 1", 14, "too early"),
        ("a 1 DS 1 2 3 \"\"", 8, "DS"),
        ("ä 1 A b", 1, "xn--"),
        ("a 1 TXT \"äöü\" \\999", 15, "escape"),
        ("a 1 SPF x", 9, "RFC 3597"),
        ("a 1 NOSUCHTYPE x", 5, "`NOSUCHTYPE` is no record type"),
        ("a 1 ANY x", 5, "can hold"),
        ("a 1 TYPE41 \\# 0", 5, "can hold"),
        ("a 1 AXFR", 5, "can hold"),
    ] {
        if line.starts_with('ä') {
            let problems = problems(line);
            assert_eq!((problems[0].0, problems[0].1, problems.len()), (1, 1, 2));
            continue;
        }
        problem(&format!("; first\n{line}\n"), 2, column, part);
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "$TTL x\n@ SOA a..b c..d 1 2 3 4 5\n..x A 1\n$INCLUDE y\na TXT \"\nb B b\n\u{1}\nc A 192.0.2.1 )\n";
    let problems = problems(text);
    let places: Vec<_> = problems.iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(
        places,
        [(1, 6), (2, 7), (2, 12), (3, 1), (3, 7), (4, 1), (5, 7), (6, 3), (7, 1), (8, 15)],
        "{problems:#?}"
    );
}

#[test]
fn unknown_types_are_read_rfc3597_5() {
    assert_eq!(record("a TYPE123 \\# 4 0a000001").rtype, 123);
    assert_eq!(rdata("TYPE123 \\# 4 0a000001"), [10, 0, 0, 1]);
    assert_eq!(rdata("type123 \\# 4 ( 0A 0\n0 0001 )"), [10, 0, 0, 1]);
    assert_eq!(rdata("TYPE123 \\# 0"), b"");
    assert_eq!(rdata("CLASS1 TYPE1 \\# 4 c0000201"), [192, 0, 2, 1]);
    assert_eq!(rdata("A \\# 4 c0000201"), [192, 0, 2, 1]);
    assert_eq!(rdata("TYPE1 192.0.2.1"), [192, 0, 2, 1]);
    for (line, column, part) in [
        ("a 1 TYPE123 \\#", 13, "number of octets"),
        ("a 1 TYPE123 \\# x", 16, "not a number"),
        ("a 1 TYPE123 \\# 65536", 16, "65535"),
        ("a 1 TYPE123 \\# 4 0a0000", 16, "6 hexadecimal digits"),
        ("a 1 TYPE123 \\# 4 0a000001f", 16, "9 hexadecimal digits"),
        ("a 1 TYPE123 \\# 1 0g", 18, "not hexadecimal"),
        ("a 1 TYPE123 x", 13, "RFC 3597"),
        ("a 1 TYPE123", 5, "RFC 3597"),
        ("a 1 TYPE65536 \\# 0", 5, "no record type"),
    ] {
        problem(line, 1, column, part);
    }
}

#[test]
fn generic_rdata_of_known_types_is_checked_rfc3597_5() {
    for line in [
        "SOA \\# 3 000000",
        "SOA \\# 0",
        "NS \\# 0",
        "NS \\# 2 c00c",
        "CNAME \\# 3 016100ff",
        "PTR \\# 2 0161",
        "MX \\# 2 000a",
        "SRV \\# 6 000000000000",
        "A \\# 3 000000",
        "AAAA \\# 4 00000000",
        "TXT \\# 0",
        "TXT \\# 2 0261",
        "HTTPS \\# 2 0001",
    ] {
        assert_eq!(problems(&format!("a 1 {line}\n")).len(), 1, "{line}");
    }
    assert_eq!(rdata("NS \\# 3 014100"), b"\x01A\0");
}

#[test]
fn huge_parameters_do_not_overflow_the_reader() {
    let addresses = vec!["::"; 5_000].join(",");
    problem(&format!("a 1 HTTPS 1 . ipv6hint={addresses}\n"), 1, 5, "not supported");
    let addresses = vec!["::"; 2_600].join(",");
    assert_eq!(rdata(&format!("HTTPS 1 . ipv6hint={addresses}")).len(), 7 + 16 * 2_600);
}

/// xorshift64: the same files in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

#[test]
fn mutated_files_never_panic() {
    const MORE: &str = "a 1 RRSIG A 13 2 60 20300101000000 20290101000000 1 example. AAAA\n\
        a NSEC b A RRSIG TYPE1234\na NSEC3 1 1 12 aabb 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX\n\
        a NSEC3PARAM 1 0 12 -\na DNSKEY 256 3 5 AQPSKmynfzW4\na CDS 0 0 0 00\na IPSECKEY 10 2 2 2001:db8::1 AQNR\n\
        a OPENPGPKEY mQCN\na ZONEMD 1 1 1 aabbccddeeff00112233445566778899\na MINFO a b\n\
        a SVCB 1 . mandatory=alpn,ipv4hint alpn=h2,h3 no-default-alpn port=1 ipv4hint=1.2.3.4 ech=AAAA ipv6hint=::1 \
        dohpath=/q{?dns} key667=\"hello\\210qoo\"\na CAA 0 issue \";\"\n";
    const PIECES: &[&str] = &[
        "(",
        ")",
        "\"",
        "\\",
        ";",
        "\n",
        "\r",
        " ",
        "\t",
        "@",
        ".",
        "$",
        "\\#",
        "\\0",
        "\\1234",
        "=",
        ",",
        "ä",
        "\0",
        "\u{feff}",
        "0",
        "99999999999",
        "1h",
        "-",
        "TXT",
        "SOA",
        "TYPE6",
        "\\# 3 000000",
        "$TTL ",
        "$ORIGIN ",
        "IN",
        "HTTPS 1 . ",
        "\"\"",
        "..",
        "NAPTR",
        "\u{7f}",
    ];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut good = 0;
    for seed in [AUTH, EVERYTHING, MORE] {
        let origin = name("everything.example");
        for round in 0..3_000 {
            // a window of the file, so that each run is short and each line gets its turn
            let chars: Vec<char> = seed.chars().collect();
            let from = dice.below(chars.len());
            let mut chars: Vec<char> = chars[from..].iter().copied().take(100 + dice.below(500)).collect();
            for _ in 0..=dice.below(1 + round % 8) {
                let at = dice.below(chars.len());
                match dice.below(4) {
                    0 => drop(chars.splice(at..at, PIECES[dice.below(PIECES.len())].chars())),
                    1 => drop(chars.drain(at..(at + 1 + dice.below(8)).min(chars.len()))),
                    2 => chars.truncate(at + 1),
                    _ => {
                        if let Some(char) = chars.get_mut(at) {
                            *char = char::from(u8::try_from(dice.below(128)).unwrap());
                        }
                    }
                }
            }
            let text: String = chars.iter().collect();
            match read(&text, &origin) {
                Ok(records) => {
                    good += 1;
                    for Located { record, .. } in &records {
                        assert!(crate::zone::record::rdata_is_sound(record.rtype, &record.rdata));
                    }
                    drop(Zone::from_records(origin.clone(), records));
                }
                Err(problems) => {
                    assert!(!problems.is_empty());
                    let lines = text.split('\n').count();
                    assert!(problems.iter().all(|problem| problem.place.line <= lines), "{text}\n{problems:?}");
                }
            }
        }
    }
    assert!(good > 100, "{good}: the mutations are too wild to test anything");
}

#[test]
fn open_parentheses_do_not_cost_quadratic_time() {
    let text = "a ( b\n".repeat(50_000);
    assert_eq!(problems(&text).len(), 50_000);
}
