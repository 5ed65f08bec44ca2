//! Shadow zones: the challenge name of a domain elsewhere, served as a zone of its own with the values of a label, for
//! clients that do not follow the CNAME.

use crate::support::update::{ANY, record};
use crate::support::{Acmezone, Query, Rcode, Reply, Rtype, Stamp, TsigKey, Update, nsupdate};
use crate::{BOTH, Via, ZONE, ask, exchange, shipped, zone_table};

const SHADOW: &str = "_acme-challenge.customer.test";

/// A server with the account label `mine`, a key that may change it, another key, and the alias.
fn served() -> (Acmezone, TsigKey, TsigKey) {
    let [key, stranger] = ["mine-key", "other-key"].map(TsigKey::new);
    let tables = [
        zone_table(ZONE, &shipped("auth.example.org.zone")),
        key.table("labels = [\"mine\"]"),
        stranger.table("labels = [\"other\"]"),
    ];
    let server = Acmezone::start(&tables.concat());
    for label in ["mine", "other"] {
        server.cli(&["account", "create", "--label", label]).expect_success();
    }
    server.cli(&["alias", "add", "customer.test", "mine"]).expect_success();
    (server, key, stranger)
}

fn send(server: &Acmezone, key: &TsigKey, update: &Update) -> Rcode {
    let message = key.sign(&update.bytes(), &Stamp::now());
    let octets = exchange(server, Via::Tcp, &message.octets);
    key.verify(&octets, &message);
    Reply::parse(&octets).header_rcode()
}

fn values(server: &Acmezone, name: &str) -> Vec<String> {
    let reply = ask(server, Via::Udp, &Query::new(name, Rtype::TXT));
    assert!(reply.header.aa() && reply.header_rcode() == Rcode::NOERROR, "{name}: {reply:?}");
    reply.txt_values()
}

#[test]
fn an_alias_is_a_zone_with_soa_and_ns_rfc1034_4_2_1() {
    let (server, ..) = served();
    for via in BOTH {
        for rtype in [Rtype::SOA, Rtype::NS, Rtype::CAA] {
            let reply = ask(&server, via, &Query::new("_Acme-Challenge.Customer.TEST", rtype));
            assert!(reply.header.aa() && !reply.answer.is_empty(), "{rtype}");
        }
        let empty = ask(&server, via, &Query::new(SHADOW, Rtype::TXT));
        assert_eq!((empty.header_rcode(), empty.answer.len(), empty.authority.len()), (Rcode::NOERROR, 0, 1));
        let below = ask(&server, via, &Query::new(&format!("x.{SHADOW}"), Rtype::TXT));
        assert_eq!(below.header_rcode(), Rcode::NXDOMAIN);
        let beside = ask(&server, via, &Query::new("customer.test", Rtype::SOA));
        assert_eq!(beside.header_rcode(), Rcode::REFUSED);
    }
}

#[test]
fn both_names_have_the_values_of_the_label_rfc8555_8_4() {
    let (server, key, _) = served();
    let add = |zone: &str, name: &str, value: &str| send(&server, &key, &Update::new(zone).add(name, value));
    assert_eq!(add(SHADOW, SHADOW, "one"), Rcode::NOERROR);
    assert_eq!(add(ZONE, &format!("mine.{ZONE}"), "two"), Rcode::NOERROR);
    for name in [SHADOW.to_owned(), format!("mine.{ZONE}"), format!("_acme-challenge.mine.{ZONE}")] {
        assert_eq!(values(&server, &name), ["one", "two"], "{name}");
    }
    let delete = Update::new(SHADOW).remove(SHADOW, "one");
    assert_eq!(send(&server, &key, &delete), Rcode::NOERROR);
    assert_eq!(values(&server, &format!("mine.{ZONE}")), ["two"]);
    let delete_all = Update::new(SHADOW).update(record(SHADOW, 255, ANY, 0, b""));
    assert_eq!(send(&server, &key, &delete_all), Rcode::NOERROR);
    assert_eq!(values(&server, &format!("mine.{ZONE}")), [""; 0]);
}

#[test]
fn an_alias_gives_nobody_leave_rfc2136_3_3() {
    let (server, key, stranger) = served();
    let add = |zone: &str, name: &str| Update::new(zone).add(name, "x");
    assert_eq!(send(&server, &stranger, &add(SHADOW, SHADOW)), Rcode::REFUSED);
    assert_eq!(send(&server, &key, &add(ZONE, SHADOW)), Rcode::NOTZONE);
    assert_eq!(send(&server, &key, &add(SHADOW, &format!("x.{SHADOW}"))), Rcode::REFUSED);
    assert_eq!(send(&server, &key, &add(SHADOW, &format!("_acme-challenge.{SHADOW}"))), Rcode::REFUSED);
    assert_eq!(send(&server, &key, &add("customer.test", SHADOW)), Rcode::NOTAUTH);
    let soa = Update::new(SHADOW).update(record(SHADOW, 6, ANY, 0, b""));
    assert_eq!(send(&server, &key, &soa), Rcode::REFUSED);
    assert_eq!(values(&server, SHADOW), [""; 0]);
}

#[test]
fn an_alias_outlives_a_restart_and_ends_with_its_removal() {
    let (mut server, key, _) = served();
    let add = Update::new(SHADOW).add(SHADOW, "kept");
    assert_eq!(send(&server, &key, &add), Rcode::NOERROR);
    server.restart();
    assert_eq!(values(&server, SHADOW), ["kept"]);
    server.cli(&["alias", "remove", "_acme-challenge.customer.test"]).expect_success();
    assert_eq!(ask(&server, Via::Udp, &Query::new(SHADOW, Rtype::SOA)).header_rcode(), Rcode::REFUSED);
    assert_eq!(send(&server, &key, &add), Rcode::NOTAUTH);
    assert_eq!(values(&server, &format!("mine.{ZONE}")), ["kept"], "the label keeps its values");
    server.restart();
    assert_eq!(ask(&server, Via::Udp, &Query::new(SHADOW, Rtype::SOA)).header_rcode(), Rcode::REFUSED);
}

/// Else the holder of the label could prove control of a host of that zone.
#[test]
fn an_alias_gives_way_to_a_zone_of_the_configuration_around_it() {
    let (mut server, key, _) = served();
    let before = std::fs::read_to_string(server.config()).unwrap();
    let around = "[[zone]]\norigin = \"customer.test\"\nnameservers = [\"ns1.auth.example.org\"]\n";
    std::fs::write(server.config(), format!("{before}\n{around}")).unwrap();
    server.restart();
    assert_eq!(ask(&server, Via::Udp, &Query::new(SHADOW, Rtype::SOA)).answer.len(), 0);
    for zone in [SHADOW, "customer.test"] {
        assert_ne!(send(&server, &key, &Update::new(zone).add(SHADOW, "stolen")), Rcode::NOERROR);
    }
    std::fs::write(server.config(), before).unwrap();
    server.restart();
    assert_eq!(ask(&server, Via::Udp, &Query::new(SHADOW, Rtype::SOA)).answer.len(), 1, "nothing was lost");
}

#[test]
fn an_alias_ends_with_its_account() {
    let (server, ..) = served();
    server.cli(&["account", "delete", "--yes", "mine"]).expect_success();
    assert_eq!(ask(&server, Via::Udp, &Query::new(SHADOW, Rtype::SOA)).header_rcode(), Rcode::REFUSED);
    let listed = server.cli(&["alias", "list"]).expect_success();
    assert!(listed.output().contains("no aliases"), "{}", listed.output());
}

#[test]
fn aliases_are_refused_with_the_reason() {
    let (server, ..) = served();
    for (domain, label, reason) in [
        ("customer.test", "other", "alias of the label `mine`"),
        ("new.test", "nobody", "no account has the label"),
        (ZONE, "mine", "which this server has anyway"),
        ("deep.auth.example.org", "mine", "which this server has anyway"),
    ] {
        let refused = server.cli(&["alias", "add", domain, label]).expect_failure();
        assert!(refused.output().contains(reason), "{domain}: {}", refused.output());
    }
    server.cli(&["alias", "remove", "new.test"]).expect_failure();
    server.cli(&["alias", "add", "*.customer.test", &format!("mine.{ZONE}")]).expect_success();
    let listed = server.cli(&["alias", "list", "--json"]).expect_success();
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["zone"], SHADOW);
}

#[test]
fn nsupdate_finds_the_shadow_zone_by_itself_rfc2136_7_16() {
    let (server, key, _) = served();
    // no `zone` statement: it asks for the SOA with a signed query
    let script = format!("update add {SHADOW} 60 TXT \"by-nsupdate\"");
    nsupdate("nsupdate", server.dns, &["-y", &key.argument()], &[&script]).expect_success();
    assert_eq!(values(&server, SHADOW), ["by-nsupdate"]);
}
