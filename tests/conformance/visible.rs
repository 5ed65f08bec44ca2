//! Whoever reads that an update is done finds it done: the CA may ask the next millisecond.

use std::time::Instant;

use crate::support::{Acmezone, Query, Reply, Rtype, http::Http};
use crate::{Via, ZONE, ask, dns, quick_start, value};

/// Updates in all; each client does its part.
const UPDATES: usize = 10_000;
const CLIENTS: usize = 4;
/// Values of one label that fit into an answer over UDP.
const FITTING: usize = 16;

/// Puts values in over one connection and looks for each at once; how many were not there.
fn misses(server: &Acmezone, client: usize) -> usize {
    let mut http = Http::connect(server.api);
    let socket = dns(server).udp_socket();
    let mut reply = [0; 1500];
    let mut misses = 0;
    let numbers: Vec<_> = (0..UPDATES / CLIENTS).map(|number| client * UPDATES + number).collect();
    for part in numbers.chunks(FITTING) {
        let account = server.register();
        for number in part {
            let value = value(*number);
            let answer = http.request("POST", "/update", &account.headers(), account.body(&value).as_bytes());
            assert_eq!((answer.status, answer.body), (200, format!("{{\"txt\": \"{value}\"}}")));
            socket.send(&Query::new(&account.fulldomain, Rtype::TXT).edns(1232).bytes()).unwrap();
            let length = socket.recv(&mut reply).unwrap();
            let seen = Reply::parse(&reply[..length]).txt_values();
            misses += usize::from(!seen.contains(&value));
        }
    }
    misses
}

#[test]
fn ten_thousand_updates_are_each_seen_by_the_query_that_follows() {
    let server = quick_start();
    let begun = Instant::now();
    let missed: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let server = &server;
                    move || misses(server, client)
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    println!("{UPDATES} updates by {CLIENTS} clients in {:?}", begun.elapsed());
    assert_eq!(missed, 0);
}

#[test]
fn the_serial_rises_with_every_update_rfc1035_3_3_13() {
    let server = quick_start();
    let serial = || {
        let reply = ask(&server, Via::Udp, &Query::new(ZONE, Rtype::SOA));
        reply.answer[0].rdata.split_whitespace().nth(2).unwrap().parse::<u32>().unwrap()
    };
    let mut last = serial();
    let account = server.register();
    for number in 0..10 {
        assert_eq!(server.update(&account, &value(number)).status, 200);
        let next = serial();
        assert!(next > last, "{last} then {next}");
        last = next;
    }
    assert_eq!(serial(), last, "and with nothing else");
}

#[test]
fn a_registered_label_exists_before_its_first_value_and_is_not_remembered_as_empty_rfc2308_5() {
    let server = quick_start();
    let account = server.register();
    let query = Query::new(&account.fulldomain, Rtype::TXT);
    for via in crate::BOTH {
        let reply = ask(&server, via, &query);
        assert_eq!((reply.rcode.to_int(), reply.answer.len()), (0, 0));
        assert_eq!((reply.authority[0].rtype, reply.authority[0].ttl), (Rtype::SOA, 1));
    }
    assert_eq!(server.update(&account, &value(1)).status, 200);
    for via in crate::BOTH {
        let reply = ask(&server, via, &query);
        assert_eq!((reply.txt_values(), reply.answer[0].ttl), (vec![value(1)], 1));
        for rtype in [Rtype::A, Rtype::AAAA, Rtype::CAA, Rtype::NS, Rtype::SOA, Rtype::CNAME] {
            let other = ask(&server, via, &Query::new(&account.fulldomain, rtype));
            assert_eq!((other.rcode.to_int(), other.answer.len()), (0, 0), "NODATA for {rtype}");
        }
        let below = ask(&server, via, &Query::new(&format!("foo.{}", account.fulldomain), Rtype::TXT));
        assert_eq!(below.rcode.to_int(), 3);
    }
}
