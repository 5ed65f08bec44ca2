//! HTTP clients that are slow, greedy or silent.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use crate::support::http::{Http, request};
use crate::support::{Acmezone, poll};
use crate::{Fragile, started, value};

/// A slow client must be gone after this time.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends `head`, then one octet after another, until the server answers or closes; what it answered. The pause between
/// two octets is the time that is waited for an answer.
fn drip(server: &Acmezone, head: &str, octet: u8) -> (Duration, String) {
    let mut connection = Fragile::connect(server.api).unwrap();
    connection.send(head.as_bytes()).unwrap();
    let begun = Instant::now();
    let mut said = Vec::new();
    let stream = connection.0.get_mut();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    poll(PATIENCE, "the end of a slow client", || {
        let mut buffer = [0; 4096];
        let sent = std::io::Write::write_all(stream, &[octet]);
        match stream.read(&mut buffer) {
            Ok(0) => Some(()),
            Ok(length) => {
                said.extend_from_slice(&buffer[..length]);
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => sent.err().map(|_| ()),
            Err(_) => Some(()),
        }
    });
    (begun.elapsed(), String::from_utf8(said).unwrap())
}

#[test]
fn slow_and_idle_clients_are_cut_off_and_hold_up_nobody() {
    let server = started();
    let idle: Vec<_> = (0..200).map(|_| Fragile::connect(server.api).unwrap()).collect();
    std::thread::scope(|scope| {
        let server = &server;
        let slow: Vec<_> = [
            ("POST /update HTTP/1.1\r\nX-Slow: ", b'a'),
            ("POST /update HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n", b' '),
            ("POST /register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n", b' '),
            ("", b'\n'),
        ]
        .map(|(head, octet)| scope.spawn(move || (head, drip(server, head, octet))))
        .into();
        // Meanwhile everybody else is served as ever.
        let mut longest = Duration::ZERO;
        let mut count = 0;
        while slow.iter().any(|client| !client.is_finished()) {
            let begun = Instant::now();
            let account = server.register();
            assert_eq!(server.update(&account, &value(count)).status, 200);
            longest = longest.max(begun.elapsed());
            count += 1;
            assert!(count < 1_000_000);
        }
        println!("{count} clients served meanwhile, the slowest in {longest:?}");
        assert!(longest < Duration::from_secs(2), "{longest:?}");
        for client in slow {
            let (head, (took, said)) = client.join().unwrap();
            println!("{head:?} cut off after {took:?}: {said:?}");
            assert!(took < PATIENCE);
            if head.contains("\r\n\r\n") {
                assert!(
                    said.starts_with("HTTP/1.1 408 ") && said.contains("{\"error\": \"request_timeout\"}"),
                    "{said}"
                );
            }
        }
    });
    // The silent ones are gone by now too.
    for mut connection in idle {
        connection.0.get_mut().set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = Vec::new();
        let ended = connection.0.read_to_end(&mut said);
        assert!(ended.is_ok(), "a silent connection was left open: {ended:?}");
    }
}

#[test]
fn a_body_over_8_kib_is_413_in_one_line() {
    let server = started();
    let account = server.register();
    let too_large = (413, "{\"error\": \"payload_too_large\"}".to_owned());
    for path in ["/update", "/register"] {
        let body = format!("{{\"txt\":\"{}\"}}", "x".repeat(9_000));
        let answer = request(server.api, "POST", path, &account.headers(), body.as_bytes());
        assert_eq!((answer.status, answer.body), too_large, "{path}");

        // Announced and never sent: refused unread.
        let mut connection = Fragile::connect(server.api).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n");
        connection.send(head.as_bytes()).unwrap();
        assert_eq!(connection.receive().unwrap(), too_large, "{path}");

        // In chunks nothing is announced.
        let mut connection = Fragile::connect(server.api).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
        connection.send((head + &chunk.repeat(9)).as_bytes()).unwrap();
        assert_eq!(connection.receive().unwrap(), too_large, "{path}");
    }
    // 8 KiB themselves are read: what is wrong with them is something else.
    let mut http = Http::connect(server.api);
    let answer = http.request("POST", "/register", &[], &[b' '; 8 * 1024]);
    assert_eq!((answer.status, answer.body.as_str()), (400, "{\"error\": \"malformed_json_payload\"}"));
}

#[test]
fn nonsense_over_http_costs_only_its_own_connection() {
    let server = started();
    for nonsense in
        [&b"\0\0\0\0"[..], b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0xff; 70_000], b"\x16\x03\x01"]
    {
        let mut connection = Fragile::connect(server.api).unwrap();
        // It may be closed before all is sent.
        let _ = connection.send(nonsense);
        assert_eq!(server.update(&server.register(), &value(1)).status, 200);
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
