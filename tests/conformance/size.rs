//! How long answers may be, and what happens when they are longer.

use crate::support::{Acmezone, Query, Registered, Rtype, http::Http};
use crate::{BOTH, Via, ZONE, ask, judged, quick_start, value};

/// A label with that many values of 43 octets.
fn filled(server: &Acmezone, count: usize) -> Registered {
    let account = server.register();
    let mut http = Http::connect(server.api);
    for number in 0..count {
        let body = account.body(&value(number));
        let answer = http.request("POST", "/update", &account.headers(), body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    account
}

#[test]
fn thirty_two_and_sixty_four_values_are_cut_over_udp_and_whole_over_tcp_rfc2181_9() {
    let server = quick_start();
    for count in [32, 64] {
        let account = filled(&server, count);
        let plain = Query::new(&account.fulldomain, Rtype::TXT);
        for (query, most) in [(plain.clone(), 512), (plain.clone().edns(1232), 1232), (plain.clone().edns(4096), 1232)]
        {
            let reply = ask(&server, Via::Udp, &query);
            assert!(reply.header.tc() && reply.header.aa(), "{count} values in {most} octets");
            assert!(reply.length <= most, "{} octets where {most} may be", reply.length);
            assert_eq!(reply.edns.is_some(), query.edns.is_some());
            // no part of the RRset that could be taken for the whole
            assert_eq!(reply.answer.len(), 0);

            let reply = ask(&server, Via::Tcp, &query);
            assert!(!reply.header.tc());
            let mut values = reply.txt_values();
            values.sort();
            assert_eq!(values, (0..count).map(value).collect::<Vec<_>>());
        }
        for via in BOTH {
            let reply = judged(&server, via, &account.fulldomain, Rtype::TXT);
            assert_eq!(reply.answer.len(), if via == Via::Tcp { count } else { 0 });
        }
    }
}

#[test]
fn no_answer_over_udp_is_longer_than_1232_octets_whatever_the_client_offers_rfc9715_3_1() {
    let server = quick_start();
    let accounts: Vec<_> = (18..24).map(|count| (count, filled(&server, count))).collect();
    let mut longest = 0;
    for (count, account) in &accounts {
        for offered in [0, 1, 512, 513, 1231, 1232, 1233, 4096, 65535] {
            let reply = ask(&server, Via::Udp, &Query::new(&account.fulldomain, Rtype::TXT).edns(offered));
            assert!(reply.length <= usize::from(offered.clamp(512, 1232)), "{offered} offered, {}", reply.length);
            assert_eq!(reply.answer.len(), if reply.header.tc() { 0 } else { *count });
            longest = longest.max(reply.length);
        }
    }
    // The limit was felt: one value more would have passed it.
    assert!((1232 - 57..=1232).contains(&longest), "{longest}");
}

#[test]
fn an_answer_without_edns_has_at_most_512_octets_rfc1035_2_3_4() {
    let server = quick_start();
    for count in 6..10 {
        let account = filled(&server, count);
        let query = Query::new(&account.fulldomain, Rtype::TXT);
        let reply = ask(&server, Via::Udp, &query);
        assert!(reply.length <= 512 && reply.edns.is_none());
        let whole = ask(&server, Via::Tcp, &query);
        assert_eq!(reply.header.tc(), whole.length > 512, "{count} values are {} octets", whole.length);
    }
}

#[test]
fn twenty_values_fit_without_tcp() {
    let server = quick_start();
    let account = filled(&server, 20);
    let reply = ask(&server, Via::Udp, &Query::new(&account.fulldomain, Rtype::TXT).edns(1232));
    assert!(!reply.header.tc());
    assert_eq!(reply.txt_values().len(), 20);
}

#[test]
fn udp_and_tcp_say_the_same() {
    let server = quick_start();
    let account = filled(&server, 3);
    for (name, rtype) in [
        (ZONE, Rtype::SOA),
        (ZONE, Rtype::NS),
        (ZONE, Rtype::CAA),
        (ZONE, Rtype::MX),
        (&account.fulldomain, Rtype::TXT),
        (&account.fulldomain, Rtype::A),
        ("nope.auth.example.org", Rtype::A),
        ("elsewhere.test", Rtype::A),
    ] {
        let query = Query::new(name, rtype).edns(1232);
        let [udp, tcp] = BOTH.map(|via| crate::exchange(&server, via, &query.bytes()));
        assert_eq!(udp, tcp, "{name} {rtype}");
    }
}
