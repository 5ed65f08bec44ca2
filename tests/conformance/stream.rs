//! DNS over TCP (RFC 7766), and the addresses that are listened on.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::{Acmezone, Query, RawDns, Reply, Rtype};
use crate::{Via, ZONE, ask, dns, quick_start, shipped, zone_table};

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

#[test]
fn pipelined_queries_in_one_segment_are_all_answered_rfc7766_6_2_1_1() {
    let server = quick_start();
    let mut connection = dns(&server).connect().unwrap();
    let ids: BTreeSet<u16> = (1..=100).collect();
    let types = [Rtype::SOA, Rtype::NS, Rtype::A, Rtype::CAA];
    let query = |id: &u16| Query::new(ZONE, types[usize::from(*id) % 4]).id(*id).bytes();
    let segment: Vec<u8> = ids.iter().flat_map(|id| framed(&query(id))).collect();
    connection.stream.write_all(&segment).unwrap();
    let answered = ids.iter().map(|_| {
        let reply = Reply::parse(&connection.receive().expect("an answer to each query"));
        assert_eq!(reply.question[0].rtype, types[usize::from(reply.header.id()) % 4]);
        reply.header.id()
    });
    assert_eq!(answered.collect::<BTreeSet<_>>(), ids);
}

#[test]
fn a_message_may_come_octet_by_octet_rfc7766_8() {
    let server = quick_start();
    let mut connection = dns(&server).connect().unwrap();
    for octet in framed(&Query::new(ZONE, Rtype::SOA).id(7).bytes()) {
        connection.stream.write_all(&[octet]).unwrap();
        // The other side gets each octet for itself: nothing but a turn of the scheduler lies between two.
        std::thread::yield_now();
    }
    assert_eq!(Reply::parse(&connection.receive().unwrap()).header.id(), 7);
}

#[test]
fn a_connection_serves_one_query_after_another_rfc7766_6_2_1() {
    let server = quick_start();
    let mut connection = dns(&server).connect().unwrap();
    for id in [1, 2] {
        connection.send(&Query::new(ZONE, Rtype::SOA).id(id).bytes());
        assert_eq!(Reply::parse(&connection.receive().unwrap()).header.id(), id);
    }
}

#[test]
fn a_client_that_closes_its_half_still_gets_its_answers() {
    let server = quick_start();
    let mut connection = dns(&server).connect().unwrap();
    connection.send(&Query::new(ZONE, Rtype::SOA).id(3).bytes());
    connection.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(Reply::parse(&connection.receive().unwrap()).header.id(), 3);
    assert_eq!(connection.receive(), None);
}

#[test]
fn a_promise_of_65535_octets_that_never_come_is_cut_off_and_blocks_nobody_rfc7766_6_2_3() {
    let server = quick_start();
    let begun = Instant::now();
    let mut stuck: Vec<_> = (0..50).map(|_| dns(&server).connect().unwrap()).collect();
    for connection in &mut stuck {
        connection.stream.write_all(&[0xff, 0xff]).unwrap();
        connection.stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    }
    for via in crate::BOTH {
        assert!(ask(&server, via, &Query::new(ZONE, Rtype::SOA)).header.aa());
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "others waited {:?}", begun.elapsed());
    for connection in &mut stuck {
        assert_eq!(connection.stream.read(&mut [0]).unwrap(), 0, "closed by the server");
    }
    assert!(begun.elapsed() < Duration::from_secs(12), "cut off after {:?}", begun.elapsed());
}

/// A server on these addresses with the zone of the quick start.
fn listening(addresses: impl Fn(u16) -> Vec<String>) -> Acmezone {
    let tables = zone_table(ZONE, &shipped("auth.example.org.zone"));
    let mut server = Acmezone::prepare(&tables);
    let text = std::fs::read_to_string(server.config()).unwrap();
    let text = text.replace(&format!("{:?}", server.dns.to_string()), &addresses(server.dns.port()).join(", "));
    std::fs::write(server.config(), text).unwrap();
    server.restart();
    server
}

#[test]
fn a_wildcard_socket_answers_from_the_address_that_was_asked_rfc2181_4() {
    let server = listening(|port| vec![format!("\"0.0.0.0:{port}\"")]);
    let query = Query::new(ZONE, Rtype::SOA).bytes();
    for address in ["127.0.0.1", "127.0.0.2", "127.9.8.7"] {
        // `RawDns` connects its sockets: what comes from elsewhere never reaches them.
        let dns = RawDns::new(SocketAddr::new(address.parse().unwrap(), server.dns.port()));
        for reply in [dns.udp(&query), dns.tcp(&query)] {
            assert!(Reply::parse(&reply.expect(address)).header.aa());
        }
        // The rare messages leave by another way.
        let notify = dns.udp(&Query::new(ZONE, Rtype::SOA).opcode(4).bytes());
        assert_eq!(Reply::parse(&notify.expect(address)).rcode.to_int(), 5);
    }
}

#[test]
fn ipv4_and_ipv6_wildcards_stand_side_by_side() {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("this machine has no ::1");
        return;
    }
    let server = listening(|port| vec![format!("\"0.0.0.0:{port}\""), format!("\"[::]:{port}\"")]);
    let query = Query::new(ZONE, Rtype::SOA).bytes();
    for address in ["127.0.0.2", "::1"] {
        let dns = RawDns::new(SocketAddr::new(address.parse().unwrap(), server.dns.port()));
        for reply in [dns.udp(&query), dns.tcp(&query)] {
            assert!(Reply::parse(&reply.expect(address)).header.aa());
        }
    }
    assert!(ask(&server, Via::Udp, &Query::new(ZONE, Rtype::SOA)).header.aa());
}
