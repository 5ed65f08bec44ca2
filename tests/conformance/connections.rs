//! Connections: how many there may be, how they end, and what runs over one that takes its time.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::{Acmezone, Query, RawDns, Reply, Rtype, TcpConnection, free_port, poll};
use crate::{ZONE, dns, quick_start, shipped, zone_table};

/// How long to wait for what should come at once.
const SOON: Duration = Duration::from_secs(5);

/// A server with these keys in `[dns]`, listening on this address.
fn with_keys(keys: &str, address: Option<IpAddr>) -> Acmezone {
    let mut server = Acmezone::prepare(&zone_table(ZONE, &shipped("auth.example.org.zone")));
    let text = std::fs::read_to_string(server.config()).unwrap();
    let listening = server.dns.to_string();
    if let Some(address) = address {
        server.dns = SocketAddr::new(address, free_port());
    }
    let text = text.replace(&listening, &server.dns.to_string()).replace("[dns]\n", &format!("[dns]\n{keys}\n"));
    std::fs::write(server.config(), text).unwrap();
    server.restart();
    server
}

fn connect(server: &Acmezone) -> TcpConnection {
    dns(server).connect().expect("the server takes connections")
}

/// Whether a query is answered over this connection.
fn answers(connection: &mut TcpConnection) -> bool {
    let query = Query::new(ZONE, Rtype::SOA);
    connection.send(&query.bytes());
    connection.receive().is_some_and(|reply| Reply::parse(&reply).header.id() == query.id)
}

/// Whether the server has closed the connection, without waiting for it.
fn is_closed(connection: &mut TcpConnection) -> bool {
    connection.stream.set_nonblocking(true).unwrap();
    let read = connection.stream.read(&mut [0]);
    connection.stream.set_nonblocking(false).unwrap();
    match read {
        Ok(octets) => octets == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn open(connections: &mut [TcpConnection]) -> usize {
    connections.iter_mut().filter_map(|connection| (!is_closed(connection)).then_some(())).count()
}

#[test]
fn an_idle_connection_is_closed_after_ten_seconds_rfc7766_6_2_3() {
    let server = quick_start();
    let mut connection = connect(&server);
    assert!(answers(&mut connection));
    let idle_since = Instant::now();
    connection.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(connection.stream.read(&mut [0]).unwrap(), 0);
    let idle = idle_since.elapsed();
    assert!((9.5..15.0).contains(&idle.as_secs_f64()), "{idle:?}");
}

#[test]
fn when_all_places_are_taken_the_longest_idle_connection_leaves() {
    let server = with_keys("tcp_connections = 4", None);
    let mut connections: Vec<_> = (0..4).map(|_| connect(&server)).collect();
    for connection in &mut connections {
        assert!(answers(connection));
    }
    // The first is in use again, so the second has been idle the longest.
    assert!(answers(&mut connections[0]));
    let mut newcomer = connect(&server);
    assert!(answers(&mut newcomer));
    poll(SOON, "the second connection to be closed", || is_closed(&mut connections[1]).then_some(()));
    for index in [0, 2, 3] {
        assert!(answers(&mut connections[index]), "connection {index}");
    }
}

#[test]
fn a_flood_of_silent_connections_does_not_shut_others_out() {
    let server = with_keys("tcp_connections = 32", None);
    let mut silent = Vec::new();
    for round in 0..300 {
        silent.push(connect(&server));
        if round % 30 == 0 {
            assert!(answers(&mut connect(&server)), "after {round} connections");
        }
    }
    poll(SOON, "the cap to hold", || (open(&mut silent) <= 32).then_some(()));
}

/// An address of this machine that is not loopback; no packet is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

#[test]
fn a_network_has_its_own_cap_and_loopback_none() {
    let keys = "tcp_connections_per_prefix = 3";
    let server = with_keys(keys, None);
    let mut connections: Vec<_> = (0..20).map(|_| connect(&server)).collect();
    assert!(connections.iter_mut().all(answers));

    let Some(address) = own_address() else {
        println!("this machine has no address but loopback");
        return;
    };
    let server = with_keys(keys, Some(address));
    let mut connections: Vec<_> = (0..3).map(|_| connect(&server)).collect();
    assert!(connections.iter_mut().all(answers));
    let mut newcomer = connect(&server);
    assert!(answers(&mut newcomer));
    poll(SOON, "the first connection to be closed", || is_closed(&mut connections[0]).then_some(()));
    assert!(connections[1..].iter_mut().all(answers));
}

#[test]
fn rare_messages_and_queries_share_a_connection_rfc7766_6_2_1_1() {
    let server = quick_start();
    let mut connection = connect(&server);
    let mut waiting = std::collections::BTreeMap::new();
    for id in 1..=60 {
        // NOTIFY and UPDATE are refused, each in its own way, and in any order with the others.
        let opcode = [0, 0, 4, 0, 5][usize::from(id) % 5];
        connection.send(&Query::new(ZONE, Rtype::SOA).id(id).opcode(opcode).bytes());
        waiting.insert(id, opcode);
    }
    while !waiting.is_empty() {
        let reply = Reply::parse(&connection.receive().expect("an answer to each message"));
        let opcode = waiting.remove(&reply.header.id()).expect("one answer each");
        assert_eq!(reply.header.opcode().to_int(), opcode);
        assert_eq!(reply.header.aa(), opcode == 0);
    }
}

#[test]
fn plain_answers_come_in_the_order_of_the_queries() {
    let server = quick_start();
    let mut connection = connect(&server);
    let queries = (0..2000).map(|id| Query::new(ZONE, Rtype::SOA).id(id).bytes());
    let octets: Vec<u8> =
        queries.flat_map(|query| [&(query.len() as u16).to_be_bytes(), &query[..]].concat()).collect();
    let mut writer = connection.stream.try_clone().unwrap();
    std::thread::spawn(move || std::io::Write::write_all(&mut writer, &octets));
    for id in 0..2000 {
        assert_eq!(Reply::parse(&connection.receive().unwrap()).header.id(), id);
    }
}

#[test]
fn queries_that_have_arrived_are_answered_before_the_end() {
    let mut server = quick_start();
    let mut connections: Vec<_> = (0..20).map(|_| connect(&server)).collect();
    assert!(connections.iter_mut().all(answers));
    for connection in &mut connections {
        connection.send(&Query::new(ZONE, Rtype::SOA).bytes());
    }
    let asked = Instant::now();
    server.process().signal(libc::SIGTERM);
    for connection in &mut connections {
        assert!(Reply::parse(&connection.receive().expect("the answer")).header.aa());
        assert_eq!(connection.receive(), None);
    }
    assert_eq!(server.process().wait(SOON).code(), Some(0), "{}", server.log());
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(RawDns::new(server.dns).connect().is_none());
}
