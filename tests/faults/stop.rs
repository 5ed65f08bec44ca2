//! SIGTERM: what was begun is finished, and nobody who is silent holds up the end.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::crash::Acknowledged;
use crate::support::{Acmezone, Query, RawDns, Reply, Rtype, poll};
use crate::{Fragile, ZONE, started, txt, value};

/// Sends SIGTERM; how long until the process had ended, with success.
#[track_caller]
fn terminate(server: &mut Acmezone, signal: libc::c_int) -> Duration {
    let asked = Instant::now();
    server.process().signal(signal);
    let status = server.process().wait(Duration::from_secs(30));
    assert_eq!(status.code(), Some(0), "{}", server.log());
    asked.elapsed()
}

#[test]
fn a_server_at_rest_stops_at_once_with_code_0() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut server = started();
        // Between the first listening and the handler of signals lies the rest of the start.
        server.register();
        let took = terminate(&mut server, signal);
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(TcpStream::connect(server.dns).is_err());
    }
}

#[test]
fn updates_under_way_are_answered_or_not_acknowledged() {
    let mut server = started();
    let acknowledged = Acknowledged::default();
    let took = std::thread::scope(|scope| {
        for client in 0..6 {
            let (acknowledged, api) = (&acknowledged, server.api);
            scope.spawn(move || acknowledged.work(api, client));
        }
        poll(Duration::from_secs(20), "acknowledged updates", || {
            (acknowledged.count.load(Ordering::Relaxed) >= 100).then_some(())
        });
        terminate(&mut server, libc::SIGTERM)
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    server.restart();
    for (account, values) in acknowledged.accounts.lock().unwrap().iter() {
        let served = txt(&server, account);
        assert!(values.iter().all(|value| served.contains(value)), "{values:?} in {served:?}");
        // An orderly end leaves nothing half done: at most the answer got lost with the connection.
        assert!(served.len() <= values.len() + 1, "{served:?}");
    }
}

#[test]
fn idle_and_stuck_connections_do_not_hold_up_the_end() {
    let mut server = started();
    let dns = RawDns::new(server.dns);
    // Idle after an answer, idle from the start, and in the middle of a message.
    let mut used = dns.connect().unwrap();
    used.send(&Query::new(ZONE, Rtype::SOA).bytes());
    assert!(Reply::parse(&used.receive().unwrap()).header.aa());
    let fresh = dns.connect().unwrap();
    let mut http_used = Fragile::connect(server.api).unwrap();
    http_used.register().unwrap();
    let http_fresh = Fragile::connect(server.api).unwrap();
    let admin_fresh = Fragile::connect(server.admin).unwrap();
    let took = terminate(&mut server, libc::SIGTERM);
    println!("with idle connections: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop((used, fresh, http_used, http_fresh, admin_fresh));

    server.restart();
    let mut stuck = dns.connect().unwrap();
    stuck.stream.write_all(&[0, 50, 1]).unwrap();
    let mut http_stuck = Fragile::connect(server.api).unwrap();
    http_stuck.send(b"POST /update HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").unwrap();
    let account = server.register();
    assert_eq!(server.update(&account, &value(1)).status, 200);
    let took = terminate(&mut server, libc::SIGTERM);
    println!("with stuck connections: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop((stuck, http_stuck));
}
