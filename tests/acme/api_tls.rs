//! The API's own certificate: obtained through our own zone before anybody can connect, and renewed without a restart.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::process::Command;
use std::time::Duration;

use acmezone::api::{CertificateState, Progress};
use acmezone::client::Client;
use acmezone::config::{ApiTls, Config};
use acmezone::server::Server;
use socket2::{Domain, SockRef, Socket, Type};

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, PATIENCE, Running};
use crate::support::http::Http;
use crate::support::{
    PebbleVersion, Query, RawDns, Reply, Rtype, TlsStream, debian, free_port, poll_async, run, serial_shown,
    tls_connect,
};

const HOST: &str = "api.auth.acme.test";
const UNAVAILABLE: Fault =
    Fault::Answer { status: 503, content_type: "text/html", retry_after: "1", body: "<h1>Down</h1>" };

/// HTTPS and DNS over TLS with the certificate `site` of the ACME client.
async fn serve(house: &House, ca: &Ca, names: &[&str], ports: [u16; 2]) -> Running {
    let [api, dot] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let file = house.configure(ca, names);
    let text = std::fs::read_to_string(&file).unwrap();
    let dns = format!("[dns]\ntls_listen = [\"{dot}\"]\n");
    let tables = format!("[api]\nlisten = [\"{api}\"]\nhostname = \"{HOST}\"\ntls = \"acme\"\n");
    std::fs::write(&file, text.replace("[dns]\n", &dns) + &tables).unwrap();
    let config = Config::read(&file).unwrap();
    assert_eq!(config.api.tls, Some(ApiTls::Acme { certificate: "site".into() }));
    assert_eq!(config.api.base_url(), Some(format!("https://{HOST}:{}", api.port())));
    let handle = Server::start(config.clone()).await.unwrap();
    assert_eq!((&handle.addresses().api, &handle.addresses().dns_tls), (&vec![api], &vec![dot]));
    Running { handle, client: Client::new(&config).unwrap() }
}

async fn done(server: &Running, renew: bool) -> String {
    let lines = server.issue(renew).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    server.show().await.serial.unwrap()
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

async fn waits_for(server: &Running) -> Option<String> {
    server.client.status().await.unwrap().api_waits_for
}

fn health(http: &mut Http<TlsStream>) -> u16 {
    http.request("GET", "/health", &[], b"").status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_listens_when_its_certificate_is_there_and_shows_each_new_one() {
    let house = House::new();
    // Its certificates have a subject: kdig 3.2 shakes no hands with a server whose has none.
    let pebble = house.pebble(PebbleVersion::Debian240).start();
    let root = pebble.issuance_root_pem();
    let faulty = FaultyCa::before(&pebble);
    faulty.fail("/", UNAVAILABLE);
    let (ca, names, ports) = (faulty.ca(), [HOST], [free_port(), free_port()]);
    let server = serve(&house, &ca, &names, ports).await;
    let (api, dot) = (server.handle.addresses().api[0], server.handle.addresses().dns_tls[0]);
    let dns = server.handle.addresses().dns[0];

    // Refused rather than left waiting; the ports are ours; everything else is served.
    for address in [api, dot] {
        assert!(refuses(address), "{address}");
        assert!(TcpListener::bind(address).is_err(), "{address}");
    }
    assert_eq!(waits_for(&server).await.as_deref(), Some("site"));
    let reply = RawDns::new(dns).udp(&Query::new("auth.acme.test", Rtype::SOA).bytes());
    assert!(Reply::parse(&reply.expect("an answer")).header.aa());
    let listed = cli_status(&house);
    assert!(listed.contains(&format!("{api}: waiting for its certificate, see `acmezone cert show site`")), "{listed}");

    // The attempt of the start is over: it is not what is followed now.
    server.wait_for(CertificateState::Failed).await;
    faulty.heal();
    let first = done(&server, false).await;
    let connect = |address| tls_connect(address, &root, HOST);
    let stream = poll_async(PATIENCE, "HTTPS", || async { connect(api).ok() }).await;
    assert_eq!(serial_shown(&stream), first);
    assert_eq!(waits_for(&server).await, None);
    assert!(!cli_status(&house).contains("waiting"));
    let mut open = Http::over(stream);
    assert_eq!(health(&mut open), 200);
    let other = tls_connect(api, &root, "other.auth.acme.test").unwrap_err();
    assert!(other.to_string().contains("not valid for name"), "{other}");
    let stream = poll_async(PATIENCE, "DNS over TLS", || async { connect(dot).ok() }).await;
    assert_eq!(serial_shown(&stream), first);
    kdig(&house, dot, &root);

    // A new one is shown to who comes next; who is there goes on.
    let second = done(&server, true).await;
    assert_ne!(first, second);
    for address in [api, dot] {
        let shown = || async { (serial_shown(&connect(address).unwrap()) == second).then_some(()) };
        poll_async(PATIENCE, "the new certificate", shown).await;
    }
    assert_eq!(health(&mut open), 200);
    server.handle.stop().await;

    // What is in the store is enough.
    faulty.fail("/", UNAVAILABLE);
    let server = serve(&house, &ca, &names, ports).await;
    for address in [api, dot] {
        assert_eq!(serial_shown(&connect(address).unwrap()), second);
    }
    assert_eq!(waits_for(&server).await, None);
    server.handle.stop().await;
}

/// A second socket that listens on an address which the server has bound and does not listen on yet. The system lets
/// nobody do that; here the server's own socket is made to share.
fn intrude(address: SocketAddr) -> Socket {
    for file in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Some(number) = file.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // SAFETY: it is used at once; should it be closed meanwhile, an error is all that comes of it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let socket = SockRef::from(&descriptor);
        if socket.local_addr().is_ok_and(|local| local.as_socket() == Some(address)) {
            socket.set_reuse_address(true).unwrap();
        }
    }
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.set_reuse_address(true).unwrap();
    other.bind(&address.into()).unwrap();
    other.listen(1).unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_else_has_when_the_certificate_comes_is_told_and_tried_again() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let faulty = FaultyCa::before(&pebble);
    faulty.fail("/", UNAVAILABLE);
    let server = serve(&house, &faulty.ca(), &[HOST], [free_port(), free_port()]).await;
    let (api, dot) = (server.handle.addresses().api[0], server.handle.addresses().dns_tls[0]);
    let other = intrude(api);
    server.wait_for(CertificateState::Failed).await;
    faulty.heal();
    let serial = done(&server, false).await;

    let problem = poll_async(PATIENCE, "the problem", || async { server.client.status().await.unwrap().api_problem });
    let problem = problem.await;
    assert!(problem.contains(&api.to_string()) && problem.contains("in use"), "{problem}");
    assert_eq!(waits_for(&server).await, None);
    assert!(cli_status(&house).contains(&problem), "{problem}");
    // The other address does not wait for this one.
    let root = pebble.issuance_root_pem();
    let connect = |address| tls_connect(address, &root, HOST);
    assert_eq!(serial_shown(&connect(dot).unwrap()), serial);

    drop(other);
    let stream = poll_async(PATIENCE, "HTTPS", || async { connect(api).ok() }).await;
    assert_eq!(serial_shown(&stream), serial);
    poll_async(PATIENCE, "no problem", || async {
        server.client.status().await.unwrap().api_problem.is_none().then_some(())
    })
    .await;
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_host_is_none() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let faulty = FaultyCa::before(&pebble);
    let ca = faulty.ca();
    let server = house.serve(&ca, &["former.auth.acme.test"]).await;
    done(&server, false).await;
    server.handle.stop().await;

    faulty.fail("/", UNAVAILABLE);
    let server = serve(&house, &ca, &[HOST], [free_port(), free_port()]).await;
    let api = server.handle.addresses().api[0];
    assert!(refuses(api));
    assert_eq!(waits_for(&server).await.as_deref(), Some("site"));
    poll_async(PATIENCE, "the attempt of the start to fail", || async {
        let status = server.show().await;
        (status.last_error.is_some() && status.next_attempt.is_some()).then_some(())
    })
    .await;
    faulty.heal();
    let serial = done(&server, false).await;
    let root = pebble.issuance_root_pem();
    let stream = poll_async(PATIENCE, "HTTPS", || async { tls_connect(api, &root, HOST).ok() }).await;
    assert_eq!(serial_shown(&stream), serial);
    server.handle.stop().await;
}

/// A server that stops while it waits is gone at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_certificate() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::down(&pebble.root_pem_path());
    let server = serve(&house, &ca, &[HOST], [free_port(), free_port()]).await;
    let api = server.handle.addresses().api[0];
    tokio::time::timeout(Duration::from_secs(5), server.handle.stop()).await.expect("it ends");
    TcpListener::bind(api).expect("the port is free");
}

fn cli_status(house: &House) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
    command.args(["status", "--config"]).arg(house.folder.path().join("acmezone.toml"));
    run("acmezone", command, Duration::from_secs(20)).expect_success().stdout
}

/// The chain is verified for the host name.
fn kdig(house: &House, dot: SocketAddr, root: &str) {
    let file = house.folder.path().join("root.pem");
    std::fs::write(&file, root).unwrap();
    let mut command = Command::new(debian("/usr/bin/kdig"));
    command.arg(format!("@{}", dot.ip())).args(["-p", &dot.port().to_string()]);
    command.arg(format!("+tls-ca={}", file.display())).arg(format!("+tls-hostname={HOST}"));
    command.args(["+tls", "+norecurse", "auth.acme.test", "SOA"]);
    let text = run("kdig", command, Duration::from_secs(20)).expect_success().output();
    assert!(text.contains("NOERROR") && !text.to_ascii_lowercase().contains("warning"), "{text}");
}
