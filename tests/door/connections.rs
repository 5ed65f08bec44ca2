//! Connections to the API of the real server: PROXY headers, slow clients, and how many there may be.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::support::{Acmezone, Registered, Subprocess, Tls, poll};

const ZONE: &str = "[[zone]]\norigin = \"auth.example.org\"\nnameservers = [\"ns1.example.org\"]\n";
const TXT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_-";
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with these keys in [api]; returns when `health` is answered.
fn start(api: &str, health: impl Fn(SocketAddr) -> Option<String>) -> Acmezone {
    let mut server = Acmezone::prepare(ZONE);
    let text = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), text.replace("[api]\n", &format!("[api]\n{api}\n"))).unwrap();
    let mut process = Subprocess::start("acmezone", server.command(&["serve"]));
    process.wait_until(Duration::from_secs(10), "the server to answer", || health(server.api));
    server.hold(process);
    server
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes back until the server closes; `None` if nothing does.
fn answer(mut stream: impl Read) -> Option<String> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the server does not close"),
        // Octets that it did not read were on their way when it closed.
        Err(_) => {}
    }
    (!all.is_empty()).then(|| String::from_utf8(all).unwrap())
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A header of the PROXY protocol, version 2.
fn proxied(source: &str) -> Vec<u8> {
    let (family, addresses) = match source.parse::<IpAddr>().unwrap() {
        IpAddr::V4(source) => (0x11, [&source.octets()[..], &[10, 0, 0, 1]].concat()),
        IpAddr::V6(source) => (0x21, [source.octets(), [0; 16]].concat()),
    };
    let tlv = [0xea, 0, 3, 1, 2, 3];
    header(0x21, family, &[&addresses[..], &[0x12, 0x34, 1, 187], &tlv].concat())
}

fn local() -> Vec<u8> {
    header(0x20, 0, &[])
}

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn update(account: &Registered, forwarded: Option<&str>) -> Vec<u8> {
    let mut headers = account.headers().to_vec();
    headers.extend(forwarded.map(|address| ("X-Forwarded-For", address)));
    post("/update", &headers, &account.body(TXT))
}

fn register(answer: &str) -> Registered {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn the_address_of_a_proxy_v2_header_takes_the_place_of_the_connections() {
    let plain = |server, octets: &[u8]| {
        let mut stream = TcpStream::connect(server).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(octets);
        answer(stream)
    };
    let health = |server| plain(server, &[&local()[..], HEALTH].concat());
    let server = start("trusted_proxies = [\"127.0.0.1/32\", \"192.0.2.1/32\"]\nproxy_protocol = true", health);
    let send = |header: &[u8], request: &[u8]| plain(server.api, &[header, request].concat());

    let limited = post("/register", &[], r#"{"allowfrom":["10.0.0.0/8","2001:db8::/32"]}"#);
    let account = register(&send(&proxied("203.0.113.9"), &limited).unwrap());
    let cases = [
        (proxied("10.1.1.1"), None, 200),
        (proxied("2001:db8::1"), None, 200),
        (proxied("::ffff:10.1.1.1"), None, 200),
        (proxied("203.0.113.9"), None, 401),
        (local(), None, 401),
        // X-Forwarded-For counts if the address of the header is a trusted proxy.
        (proxied("203.0.113.9"), Some("10.1.1.1"), 401),
        (proxied("192.0.2.1"), Some("10.1.1.1"), 200),
        (proxied("192.0.2.1"), Some("10.1.1.1, 203.0.113.9"), 401),
        (local(), Some("10.1.1.1"), 200),
    ];
    for (number, (header, forwarded, expected)) in cases.iter().enumerate() {
        let answer = send(header, &update(&account, *forwarded)).unwrap();
        assert_eq!(status(&answer), *expected, "case {number}");
    }

    // Everything else is closed without a word.
    let mut other_peer = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other_peer.bind(&"127.0.0.2:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    other_peer.connect(&server.api.into()).unwrap();
    other_peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = other_peer.write_all(&[&proxied("10.1.1.1")[..], HEALTH].concat());
    assert_eq!(answer(other_peer), None);
    let bad: [&[u8]; 6] = [
        b"",
        b"PROXY TCP4 10.1.1.1 10.0.0.1 4660 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c\x0a\x01\x01\x01\x0a\0\0\x01\x12\x34\x01\xbb",
        &header(0x21, 0x12, &[0; 12]),
        &header(0x31, 0x11, &[0; 12]),
        &header(0x21, 0x11, &[0; 11]),
    ];
    for bad in bad {
        assert_eq!(send(bad, HEALTH), None, "{bad:?}");
    }
    let began = Instant::now();
    let mut unfinished = connect(server.api);
    unfinished.write_all(&header(0x21, 0x11, &[0; 12])[..20]).unwrap();
    assert_eq!(answer(unfinished), None);
    assert!((4..9).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let log = server.log();
    assert_eq!(log.matches("which has `proxy_protocol`").count(), 1, "{log}");
    assert!(health(server.api).is_some());
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// The API over TLS, and a client that trusts it.
fn with_tls(api: &str, before: &'static [u8]) -> (Acmezone, Tls, impl Fn(&[&[u8]]) -> Stream) {
    let tls = Tls::new(&[]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls.root_path()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let dial = move |server: SocketAddr, protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let mut stream = TcpStream::connect(server).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(before).unwrap();
        let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        Some(StreamOwned::new(connection, stream))
    };
    let files = format!(
        "tls = {{ certificate = \"{}\", private_key = \"{}\" }}\n{api}",
        tls.certificate_path().display(),
        tls.key_path().display()
    );
    let server = start(&files, |server| {
        let mut stream = dial(server, &[])?;
        stream.write_all(HEALTH).ok()?;
        answer(stream)
    });
    let address = server.api;
    (server, tls, move |protocols: &[&[u8]]| dial(address, protocols).unwrap())
}

#[test]
fn a_proxy_v2_header_comes_before_tls() {
    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x01\x01\x0a\0\0\x01\x12\x34\x01\xbb";
    let (server, _tls, dial) = with_tls("trusted_proxies = [\"127.0.0.0/8\"]\nproxy_protocol = true", HEADER);
    let send = |request: &[u8]| {
        let mut stream = dial(&[b"http/1.1"]);
        stream.write_all(request).unwrap();
        answer(stream).unwrap()
    };
    for (allowed, expected) in [("10.1.1.1/32", 200), ("127.0.0.0/8", 401)] {
        let account = register(&send(&post("/register", &[], &format!(r#"{{"allowfrom":["{allowed}"]}}"#))));
        assert_eq!(status(&send(&update(&account, None))), expected, "{allowed}");
    }
    let mut without = connect(server.api);
    let mut hello = Vec::new();
    let mut client = dial(&[]).conn;
    client.write_tls(&mut hello).unwrap();
    let _ = without.write_all(&hello);
    assert_eq!(answer(without), None);
}

/// A connection with little room in its buffers, and that does not wait for any.
fn narrow(server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// How long the server takes for a quick client, at most, while it is full of slow ones.
const QUICK: Duration = Duration::from_secs(2);

#[test]
fn no_connection_keeps_a_long_head_in_memory_rfc6585_5() {
    let health = |api| answer_to(api, HEALTH);
    let server = start("", health);
    for (octets, expected) in [(8 * 1024, 200), (300 * 1024, 431)] {
        let request =
            format!("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: {}\r\n\r\n", "x".repeat(octets));
        let said = answer_to(server.api, request.as_bytes());
        assert_eq!(said.as_deref().map(status), Some(expected), "{octets}");
    }
}

fn answer_to(server: SocketAddr, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may have refused it before its end.
    let _ = stream.write_all(request);
    answer(stream)
}

#[test]
fn slow_clients_hold_nobody_up_and_are_cut_off() {
    const EACH: usize = 150;
    let plain = |server| {
        let mut stream = TcpStream::connect(server).ok()?;
        stream.write_all(HEALTH).ok()?;
        answer(stream)
    };
    let server = start("", plain);
    let account = server.register();
    let whole = update(&account, None);
    let kinds: [(&str, &[u8]); 4] = [
        ("silent", b""),
        ("half a head", &whole[..40]),
        ("half a body", &whole[..whole.len() - 20]),
        ("idle after an answer", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ];
    let mut slow = Vec::new();
    for (kind, octets) in kinds {
        for _ in 0..EACH {
            let mut stream = connect(server.api);
            stream.write_all(octets).unwrap();
            slow.push((kind, stream));
        }
    }
    // Asks without end and never reads, until it can send no more.
    let one = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let many = one.repeat(100);
    let mut greedy: Vec<(TcpStream, usize)> = (0..10).map(|_| (narrow(server.api), 0)).collect();
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        for (stream, sent) in &mut greedy {
            if let Ok(more) = stream.write(&many[*sent % one.len()..]) {
                *sent += more;
                last = Instant::now();
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..20 {
        let began = Instant::now();
        let answer = server.update(&account, TXT);
        assert_eq!(answer.status, 200);
        assert!(began.elapsed() < QUICK, "{:?}", began.elapsed());
    }
    let began = Instant::now();
    for (kind, stream) in slow {
        let said = answer(stream);
        match kind {
            "half a body" => {
                let said = said.unwrap();
                assert!(status(&said) == 408 && said.ends_with("\r\n\r\n{\"error\": \"request_timeout\"}"), "{said}");
            }
            "idle after an answer" => assert_eq!(status(&said.unwrap()), 200),
            _ => assert_eq!(said, None, "{kind}"),
        }
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    for (mut stream, sent) in greedy {
        // It is reset, or shut down: either way no octet can be sent for long.
        poll(Duration::from_secs(25), "who never reads to be cut off", || {
            let cut_off =
                stream.write(&many[sent % one.len()..]).is_err_and(|error| error.kind() != ErrorKind::WouldBlock);
            cut_off.then_some(())
        });
    }
    assert_eq!(server.update(&account, TXT).status, 200);
}

#[test]
fn slow_handshakes_and_silent_http2_hold_nobody_up() {
    const EACH: usize = 100;
    let (server, _tls, dial) = with_tls("", b"");
    let mut stalled = Vec::new();
    for number in 0..2 * EACH {
        let mut hello = Vec::new();
        dial(&[b"h2"]).conn.write_tls(&mut hello).unwrap();
        let mut stream = connect(server.api);
        stream.write_all(&hello[..number % 2 * 100]).unwrap();
        stalled.push(stream);
    }
    // Through the handshake, and then nothing, or only the beginning of HTTP/2.
    let mut silent = Vec::new();
    for number in 0..EACH / 2 {
        let mut stream = dial(&[b"h2"]);
        stream.write_all(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"[..number % 2 * 23]).unwrap();
        stream.flush().unwrap();
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        silent.push(stream);
    }
    for _ in 0..10 {
        let began = Instant::now();
        let mut stream = dial(&[b"http/1.1"]);
        stream.write_all(HEALTH).unwrap();
        assert_eq!(status(&answer(stream).unwrap()), 200);
        assert!(began.elapsed() < QUICK, "{:?}", began.elapsed());
    }
    let began = Instant::now();
    for stream in stalled {
        assert_eq!(answer(stream), None);
    }
    for stream in silent {
        // What comes is TLS's: session tickets, and that it ends.
        let _ = stream.sock.try_clone().map(|mut raw| raw.read_to_end(&mut Vec::new()).expect("it is closed"));
    }
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[test]
fn when_all_places_are_taken_who_has_asked_nothing_for_the_longest_leaves() {
    let plain = |server| {
        let mut stream = TcpStream::connect(server).ok()?;
        stream.write_all(HEALTH).ok()?;
        answer(stream)
    };
    let server = start("connections = 10", plain);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).unwrap();
            all.extend(octet);
        }
    };
    let began = Instant::now();
    let mut connections: Vec<TcpStream> = (0..10).map(|_| connect(server.api)).collect();
    connections.iter_mut().for_each(ask);
    ask(&mut connections[0]);
    assert!(plain(server.api).is_some(), "a newcomer is served");
    assert_eq!(answer(&connections[1]), None);
    assert!(began.elapsed() < Duration::from_secs(4), "for its place, and not because it was idle");
    connections.remove(1);
    connections.iter_mut().for_each(ask);
}
