//! Wildcards, RFC 4592: the example of the RFC, and wildcards beside labels that come and go.

use crate::support::{Acmezone, Rcode, Rtype};
use crate::{BOTH, judged, lines, serving, value};

/// RFC 4592 section 2.2.1.
const EXAMPLE: &str = "\
$ORIGIN example.
example.                 3600 IN  SOA   ns.example.com. hostmaster.example.com. 1 7200 900 1209600 300
example.                 3600     NS    ns.example.com.
example.                 3600     NS    ns.example.net.
*.example.               3600     TXT   \"this is a wildcard\"
*.example.               3600     MX    10 host1.example.
sub.*.example.           3600     TXT   \"this is not a wildcard\"
host1.example.           3600     A     192.0.2.1
_ssh._tcp.host1.example. 3600     SRV   0 0 22 host1.example.
_ssh._tcp.host2.example. 3600     SRV   0 0 22 host2.example.
subdel.example.          3600     NS    ns.example.com.
subdel.example.          3600     NS    ns.example.net.
";

#[track_caller]
fn assert_denied(server: &Acmezone, name: &str, rtype: Rtype, rcode: Rcode) {
    for via in BOTH {
        let reply = judged(server, via, name, rtype);
        assert_eq!((reply.header_rcode(), reply.header.aa(), reply.answer.len()), (rcode, true, 0), "{name} {rtype}");
        let denial: Vec<_> = reply.authority.iter().map(|record| record.rtype).collect();
        assert_eq!((denial, reply.additional.len()), (vec![Rtype::SOA], 0), "{name} {rtype}");
    }
}

#[track_caller]
fn assert_answered(server: &Acmezone, name: &str, rtype: Rtype, rdata: &str) {
    for via in BOTH {
        let reply = judged(server, via, name, rtype);
        assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::NOERROR, true), "{name} {rtype}");
        let answer: Vec<_> = reply.answer.iter().map(|record| (&record.name[..], &record.rdata[..])).collect();
        assert_eq!(answer, [(&format!("{name}.")[..], rdata)]);
        assert_eq!((reply.authority.len(), reply.additional.len()), (0, 0), "{name} {rtype}");
    }
}

#[test]
fn the_example_of_rfc4592_2_2_1() {
    let server = serving("", &[("example", EXAMPLE)]);
    // "The following responses would be synthesized from one of the wildcards in the zone"
    assert_answered(&server, "host3.example", Rtype::MX, "10 host1.example.");
    assert_denied(&server, "host3.example", Rtype::A, Rcode::NOERROR);
    assert_answered(&server, "foo.bar.example", Rtype::TXT, "\"this is a wildcard\"");
    // "The following responses would not be synthesized from any of the wildcards in the zone"
    assert_denied(&server, "host1.example", Rtype::MX, Rcode::NOERROR);
    assert_denied(&server, "sub.*.example", Rtype::MX, Rcode::NOERROR);
    assert_denied(&server, "_telnet._tcp.host1.example", Rtype::SRV, Rcode::NXDOMAIN);
    assert_denied(&server, "ghost.*.example", Rtype::MX, Rcode::NXDOMAIN);
    for via in BOTH {
        let referral = judged(&server, via, "host.subdel.example", Rtype::A);
        assert_eq!((referral.header_rcode(), referral.header.aa(), referral.answer.len()), (Rcode::NOERROR, false, 0));
        let cut = ["subdel.example. 3600 NS ns.example.com.", "subdel.example. 3600 NS ns.example.net."];
        assert_eq!(lines(&referral.authority), cut);
    }
}

#[test]
fn an_empty_non_terminal_exists_and_is_not_covered_rfc4592_2_2_2() {
    let server = serving("", &[("example", EXAMPLE)]);
    for empty in ["_tcp.host1.example", "_tcp.host2.example", "host2.example"] {
        for rtype in [Rtype::TXT, Rtype::MX, Rtype::A, Rtype::ANY] {
            assert_denied(&server, empty, rtype, Rcode::NOERROR);
        }
    }
    // and is the closest encloser of what lies below it
    for below in ["x.host2.example", "x._tcp.host2.example", "x.y.host1.example"] {
        assert_denied(&server, below, Rtype::TXT, Rcode::NXDOMAIN);
    }
}

#[test]
fn the_wildcard_itself_is_a_name_like_others_rfc4592_2_1_1() {
    let server = serving("", &[("example", EXAMPLE)]);
    assert_answered(&server, "*.example", Rtype::TXT, "\"this is a wildcard\"");
    assert_denied(&server, "*.example", Rtype::A, Rcode::NOERROR);
    assert_answered(&server, "sub.*.example", Rtype::TXT, "\"this is not a wildcard\"");
    // an asterisk in the question is no pattern: it is covered by the wildcard as any name is
    assert_answered(&server, "*.bar.example", Rtype::TXT, "\"this is a wildcard\"");
    assert_answered(&server, "*x.example", Rtype::TXT, "\"this is a wildcard\"");
    assert_denied(&server, "*.host1.example", Rtype::TXT, Rcode::NXDOMAIN);
}

const LIVE: &str = "\
$TTL 1h
@        SOA    ns1 hostmaster 7 4h 1h 2w 300
@        NS     ns1
ns1      A      192.0.2.1
*        TXT    \"wild\"
*        A      192.0.2.9
*.alias  CNAME  www.elsewhere.test.
*.inside CNAME  target
target   A      192.0.2.10
*.gone   CNAME  nothing.ns1
*.a.b    TXT    \"deep\"
x.a.b    A      192.0.2.11
";

#[test]
fn a_wildcard_cname_answers_for_every_type_rfc4592_4_4() {
    let server = serving("", &[("wild.test", LIVE)]);
    for rtype in [Rtype::A, Rtype::TXT, Rtype::CAA, Rtype::CNAME] {
        assert_answered(&server, "any.alias.wild.test", rtype, "www.elsewhere.test.");
    }
    for via in BOTH {
        let reply = judged(&server, via, "any.thing.inside.wild.test", Rtype::A);
        let answer =
            ["any.thing.inside.wild.test. 3600 CNAME target.wild.test.", "target.wild.test. 3600 A 192.0.2.10"];
        assert_eq!((reply.header_rcode(), lines(&reply.answer)), (Rcode::NOERROR, answer.map(str::to_owned).to_vec()));
        let nodata = judged(&server, via, "any.inside.wild.test", Rtype::TXT);
        assert_eq!((nodata.header_rcode(), nodata.answer.len(), nodata.authority.len()), (Rcode::NOERROR, 1, 1));
        let gone = judged(&server, via, "any.gone.wild.test", Rtype::TXT);
        assert_eq!((gone.header_rcode(), gone.answer.len(), gone.authority.len()), (Rcode::NXDOMAIN, 1, 1));
    }
    // the closest encloser has the wildcard of its own, or none
    assert_answered(&server, "any.a.b.wild.test", Rtype::TXT, "\"deep\"");
    assert_denied(&server, "any.b.wild.test", Rtype::TXT, Rcode::NXDOMAIN);
    assert_denied(&server, "x.a.b.wild.test", Rtype::TXT, Rcode::NOERROR);
    assert_denied(&server, "alias.wild.test", Rtype::A, Rcode::NOERROR);
}

#[test]
fn a_registered_label_is_not_covered_from_its_registration_on_rfc4592_3_3_1() {
    let server = serving("", &[("wild.test", LIVE)]);
    assert_answered(&server, "chosen.wild.test", Rtype::TXT, "\"wild\"");
    assert_answered(&server, "_acme-challenge.chosen.wild.test", Rtype::TXT, "\"wild\"");
    server.cli(&["account", "create", "--label", "chosen"]).expect_success();
    for name in ["chosen.wild.test", "_acme-challenge.chosen.wild.test"] {
        for rtype in [Rtype::TXT, Rtype::A, Rtype::MX] {
            assert_denied(&server, name, rtype, Rcode::NOERROR);
        }
    }
    assert_denied(&server, "other.chosen.wild.test", Rtype::TXT, Rcode::NXDOMAIN);
    assert_answered(&server, "chosen2.wild.test", Rtype::TXT, "\"wild\"");

    server.cli(&["txt", "add", "chosen.wild.test", &value(1)]).expect_success();
    let text = format!("\"{}\"", value(1));
    assert_answered(&server, "chosen.wild.test", Rtype::TXT, &text);
    assert_answered(&server, "_acme-challenge.chosen.wild.test", Rtype::TXT, &text);
    assert_denied(&server, "chosen.wild.test", Rtype::A, Rcode::NOERROR);
    // the last value gone, the label is there still
    server.cli(&["txt", "remove", "chosen.wild.test", &value(1)]).expect_success();
    assert_denied(&server, "chosen.wild.test", Rtype::TXT, Rcode::NOERROR);
}

#[test]
fn names_above_a_value_are_not_covered_while_it_is_there_rfc4592_2_2_2() {
    let server = serving("", &[("wild.test", LIVE)]);
    let name = "_acme-challenge.www.shop.wild.test";
    let above = ["www.shop.wild.test", "shop.wild.test"];
    for name in above {
        assert_answered(&server, name, Rtype::A, "192.0.2.9");
    }
    server.cli(&["txt", "add", name, &value(1)]).expect_success();
    assert_answered(&server, name, Rtype::TXT, &format!("\"{}\"", value(1)));
    for name in above {
        assert_denied(&server, name, Rtype::A, Rcode::NOERROR);
        assert_denied(&server, &format!("x.{name}"), Rtype::A, Rcode::NXDOMAIN);
    }
    server.cli(&["txt", "remove", name, &value(1)]).expect_success();
    for name in above {
        assert_answered(&server, name, Rtype::A, "192.0.2.9");
    }
    assert_answered(&server, name, Rtype::TXT, "\"wild\"");
}
