//! Finding what a zone says of a name, and the sections it is said in: RFC 1034, RFC 1035, RFC 2181.

use crate::support::{Acmezone, Rcode, Reply, Rtype};
use crate::{BOTH, Via, judged, lines, serving, value};

const ZONE: &str = "\
$TTL 1h
@         SOA   ns1 hostmaster 7 4h 1h 2w 300
@         NS    ns1
@         NS    ns.elsewhere.test.
ns1       A     192.0.2.1
ns1       AAAA  2001:db8::1
www       A     192.0.2.10
www       A     192.0.2.11
www       TXT   \"one\"
one       CNAME two
two       60 CNAME three
three     CNAME www
out       CNAME www.elsewhere.test.
gone      CNAME nothing
self      CNAME self
loop1     CNAME loop2
loop2     CNAME loop3
loop3     CNAME loop1
hop0      CNAME hop1
hop1      CNAME hop2
hop2      CNAME hop3
hop3      CNAME hop4
hop4      CNAME hop5
hop5      CNAME hop6
hop6      CNAME hop7
hop7      CNAME hop8
hop8      CNAME hop9
hop9      CNAME www
below     CNAME host.sub
atcut     CNAME sub
across    CNAME www.other.test.
label     CNAME chosen
leaf.b.a  TXT   \"deep\"
ttls      60 TXT \"short\"
ttls      90 TXT \"long\"
ttls      A     192.0.2.20
sub       NS    ns.sub
sub       NS    ns.sister
sub       600 NS ns.elsewhere.test.
sub       NS    ns1
sub       DS    12345 13 2 49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC1234
ns.sub    A     192.0.2.53
ns.sub    AAAA  2001:db8::53
hidden.sub TXT  \"not ours to say\"
sister    NS    ns.sister
ns.sister A     192.0.2.54
bare      NS    ns.elsewhere.test.
";
const OTHER: &str = "\
$TTL 1h
@    SOA   ns1.letter.test. hostmaster 1 4h 1h 2w 300
@    NS    ns1.letter.test.
www  AAAA  2001:db8::80
";

fn server() -> Acmezone {
    let server = serving("", &[("letter.test", ZONE), ("other.test", OTHER)]);
    server.cli(&["account", "create", "--label", "chosen"]).expect_success();
    server
}

fn name(part: &str) -> String {
    format!("{part}.letter.test")
}

#[track_caller]
fn assert_sections(reply: &Reply, answer: &[&str], authority: &[&str], additional: &[&str]) {
    let question = &reply.question;
    assert_eq!(lines(&reply.answer), answer, "answer to {question:?}");
    assert_eq!(lines(&reply.authority), authority, "authority to {question:?}");
    assert_eq!(lines(&reply.additional), additional, "additional to {question:?}");
}

const DENIAL: &str = "letter.test. 1 SOA ns1.letter.test. hostmaster.letter.test. ";

/// NOERROR or NXDOMAIN with the SOA record of the zone and, before it, these records.
#[track_caller]
fn assert_denied(reply: &Reply, rcode: Rcode, answer: &[&str]) {
    assert_eq!((reply.header_rcode(), reply.header.aa()), (rcode, true), "{:?}", reply.question);
    assert_eq!(lines(&reply.answer), answer);
    let [soa] = &lines(&reply.authority)[..] else { panic!("{:?}", reply.authority) };
    assert!(soa.starts_with(DENIAL), "{soa}");
    assert_eq!(reply.additional, []);
}

#[test]
fn an_answer_has_the_rrset_and_aa_and_nothing_else_rfc1034_4_3_2_step_3a() {
    let server = server();
    for via in BOTH {
        for (part, rtype, answer) in [
            ("www", Rtype::A, &["www.letter.test. 3600 A 192.0.2.10", "www.letter.test. 3600 A 192.0.2.11"][..]),
            ("www", Rtype::TXT, &["www.letter.test. 3600 TXT \"one\""]),
            ("ns1", Rtype::AAAA, &["ns1.letter.test. 3600 AAAA 2001:db8::1"]),
            ("one", Rtype::CNAME, &["one.letter.test. 3600 CNAME two.letter.test."]),
        ] {
            let reply = judged(&server, via, &name(part), rtype);
            assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NOERROR, true));
            assert_sections(&reply, answer, &[], &[]);
        }
        let apex = judged(&server, via, "letter.test", Rtype::NS);
        let nameservers = ["letter.test. 3600 NS ns.elsewhere.test.", "letter.test. 3600 NS ns1.letter.test."];
        assert!(apex.header.aa());
        assert_sections(&apex, &nameservers, &[], &[]);
    }
}

#[test]
fn the_closest_encloser_decides_between_nodata_and_nxdomain_rfc1034_4_3_2_step_3c() {
    let server = server();
    for via in BOTH {
        for part in ["www", "ns1", "a", "b.a", "leaf.b.a"] {
            assert_denied(&judged(&server, via, &name(part), Rtype::CAA), Rcode::NOERROR, &[]);
        }
        for part in ["nothing", "x.www", "x.leaf.b.a", "x.b.a", "x.a", "x.y.z", "wwww", "ww", "b", "leaf", "*", "*.a"] {
            assert_denied(&judged(&server, via, &name(part), Rtype::A), Rcode::NXDOMAIN, &[]);
        }
    }
}

#[test]
fn a_cname_is_followed_to_the_end_of_the_chain_rfc1034_3_6_2() {
    let server = server();
    let chain = [
        "one.letter.test. 3600 CNAME two.letter.test.",
        "three.letter.test. 3600 CNAME www.letter.test.",
        "two.letter.test. 60 CNAME three.letter.test.",
    ];
    for via in BOTH {
        let reply = judged(&server, via, &name("one"), Rtype::A);
        assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NOERROR, true));
        let [one, three, two] = chain;
        let hosts = ["www.letter.test. 3600 A 192.0.2.10", "www.letter.test. 3600 A 192.0.2.11"];
        assert_sections(&reply, &[one, three, two, hosts[0], hosts[1]], &[], &[]);
        // in the order in which they are followed: some stub resolvers read no other
        let owners: Vec<_> = reply.answer.iter().map(|record| record.name.split('.').next().unwrap()).collect();
        assert_eq!(owners, ["one", "two", "three", "www", "www"]);
        // RFC 2308 sections 2.1 and 2.2: the end of the chain is denied, and its RCODE is the answer's
        assert_denied(&judged(&server, via, &name("one"), Rtype::MX), Rcode::NOERROR, &chain);
        let gone = ["gone.letter.test. 3600 CNAME nothing.letter.test."];
        assert_denied(&judged(&server, via, &name("gone"), Rtype::A), Rcode::NXDOMAIN, &gone);
        // not for the CNAME itself, nor for all types
        for rtype in [Rtype::CNAME, Rtype::ANY] {
            let reply = judged(&server, via, &name("gone"), rtype);
            assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NOERROR, true));
            assert_sections(&reply, &gone, &[], &[]);
        }
    }
}

#[test]
fn a_cname_that_leaves_the_zone_is_the_whole_answer_rfc1034_3_6_2() {
    let server = server();
    for via in BOTH {
        for rtype in [Rtype::A, Rtype::TXT, Rtype::CAA] {
            let reply = judged(&server, via, &name("out"), rtype);
            assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NOERROR, true), "never REFUSED");
            assert_sections(&reply, &["out.letter.test. 3600 CNAME www.elsewhere.test."], &[], &[]);
        }
        // into another zone of this server it is followed
        let across = "across.letter.test. 3600 CNAME www.other.test.";
        let reply = judged(&server, via, &name("across"), Rtype::AAAA);
        assert_sections(&reply, &[across, "www.other.test. 3600 AAAA 2001:db8::80"], &[], &[]);
        let denied = judged(&server, via, &name("across"), Rtype::A);
        assert_eq!(lines(&denied.answer), [across]);
        assert_eq!(denied.authority[0].name, "other.test.", "the zone of the last name, RFC 2308 section 2.2");
    }
}

#[test]
fn a_cname_leads_to_the_values_of_a_label() {
    let server = server();
    let cname = "label.letter.test. 3600 CNAME chosen.letter.test.";
    for via in BOTH {
        assert_denied(&judged(&server, via, &name("label"), Rtype::TXT), Rcode::NOERROR, &[cname]);
    }
    server.cli(&["txt", "add", &name("chosen"), &value(1)]).expect_success();
    let answer = format!("chosen.letter.test. 1 TXT \"{}\"", value(1));
    for via in BOTH {
        assert_sections(&judged(&server, via, &name("label"), Rtype::TXT), &[&answer, cname], &[], &[]);
    }
}

#[test]
fn a_circle_of_cnames_ends_and_a_long_chain_is_cut_rfc1034_5_2_2() {
    let server = server();
    for via in BOTH {
        for (part, length) in [("self", 1), ("loop1", 3), ("loop2", 3), ("hop0", 9), ("hop1", 9), ("hop2", 10)] {
            let reply = judged(&server, via, &name(part), Rtype::A);
            assert_eq!((reply.header_rcode(), reply.header.aa(), reply.header.tc()), (Rcode::NOERROR, true, false));
            assert_eq!((reply.answer.len(), reply.authority.len()), (length, 0), "{part}: {:?}", reply.answer);
        }
    }
}

const CUT: [&str; 4] = [
    "sub.letter.test. 600 NS ns.elsewhere.test.",
    "sub.letter.test. 600 NS ns.sister.letter.test.",
    "sub.letter.test. 600 NS ns.sub.letter.test.",
    "sub.letter.test. 600 NS ns1.letter.test.",
];
const ADDRESSES: [&str; 5] = [
    "ns.sister.letter.test. 3600 A 192.0.2.54",
    "ns.sub.letter.test. 3600 A 192.0.2.53",
    "ns.sub.letter.test. 3600 AAAA 2001:db8::53",
    "ns1.letter.test. 3600 A 192.0.2.1",
    "ns1.letter.test. 3600 AAAA 2001:db8::1",
];

#[test]
fn at_and_below_a_cut_there_is_a_referral_without_aa_and_with_glue_rfc1034_4_3_2_step_3b_rfc9471() {
    let server = server();
    for via in BOTH {
        for part in ["sub", "host.sub", "a.b.sub", "ns.sub", "hidden.sub"] {
            for rtype in [Rtype::A, Rtype::TXT, Rtype::NS, Rtype::SOA, Rtype::CAA, Rtype::ANY] {
                let reply = crate::ask(&server, via, &crate::support::Query::new(&name(part), rtype).edns(1232));
                assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NOERROR, false), "{part} {rtype}");
                assert_sections(&reply, &[], &CUT, &ADDRESSES);
            }
            let reply = judged(&server, via, &name(part), Rtype::A);
            assert!(!reply.header.aa());
            assert_sections(&reply, &[], &CUT, &ADDRESSES);
        }
        // no address of the name server is known here
        let reply = judged(&server, via, &name("x.bare"), Rtype::A);
        assert!(!reply.header.aa());
        assert_sections(&reply, &[], &["bare.letter.test. 3600 NS ns.elsewhere.test."], &[]);
    }
}

#[test]
fn a_cname_to_below_a_cut_comes_with_the_referral_rfc1034_4_3_2_step_3b() {
    let server = server();
    for via in BOTH {
        for (part, cname) in [
            ("below", "below.letter.test. 3600 CNAME host.sub.letter.test."),
            ("atcut", "atcut.letter.test. 3600 CNAME sub.letter.test."),
        ] {
            let reply = judged(&server, via, &name(part), Rtype::A);
            assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NOERROR, true), "AA is for the first name");
            assert_sections(&reply, &[cname], &CUT, &ADDRESSES);
        }
    }
}

#[test]
fn the_ds_rrset_of_a_cut_is_the_parents_rfc4035_3_1_4_1() {
    let server = server();
    for via in BOTH {
        let reply = judged(&server, via, &name("sub"), Rtype::DS);
        assert!(reply.header.aa() && reply.answer.len() == 1 && reply.answer[0].rtype == Rtype::DS);
        assert_eq!((reply.counts[2], reply.additional.len()), (0, 0));
        assert_denied(&judged(&server, via, &name("bare"), Rtype::DS), Rcode::NOERROR, &[]);
        assert_denied(&judged(&server, via, "letter.test", Rtype::DS), Rcode::NOERROR, &[]);
        assert_denied(&judged(&server, via, &name("www"), Rtype::DS), Rcode::NOERROR, &[]);
        // below the cut it is not ours
        let below = judged(&server, via, &name("host.sub"), Rtype::DS);
        assert!(!below.header.aa());
        assert_sections(&below, &[], &CUT, &ADDRESSES);
    }
}

#[test]
fn all_records_of_an_rrset_have_one_ttl_the_lowest_rfc2181_5_2() {
    let server = server();
    for via in BOTH {
        let reply = judged(&server, via, &name("ttls"), Rtype::TXT);
        assert_sections(&reply, &["ttls.letter.test. 60 TXT \"long\"", "ttls.letter.test. 60 TXT \"short\""], &[], &[]);
        // another type of the same name has its own
        let reply = judged(&server, via, &name("ttls"), Rtype::A);
        assert_sections(&reply, &["ttls.letter.test. 3600 A 192.0.2.20"], &[], &[]);
        let reply = judged(&server, via, &name("x.sub"), Rtype::A);
        assert!(reply.authority.iter().all(|record| record.ttl == 600));
    }
}

#[test]
fn an_rrset_is_whole_or_the_answer_is_cut_rfc2181_9() {
    let mut text = String::from("$TTL 1h\n@ SOA ns1 h 1 4h 1h 2w 300\n@ NS ns1\nns1 A 192.0.2.1\nbig NS ns.big\n");
    for number in 0..60 {
        text += &format!("big NS a-name-server-with-a-long-name-{number}.elsewhere.test.\n");
        text += &format!("ns.big AAAA 2001:db8::{number}\nns1 AAAA 2001:db8:1::{number}\nalias{number} CNAME ns1\n");
        text += &format!("few NS ns{number}.few\nns{number}.few A 192.0.2.{number}\n");
        if number < 2 {
            text += &format!("half NS ns{number}.half\nhalf NS there{number}\nns{number}.half A 192.0.2.{number}\n");
        }
        if number < 50 {
            text += &format!("there0 AAAA 2001:db8:2::{number}\n");
        }
    }
    let server = serving("", &[("big.test", &text)]);
    for (part, rtype, counts) in [
        ("ns1", Rtype::AAAA, [60, 0, 0]),
        ("alias3", Rtype::AAAA, [61, 0, 0]),
        // 61 NS records, and glue that must not be missing (RFC 9471)
        ("x.big", Rtype::A, [0, 61, 60]),
        ("x.few", Rtype::A, [0, 60, 60]),
    ] {
        let name = format!("{part}.big.test");
        let cut = judged(&server, Via::Udp, &name, rtype);
        assert!(cut.header.tc(), "{name}");
        assert_eq!((cut.answer.len(), cut.authority.len(), cut.additional.len()), (0, 0, 0), "{name}");
        let whole = judged(&server, Via::Tcp, &name, rtype);
        assert!(!whole.header.tc());
        assert_eq!([whole.answer.len(), whole.authority.len(), whole.additional.len()], counts, "{name}");
    }
    // What is no glue is left out without TC, but never in part.
    let half = judged(&server, Via::Udp, "x.half.big.test", Rtype::A);
    assert_eq!((half.header.tc(), half.authority.len(), half.additional.len()), (false, 4, 2));
    let whole = judged(&server, Via::Tcp, "x.half.big.test", Rtype::A);
    assert_eq!((whole.authority.len(), whole.additional.len()), (4, 2 + 50));
}

#[test]
fn any_is_answered_with_as_little_as_can_be_rfc8482_4() {
    let server = server();
    server.cli(&["txt", "add", &name("chosen"), &value(1), &value(2)]).expect_success();
    for via in BOTH {
        for part in ["www", "ns1", "ttls", "chosen", "_acme-challenge.chosen"] {
            let reply = judged(&server, via, &name(part), Rtype::ANY);
            assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NOERROR, true));
            assert_sections(&reply, &[&format!("{}. 1 HINFO \"RFC8482\" \"\"", name(part))], &[], &[]);
        }
        assert_denied(&judged(&server, via, &name("b.a"), Rtype::ANY), Rcode::NOERROR, &[]);
        assert_denied(&judged(&server, via, &name("nothing"), Rtype::ANY), Rcode::NXDOMAIN, &[]);
        let elsewhere = judged(&server, via, "elsewhere.test", Rtype::ANY);
        assert_eq!((elsewhere.header_rcode(), elsewhere.header.aa()), (Rcode::REFUSED, false));
        assert_sections(&elsewhere, &[], &[], &[]);
    }
}
