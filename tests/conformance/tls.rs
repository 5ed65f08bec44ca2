//! DNS over TLS (RFC 7858), judged by kdig and by rustls as a client.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::support::{Acmezone, Finished, Query, RawDns, Reply, Rtype, Subprocess, Tls, debian, free_port, run};
use crate::{ZONE, shipped, zone_table};

struct Dot {
    server: Acmezone,
    address: SocketAddr,
    tls: Tls,
}

/// The API speaks HTTPS here, so this waits for the server and holds it by itself. The process goes before its folder.
struct Running {
    process: Subprocess,
    dot: Dot,
}

impl std::ops::Deref for Running {
    type Target = Dot;

    fn deref(&self) -> &Dot {
        &self.dot
    }
}

/// Not started yet.
fn prepared() -> Dot {
    let server = Acmezone::prepare(&zone_table(ZONE, &shipped("auth.example.org.zone")));
    let (tls, address) = (Tls::new(&[]), SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
    let (certificate, key) = (tls.certificate_path(), tls.key_path());
    let text = std::fs::read_to_string(server.config()).unwrap();
    let text = text.replace("[dns]\n", &format!("[dns]\ntls_listen = [\"{address}\"]\n")).replace(
        "[api]\n",
        &format!(
            "[api]\ntls = {{ certificate = \"{}\", private_key = \"{}\" }}\n",
            certificate.display(),
            key.display()
        ),
    );
    std::fs::write(server.config(), text).unwrap();
    Dot { server, address, tls }
}

/// Returns when the first query is answered: then everything is there.
fn start(dot: Dot) -> Running {
    let mut process = Subprocess::start("acmezone", dot.server.command(&["serve"]));
    let dns = RawDns::new(dot.server.dns);
    let query = Query::new(ZONE, Rtype::SOA).bytes();
    process.wait_until(Duration::from_secs(10), "the server to answer", || dns.tcp(&query));
    Running { process, dot }
}

fn started() -> Running {
    start(prepared())
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Dot {
    fn connect(&self, protocols: &[&[u8]], versions: &[&'static SupportedProtocolVersion]) -> Stream {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.tls.root_path()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = "localhost".try_into().unwrap();
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
    }

    fn kdig(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(debian("/usr/bin/kdig"));
        command.arg(format!("@{}", self.address.ip())).args(["-p", &self.address.port().to_string()]);
        command.arg(format!("+tls-ca={}", self.tls.root_path().display())).arg("+tls-hostname=localhost");
        command.args(arguments);
        run("kdig", command, Duration::from_secs(20))
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

fn receive(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

#[test]
fn kdig_gets_its_answers_over_tls() {
    let dot = started();
    let text = dot.kdig(&["+tls", "+norecurse", ZONE, "SOA"]).expect_success().output();
    assert!(text.contains("NOERROR") && text.contains("TLS session (TLS1.3)"), "{text}");
    assert!(!text.to_ascii_lowercase().contains("warning"), "{text}");
    let text = dot.kdig(&["+tls", "+keepopen", "+short", ZONE, "NS", ZONE, "CAA"]).expect_success().output();
    assert!(text.contains("ns1.auth.example.org.") && text.contains("0 issue"), "{text}");
}

#[test]
fn tls_1_2_and_1_3_with_and_without_the_protocols_name() {
    let dot = started();
    for version in [&TLS12, &TLS13] {
        for (protocols, agreed) in
            [(&[][..], None), (&[&b"dot"[..]][..], Some(&b"dot"[..])), (&[&b"h2"[..], b"dot"], Some(b"dot"))]
        {
            let mut stream = dot.connect(protocols, &[version]);
            // RFC 7766 section 6.2.1.1: several at once, over TLS too.
            let octets: Vec<u8> =
                (1..=50).flat_map(|id| framed(&Query::new(ZONE, Rtype::SOA).id(id).bytes())).collect();
            stream.write_all(&octets).unwrap();
            for id in 1..=50 {
                let reply = Reply::parse(&receive(&mut stream).unwrap());
                assert!(reply.header.aa() && reply.header.id() == id);
            }
            assert_eq!(stream.conn.alpn_protocol(), agreed);
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
            // A goodbye is answered by a goodbye.
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    }
}

#[test]
fn answers_of_many_records_come_whole() {
    let dot = started();
    let name = "label.auth.example.org";
    dot.server.cli(&["account", "create", "--label", "label"]).expect_success();
    let values: Vec<String> = (0..64).map(crate::value).collect();
    let arguments = ["txt", "add", name].into_iter().chain(values.iter().map(String::as_str));
    dot.server.cli(&arguments.collect::<Vec<_>>()).expect_success();
    let mut stream = dot.connect(&[b"dot"], &[&TLS13]);
    for _ in 0..20 {
        stream.write_all(&framed(&Query::new(name, Rtype::TXT).bytes())).unwrap();
    }
    for _ in 0..20 {
        assert_eq!(Reply::parse(&receive(&mut stream).unwrap()).answer.len(), 64);
    }
}

#[test]
fn plain_tcp_on_the_port_of_tls_is_turned_away_at_once() {
    let dot = started();
    let query = framed(&Query::new(ZONE, Rtype::SOA).bytes());
    let mut stream = TcpStream::connect(dot.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    stream.write_all(&query).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an end, not a reset and not silence");
    // A TLS alert at most, no answer.
    assert!(rest.len() <= 7, "{rest:02x?}");
    // And TLS on the port of plain TCP: no answer either, and others are served.
    let text = {
        let mut command = Command::new(debian("/usr/bin/kdig"));
        command.arg(format!("@{}", dot.server.dns.ip())).args(["-p", &dot.server.dns.port().to_string()]);
        command.args(["+tls", "+time=1", "+retry=0", ZONE, "SOA"]);
        run("kdig", command, Duration::from_secs(30)).output()
    };
    assert!(!text.contains("NOERROR"), "{text}");
    assert!(RawDns::new(dot.server.dns).tcp(&Query::new(ZONE, Rtype::SOA).bytes()).is_some());
}

#[test]
fn who_never_shakes_hands_is_cut_off() {
    let dot = started();
    let mut stream = TcpStream::connect(dot.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    // The beginning of a handshake record.
    stream.write_all(&[0x16, 3, 1]).unwrap();
    let begun = std::time::Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!((4.0..9.0).contains(&begun.elapsed().as_secs_f64()), "after {:?}", begun.elapsed());
}

#[test]
fn a_stop_says_goodbye() {
    let mut dot = started();
    let mut stream = dot.connect(&[], &[&TLS13]);
    stream.write_all(&framed(&Query::new(ZONE, Rtype::SOA).bytes())).unwrap();
    receive(&mut stream).unwrap();
    let half = TcpStream::connect(dot.address).unwrap();
    dot.process.signal(libc::SIGTERM);
    assert_eq!(stream.read(&mut [0]).expect("close_notify"), 0);
    assert_eq!(dot.process.wait(Duration::from_secs(3)).code(), Some(0));
    drop(half);
}

#[test]
fn the_port_in_use_names_its_holder_and_the_status_names_the_port() {
    let dot = prepared();
    let holder = TcpListener::bind(dot.address).unwrap();
    let text = dot.server.cli(&["serve"]).expect_failure().output();
    let expected = format!("[dns] tls_listen: cannot listen on TCP {}: the port is in use by", dot.address);
    assert!(text.contains(&expected) && text.contains(&format!("process {}", std::process::id())), "{text}");
    drop(holder);
    let dot = start(dot);
    let text = dot.server.cli(&["status"]).expect_success().stdout;
    let line = text.lines().find_map(|line| line.strip_prefix("DNS over TLS:")).unwrap_or_default();
    assert_eq!(line.trim(), dot.address.to_string(), "{text}");
    let text = dot.server.cli(&["--json", "status"]).expect_success().stdout;
    assert!(text.contains(&format!("\"dns_tls\": [\n    \"{}\"", dot.address)), "{text}");
}
