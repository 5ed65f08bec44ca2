//! UPDATE (RFC 2136) by nsupdate and knsupdate, unmodified, and by messages that these would not send.

use crate::support::update::{ANY, IN, NONE, record, txt};
use crate::support::{Acmezone, Query, Rcode, Reply, Rtype, Stamp, TsigKey, Update, nsupdate};
use crate::{BOTH, Via, ZONE, ask, exchange, shipped, zone_table};

const CHALLENGE_ZONE: &str = "_acme-challenge.example.net";
const PROGRAMS: [&str; 2] = ["nsupdate", "knsupdate"];

/// A server whose key `limited` may change the label `mine`, `whole` everything, and `literal` everything to the letter.
struct Served {
    server: Acmezone,
    limited: TsigKey,
    whole: TsigKey,
    literal: TsigKey,
    mine: String,
    other: String,
}

fn served() -> Served {
    let [limited, whole, literal] = ["limited", "whole", "literal"].map(TsigKey::new);
    let all = format!("below = [\"{ZONE}\", \"{CHALLENGE_ZONE}\"]");
    let tables = [
        zone_table(ZONE, &shipped("auth.example.org.zone")),
        format!("[[zone]]\norigin = \"{CHALLENGE_ZONE}\"\nnameservers = [\"ns1.example.org\"]\n"),
        limited.table("labels = [\"mine\"]"),
        whole.table(&all),
        literal.table(&format!("{all}\nreplace = \"rfc\"")),
    ];
    let server = Acmezone::start(&tables.concat());
    for label in ["mine", "other"] {
        server.cli(&["account", "create", "--label", label]).expect_success();
    }
    let [mine, other] = ["mine", "other"].map(|label| format!("{label}.{ZONE}"));
    Served { server, limited, whole, literal, mine, other }
}

impl Served {
    /// The RCODE of a signed message, whose reply is verified.
    #[track_caller]
    fn send(&self, via: Via, key: &TsigKey, update: &Update) -> Rcode {
        let message = key.sign(&update.bytes(), &Stamp::now());
        let octets = exchange(&self.server, via, &message.octets);
        let signature = key.verify(&octets, &message);
        assert_eq!((signature.error, signature.mac.len()), (0, 32), "every reply is signed");
        let reply = Reply::parse(&octets);
        assert_eq!(reply.counts[1..], [0, 0, 1], "nothing but the zone comes back");
        reply.header_rcode()
    }

    #[track_caller]
    fn values(&self, name: &str) -> Vec<String> {
        let reply = ask(&self.server, Via::Tcp, &Query::new(name, Rtype::TXT));
        let text = |record: &crate::support::Record| String::from_utf8(record.txt.clone().unwrap()).unwrap();
        let mut values: Vec<_> = reply.answer.iter().map(text).collect();
        values.sort();
        values
    }

    #[track_caller]
    fn assert_update(&self, key: &TsigKey, update: &Update, rcode: Rcode, values: &[&str]) {
        assert_eq!(self.send(Via::Udp, key, update), rcode, "{update:?}");
        assert_eq!(self.values(&self.mine), values, "{update:?}");
    }

    fn nsupdate(&self, program: &str, key: &TsigKey, lines: &[&str]) -> crate::support::Finished {
        nsupdate(program, self.server.dns, &["-y", &key.argument()], lines)
    }
}

#[test]
fn nsupdate_and_knsupdate_change_values_with_every_algorithm_over_udp_and_tcp() {
    let keys = ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"];
    let keys = keys.map(|algorithm| TsigKey::new(&format!("{algorithm}-Key")).algorithm(algorithm));
    let tables: String = keys.iter().map(|key| key.table("labels = [\"mine\"]")).collect();
    let server = Acmezone::start(&(zone_table(ZONE, &shipped("auth.example.org.zone")) + &tables));
    server.cli(&["account", "create", "--label", "mine"]).expect_success();
    let name = format!("mine.{ZONE}");
    for key in &keys {
        for program in PROGRAMS {
            for over_tcp in [false, true] {
                // nsupdate looks for the zone by a signed query; knsupdate has to be told.
                let zone = if program == "nsupdate" { String::new() } else { format!("zone {ZONE}.") };
                let argument = key.argument();
                let arguments = [&["-y", &argument][..], if over_tcp { &["-v"] } else { &[] }].concat();
                let send = |lines: &[&str]| {
                    let lines = [&[&zone[..]], lines].concat();
                    nsupdate(program, server.dns, &arguments, &lines).expect_success();
                    let reply = ask(&server, Via::Udp, &Query::new(&name, Rtype::TXT));
                    assert_eq!(reply.header_rcode(), Rcode::NOERROR);
                    reply.answer.len()
                };
                let line = |command: &str, rest: &str| format!("{command} {name}. {rest}");
                assert_eq!(send(&[&line("add", "60 TXT \"one\""), &line("add", "60 TXT \"two\"")]), 2);
                assert_eq!(send(&[&line("add", "60 TXT \"one\"")]), 2, "a duplicate is ignored");
                assert_eq!(send(&[&line("del", "TXT \"one\"")]), 1);
                assert_eq!(send(&[&line("del", "TXT \"never there\"")]), 1);
                assert_eq!(send(&[&line("add", "60 TXT \"three\"")]), 2);
                assert_eq!(send(&[&line("del", "TXT")]), 0);
                assert_eq!(send(&[&line("add", "60 TXT \"four\"")]), 1);
                assert_eq!(send(&[&line("del", "")]), 0, "all RRsets of the name, as uacme does");
            }
        }
    }
}

#[test]
fn what_the_programs_are_refused_they_say() {
    let served = served();
    let wrong = TsigKey { secret: vec![1; 32], ..served.limited.clone() };
    let stranger = TsigKey::new("stranger");
    let add = format!("add {}. 60 TXT x", served.mine);
    let others = format!("add {}. 60 TXT x", served.other);
    let zone = format!("zone {ZONE}.");
    for program in PROGRAMS {
        for (key, lines, said) in [
            (&wrong, [&zone[..], &add], ["BADSIG", "bad signature"]),
            (&stranger, [&zone, &add], ["BADKEY", "bad key"]),
            (&served.limited, [&zone, &others], ["REFUSED", "REFUSED"]),
            (&served.limited, ["zone example.com.", "add example.com. 60 TXT x"], ["NOTAUTH", "NOTAUTH"]),
        ] {
            let shown = served.nsupdate(program, key, &lines);
            assert!(!shown.success(), "{shown:?}");
            let shown = shown.output();
            assert!(said.iter().any(|said| shown.contains(said)), "{program}: {shown}");
        }
        let unsigned = nsupdate(program, served.server.dns, &[], &[&zone, &add]).output();
        assert!(unsigned.contains("REFUSED"), "{program}: {unsigned}");
    }
    assert!(served.values(&served.mine).is_empty() && served.values(&served.other).is_empty());
}

#[test]
fn nsupdate_and_knsupdate_set_the_five_kinds_of_prerequisites_rfc2136_2_4() {
    let served = served();
    let set = Update::new(ZONE).add(&served.mine, "held");
    assert_eq!(served.send(Via::Udp, &served.whole, &set), Rcode::NOERROR);
    let (mine, other, zone) = (&served.mine, &served.other, format!("zone {ZONE}."));
    for program in PROGRAMS {
        for (prerequisite, said) in [
            (format!("prereq yxrrset {mine}. TXT"), None),
            (format!("prereq yxrrset {other}. TXT"), Some("NXRRSET")),
            (format!("prereq yxrrset {mine}. TXT held"), None),
            (format!("prereq yxrrset {mine}. TXT another"), Some("NXRRSET")),
            (format!("prereq nxrrset {other}. TXT"), None),
            (format!("prereq nxrrset {mine}. TXT"), Some("YXRRSET")),
            (format!("prereq yxdomain {mine}."), None),
            (format!("prereq yxdomain {other}."), Some("NXDOMAIN")),
            (format!("prereq nxdomain {other}."), None),
            (format!("prereq nxdomain {mine}."), Some("YXDOMAIN")),
        ] {
            let add = format!("add {mine}. 60 TXT added");
            let shown = served.nsupdate(program, &served.limited, &[&zone, &prerequisite, &add]);
            assert_eq!(shown.success(), said.is_none(), "{program}: {prerequisite}: {shown:?}");
            let text = shown.output();
            assert!(said.is_none_or(|said| text.contains(said)), "{program}: {prerequisite}: {text}");
            let expected: &[&str] = if said.is_none() { &["added", "held"] } else { &["held"] };
            assert_eq!(served.values(mine), expected, "{program}: {prerequisite}");
            let undo = Update::new(ZONE).remove(mine, "added");
            assert_eq!(served.send(Via::Udp, &served.limited, &undo), Rcode::NOERROR);
        }
    }
}

#[test]
fn prerequisites_are_judged_by_the_whole_zone_rfc2136_3_2() {
    let served = served();
    let mine = &served.mine;
    let set = Update::new(ZONE).add(mine, "a").add(mine, "b");
    served.assert_update(&served.limited, &set, Rcode::NOERROR, &["a", "b"]);
    let ns1 = format!("ns1.{ZONE}");
    let ns = ask(&served.server, Via::Udp, &Query::new(ZONE, Rtype::NS)).answer;
    let whole_ns = |update: Update, count: usize| {
        let each = ns.iter().take(count).map(|ns| record(ZONE, 2, IN, 0, &ns.octets.to_ascii_uppercase()));
        each.fold(update, Update::prerequisite)
    };
    let is = |records: &[Vec<u8>]| records.iter().cloned().fold(Update::new(ZONE), Update::prerequisite);
    let mine_is = |value: &str| record(mine, 16, IN, 0, &txt(value));
    let challenge = format!("_acme-challenge.{mine}");
    for (update, rcode) in [
        (is(&[mine_is("a"), mine_is("b")]), Rcode::NOERROR),
        (is(&[mine_is("b"), mine_is("a"), mine_is("a")]), Rcode::NOERROR),
        (is(&[record(mine, 16, IN, 0, b"\x01a"), record(&mine.to_uppercase(), 16, IN, 0, b"\x01b")]), Rcode::NOERROR),
        (is(&[mine_is("a")]), Rcode::NXRRSET),
        (is(&[mine_is("a"), mine_is("b"), mine_is("c")]), Rcode::NXRRSET),
        (is(&[record(&challenge, 16, ANY, 0, b"")]), Rcode::NOERROR),
        (whole_ns(Update::new(ZONE), ns.len()), Rcode::NOERROR),
        (whole_ns(Update::new(ZONE), ns.len() - 1), if ns.len() > 1 { Rcode::NXRRSET } else { Rcode::NOERROR }),
        (is(&[record(&ns1, 1, ANY, 0, b"")]), Rcode::NOERROR),
        (is(&[record(&ns1, 16, ANY, 0, b"")]), Rcode::NXRRSET),
        (is(&[record(&ns1, 255, ANY, 0, b"")]), Rcode::NOERROR),
        (is(&[record(&ns1, 255, NONE, 0, b"")]), Rcode::YXDOMAIN),
        (is(&[record(&ns1, 1, NONE, 0, b"")]), Rcode::YXRRSET),
        // A label without values is no name in use, nor is what only lies above one.
        (is(&[record(&served.other, 255, ANY, 0, b"")]), Rcode::NXDOMAIN),
        (is(&[record(&served.other, 255, NONE, 0, b"")]), Rcode::NOERROR),
        // The first one that fails decides, and sets of values come last.
        (is(&[mine_is("c"), record(&served.other, 255, ANY, 0, b"")]), Rcode::NXDOMAIN),
        (is(&[record(mine, 255, NONE, 0, b""), record("x.test", 16, ANY, 0, b"")]), Rcode::YXDOMAIN),
        (is(&[record("x.test", 16, ANY, 0, b""), record(mine, 255, NONE, 0, b"")]), Rcode::NOTZONE),
    ] {
        let update = update.remove(mine, "b").add(mine, "b");
        served.assert_update(&served.limited, &update, rcode, &["a", "b"]);
    }
}

#[test]
fn of_many_updates_of_one_serial_one_is_done_rfc2136_5_6() {
    let served = served();
    let soa = || ask(&served.server, Via::Udp, &Query::new(ZONE, Rtype::SOA)).answer.remove(0).octets;
    let of = |soa: &[u8], number: usize| {
        let serial = record(ZONE, 6, IN, 0, soa);
        Update::new(ZONE).prerequisite(serial).add(&served.mine, &number.to_string())
    };
    let current = soa();
    let mut rcodes: Vec<Rcode> = std::thread::scope(|scope| {
        let send = |number| {
            let (served, update) = (&served, of(&current, number));
            scope.spawn(move || served.send(BOTH[number % 2], &served.limited, &update))
        };
        let threads: Vec<_> = (0..20).map(send).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    rcodes.sort();
    assert_eq!(rcodes, [&[Rcode::NOERROR][..], &[Rcode::NXRRSET; 19]].concat());
    assert_eq!(served.values(&served.mine).len(), 1);
    assert_ne!(soa(), current);
    assert_eq!(served.send(Via::Udp, &served.limited, &of(&soa(), 99)), Rcode::NOERROR);
}

#[test]
fn an_update_is_done_in_its_order_and_whole_or_not_at_all_rfc2136_3_4_2() {
    let served = served();
    let (mine, other, key) = (&served.mine, &served.other, &served.limited);
    let update = || Update::new(ZONE);
    let delete_all = record(mine, 255, ANY, 0, b"");
    let address = record(mine, 1, IN, 0, &[192, 0, 2, 1]);
    served.assert_update(
        key,
        &update().add(mine, "a").add(mine, "b").delete(mine).add(mine, "c"),
        Rcode::NOERROR,
        &["c"],
    );
    served.assert_update(key, &update().add(mine, "d").remove(mine, "c").remove(mine, "x"), Rcode::NOERROR, &["d"]);
    served.assert_update(key, &update().remove(mine, "d").add(mine, "d"), Rcode::NOERROR, &["d"]);
    served.assert_update(key, &update().add(mine, "e").update(delete_all).add(mine, "f"), Rcode::NOERROR, &["f"]);
    served.assert_update(key, &update(), Rcode::NOERROR, &["f"]);
    // Something is forbidden, or not TXT, or no part of the zone: nothing is done.
    served.assert_update(key, &update().add(mine, "g").add(other, "g"), Rcode::REFUSED, &["f"]);
    served.assert_update(key, &update().add(mine, "g").update(address.clone()), Rcode::REFUSED, &["f"]);
    served.assert_update(key, &update().add(mine, "g").add("elsewhere.test", "g"), Rcode::NOTZONE, &["f"]);
    served.assert_update(key, &update().delete(mine).update(record(mine, 16, 3, 0, b"")), Rcode::FORMERR, &["f"]);
    assert!(served.values(other).is_empty());
    // Form and zone of all come before the permission for any.
    served.assert_update(key, &update().add(other, "g").add("elsewhere.test", "g"), Rcode::NOTZONE, &["f"]);
    served.assert_update(key, &update().add(other, "g").update(record(mine, 16, ANY, 1, b"")), Rcode::FORMERR, &["f"]);
    // And prerequisites come before both.
    let unmet = update().prerequisite(record(mine, 16, NONE, 0, b"")).add("elsewhere.test", "g");
    served.assert_update(key, &unmet, Rcode::YXRRSET, &["f"]);
}

#[test]
fn what_is_not_a_challenge_value_is_out_of_reach() {
    let served = served();
    let whole = &served.whole;
    let soa = ask(&served.server, Via::Udp, &Query::new(ZONE, Rtype::SOA)).answer.remove(0);
    let ns1 = format!("ns1.{ZONE}");
    let before = served.values(ZONE);
    for entry in [
        record(ZONE, 255, ANY, 0, b""),
        record(ZONE, 16, ANY, 0, b""),
        record(ZONE, 6, ANY, 0, b""),
        record(ZONE, 2, ANY, 0, b""),
        record(ZONE, 6, NONE, 0, &soa.octets),
        record(ZONE, 6, IN, 60, &soa.octets),
        record(ZONE, 16, IN, 60, b"\x01x"),
        record(&ns1, 255, ANY, 0, b""),
        record(&ns1, 16, IN, 60, b"\x01x"),
        record(&ns1, 1, IN, 60, &[192, 0, 2, 99]),
        record(&format!("new.{ZONE}"), 16, IN, 60, b"\x01x"),
        record(&format!("*.{ZONE}"), 16, IN, 60, b"\x01x"),
        // The hosts of the zone file are the administrator's to certify.
        record(&format!("_acme-challenge.{ns1}"), 16, IN, 60, b"\x01x"),
        record(&format!("_acme-challenge.{ZONE}"), 16, IN, 60, b"\x01x"),
        record(&served.mine, 5, IN, 60, &[0]),
        record(&served.mine, 16, IN, 60, &[&[255; 256][..]; 17].concat()),
    ] {
        let update = Update::new(ZONE).update(entry.clone());
        assert_eq!(served.send(Via::Tcp, whole, &update), Rcode::REFUSED, "{entry:02x?}");
    }
    assert_eq!(served.values(ZONE), before);
    assert_eq!(ask(&served.server, Via::Udp, &Query::new(ZONE, Rtype::SOA)).answer[0].rdata, soa.rdata);
    // All RRsets of the apex of a challenge zone are its values: SOA and NS stay (RFC 2136 section 3.4.2.3).
    let add = Update::new(CHALLENGE_ZONE).add(CHALLENGE_ZONE, "x");
    assert_eq!(served.send(Via::Udp, whole, &add), Rcode::NOERROR);
    assert_eq!(served.values(CHALLENGE_ZONE), ["x"]);
    let delete = Update::new(CHALLENGE_ZONE).update(record(CHALLENGE_ZONE, 255, ANY, 0, b""));
    assert_eq!(served.send(Via::Udp, whole, &delete), Rcode::NOERROR);
    assert!(served.values(CHALLENGE_ZONE).is_empty());
    for rtype in [Rtype::SOA, Rtype::NS] {
        assert_eq!(ask(&served.server, Via::Udp, &Query::new(CHALLENGE_ZONE, rtype)).answer.len(), 1);
    }
}

#[test]
fn only_the_zone_itself_is_updated_rfc2136_3_1_1() {
    let served = served();
    let (mine, whole) = (&served.mine, &served.whole);
    for zone in ["example.org", "org", ".", "sub.auth.example.org", "example.net", mine] {
        let update = Update::new(zone).add(mine, "x");
        served.assert_update(whole, &update, Rcode::NOTAUTH, &[]);
    }
    for (zone_type, zone_class, rcode) in
        [(6, 3, Rcode::NOTAUTH), (6, 255, Rcode::NOTAUTH), (1, 1, Rcode::FORMERR), (255, 1, Rcode::FORMERR)]
    {
        let update = Update { zone_type, zone_class, ..Update::new(ZONE).add(mine, "x") };
        served.assert_update(whole, &update, rcode, &[]);
    }
    let across = Update::new(CHALLENGE_ZONE).add(mine, "x");
    served.assert_update(whole, &across, Rcode::NOTZONE, &[]);
    let spelled = Update::new("AUTH.Example.Org").add(&mine.to_uppercase(), "x");
    served.assert_update(whole, &spelled, Rcode::NOERROR, &["x"]);
}

#[test]
fn what_lego_sends_for_a_name_and_its_wildcard_keeps_both_values() {
    let served = served();
    let mine = &served.mine;
    let replace = |value: &str| Update::new(ZONE).delete(mine).add(mine, value);
    for key in [&served.limited, &served.whole] {
        served.assert_update(key, &Update::new(ZONE).delete(mine), Rcode::NOERROR, &[]);
        served.assert_update(key, &replace("a"), Rcode::NOERROR, &["a"]);
        served.assert_update(key, &replace("b"), Rcode::NOERROR, &["a", "b"]);
        served.assert_update(key, &replace("b"), Rcode::NOERROR, &["a", "b"]);
    }
    // Every other message is meant as it is written.
    let key = &served.whole;
    let alike = Update::new(ZONE).delete(mine).add(mine, "c").add(mine, "d");
    served.assert_update(key, &alike, Rcode::NOERROR, &["c", "d"]);
    let alike = Update::new(ZONE).prerequisite(record(mine, 255, ANY, 0, b"")).delete(mine).add(mine, "e");
    served.assert_update(key, &alike, Rcode::NOERROR, &["e"]);
    let alike = Update::new(ZONE).update(record(mine, 255, ANY, 0, b"")).add(mine, "f");
    served.assert_update(key, &alike, Rcode::NOERROR, &["f"]);
    let alike = Update::new(ZONE).add(mine, "g").delete(mine);
    served.assert_update(key, &alike, Rcode::NOERROR, &[]);
    // And so is this one for who asks for it.
    served.assert_update(&served.literal, &replace("a"), Rcode::NOERROR, &["a"]);
    served.assert_update(&served.literal, &replace("b"), Rcode::NOERROR, &["b"]);
    assert_eq!(served.send(Via::Udp, key, &Update::new(ZONE).delete(mine).add(&served.other, "x")), Rcode::NOERROR);
    assert_eq!((served.values(mine), served.values(&served.other)), (vec![], vec!["x".to_owned()]));
}

#[test]
fn a_label_and_the_challenge_name_below_it_are_one_rrset() {
    let served = served();
    let (mine, key) = (&served.mine, &served.limited);
    let challenge = format!("_acme-challenge.{mine}");
    served.assert_update(key, &Update::new(ZONE).add(&challenge, "a"), Rcode::NOERROR, &["a"]);
    assert_eq!(served.values(&challenge), ["a"]);
    served.assert_update(key, &Update::new(ZONE).add(mine, "b").remove(&challenge, "a"), Rcode::NOERROR, &["b"]);
    let split = [&b"\x01a"[..], b"\x01b"].concat();
    let add = Update::new(ZONE).update(record(mine, 16, IN, 60, &split));
    served.assert_update(key, &add, Rcode::NOERROR, &["ab", "b"]);
}

#[test]
fn noerror_means_on_the_disk_and_served() {
    let mut served = served();
    let mine = served.mine.clone();
    for number in 0..5 {
        let via = BOTH[number % 2];
        let value = number.to_string();
        assert_eq!(served.send(via, &served.limited, &Update::new(ZONE).add(&mine, &value)), Rcode::NOERROR);
        served.server.restart();
        assert_eq!(served.values(&mine).len(), number + 1, "after a kill");
    }
}

#[test]
fn many_updates_at_a_time_are_all_done() {
    let served = served();
    std::thread::scope(|scope| {
        for number in 0..40 {
            let served = &served;
            scope.spawn(move || {
                let update = Update::new(ZONE).delete(&served.mine).add(&served.mine, &crate::value(number));
                assert_eq!(served.send(BOTH[number % 2], &served.limited, &update), Rcode::NOERROR);
            });
        }
    });
    assert_eq!(served.values(&served.mine).len(), 40);
}

#[test]
fn an_update_that_is_not_signed_is_refused_whatever_it_says() {
    let served = served();
    for via in BOTH {
        for update in [
            Update::new(ZONE),
            Update::new(ZONE).add(&served.mine, "x"),
            Update::new("elsewhere.test").add(&served.mine, "x"),
            Update::new(ZONE).prerequisite(record(ZONE, 6, NONE, 0, b"")),
        ] {
            let reply = Reply::parse(&exchange(&served.server, via, &update.bytes()));
            assert_eq!((reply.header_rcode(), reply.counts), (Rcode::REFUSED, [1, 0, 0, 0]));
        }
    }
    assert!(served.values(&served.mine).is_empty());
}

#[test]
fn what_a_name_cannot_hold_is_refused_as_a_whole() {
    let served = served();
    let (mine, key) = (&served.mine, &served.limited);
    let adding = |update: Update, count: usize| (0..count).fold(update, |update, n| update.add(mine, &crate::value(n)));
    let challenge = format!("_acme-challenge.{mine}");
    let over = [
        adding(Update::new(ZONE), 65),
        adding(Update::new(ZONE), 64).add(&challenge, "one more, by its other name"),
        // 5 * 4,096 octets are more than 16 KiB.
        (0..5u8).fold(Update::new(ZONE), |update, n| {
            let rdata = [[&[255][..], &[n; 255]].concat().repeat(16), vec![16], vec![n; 16]].concat();
            update.update(record(mine, 16, IN, 60, &rdata))
        }),
    ];
    for update in &over {
        assert_eq!(served.send(Via::Tcp, key, update), Rcode::REFUSED);
        assert!(served.values(mine).is_empty());
    }
    assert_eq!(served.send(Via::Tcp, key, &adding(Update::new(ZONE), 64)), Rcode::NOERROR);
    assert_eq!(served.values(mine).len(), 64);
    // A value that is there twice counts once, and what the message itself takes away does not count.
    let again = adding(adding(Update::new(ZONE), 64).delete(mine), 64).add(mine, &crate::value(0));
    assert_eq!(served.send(Via::Tcp, key, &again), Rcode::NOERROR);
    assert_eq!(served.values(mine).len(), 64);
    // Of what is there already, the oldest leaves.
    assert_eq!(served.send(Via::Tcp, key, &Update::new(ZONE).add(mine, "new")), Rcode::NOERROR);
    let values = served.values(mine);
    assert!(values.len() == 64 && values.contains(&"new".to_owned()) && !values.contains(&crate::value(1)));
}

#[test]
fn many_signed_messages_of_one_connection_are_each_signed_for_themselves_rfc7766_6_2_1_1_rfc8945_5_3() {
    let served = served();
    let mut connection = crate::dns(&served.server).connect().unwrap();
    let mut waiting: Vec<_> = (0..30)
        .map(|n| {
            let key = [&served.limited, &served.whole, &TsigKey::new("stranger")][n % 3].clone();
            let bytes = match n % 2 {
                0 => Update::new(ZONE).add(&served.mine, &crate::value(n)).bytes(),
                _ => Query::new(ZONE, Rtype::SOA).id(n as u16).bytes(),
            };
            (key.sign(&bytes, &Stamp::now()), key)
        })
        .collect();
    waiting.iter().for_each(|(message, _)| connection.send(&message.octets));
    while !waiting.is_empty() {
        let octets = connection.receive().expect("an answer to each");
        let at = waiting.iter().position(|(message, _)| message.octets[..2] == octets[..2]).expect("of one of them");
        let (message, key) = waiting.remove(at);
        let signature = key.verify(&octets, &message);
        let known = key.name != "stranger";
        assert_eq!(Reply::parse(&octets).header_rcode(), if known { Rcode::NOERROR } else { Rcode::NOTAUTH });
        assert_eq!((signature.error, signature.mac.is_empty()), if known { (0, false) } else { (17, true) });
    }
    assert_eq!(served.values(&served.mine).len(), 10);
}
