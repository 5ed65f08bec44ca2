//! Durable updates per second: 64 connections to the update API at once, each sending its next update when the last one
//! got its 200, against the release binary on this machine.
//!
//! `cargo bench --bench updates`; seconds of load as the first argument (`-- 20`), 10 if left out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10);
    // Not below /tmp, which may be in memory: the point is a real disk.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the state");
    let (dns, api, admin) = (free_port(), free_port(), free_port());
    let _server = start(folder.path(), dns, api, admin);

    let started = Instant::now();
    let accounts: Vec<Account> = (0..CONNECTIONS).map(|_| register(api)).collect();
    println!(
        "{CONNECTIONS} accounts registered, {:.1} ms each",
        started.elapsed().as_secs_f64() * 1e3 / CONNECTIONS as f64
    );
    let stop = AtomicBool::new(false);
    let (updates, slowest) = (AtomicU64::new(0), AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for account in &accounts {
            let (stop, updates, slowest) = (&stop, &updates, &slowest);
            scope.spawn(move || {
                let mut connection = connect(api);
                let mut round = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    update(&mut connection, account, &format!("{round:043}"));
                    slowest.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
                    updates.fetch_add(1, Ordering::Relaxed);
                    round += 1;
                }
            });
        }
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
    });
    let elapsed = started.elapsed().as_secs_f64();
    let count = updates.load(Ordering::Relaxed);
    let rate = count as f64 / elapsed;
    println!("{count} durable updates in {elapsed:.1} s over {CONNECTIONS} connections: {rate:.0} per second");
    println!(
        "mean latency {:.1} ms, slowest {:.1} ms",
        CONNECTIONS as f64 / rate * 1e3,
        slowest.into_inner() as f64 / 1e3
    );
}

struct Account {
    username: String,
    password: String,
    subdomain: String,
}

/// A port that UDP and TCP are both free on.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
        let address = udp.local_addr().expect("its address");
        if std::net::TcpListener::bind(address).is_ok() {
            return address.port();
        }
    }
}

fn start(folder: &Path, dns: u16, api: u16, admin: u16) -> Server {
    let config = folder.join("acmezone.toml");
    let text = format!(
        "version = 1\ndata_dir = \"data\"\n[dns]\nlisten = [\"127.0.0.1:{dns}\"]\n[api]\nlisten = [\"127.0.0.1:{api}\"]\n\
         registration = \"open\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n[[zone]]\norigin = \"auth.example.org\"\n\
         nameservers = [\"ns1.example.org\"]\n"
    );
    std::fs::write(&config, text).expect("the configuration");
    let child = Command::new(env!("CARGO_BIN_EXE_acmezone"))
        .args(["serve", "--config"])
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .expect("the server");
    let server = Server(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", api)).is_err() {
        assert!(Instant::now() < deadline, "the server does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("the API");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    BufReader::new(stream)
}

/// Sends a request; status line and body of the answer.
fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> (String, String) {
    connection.get_mut().write_all(request.as_bytes()).expect("to send");
    let mut status = String::new();
    connection.read_line(&mut status).expect("a status line");
    let mut length = 0;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).expect("a header");
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).expect("a body");
    (status, String::from_utf8(body).expect("text"))
}

fn register(port: u16) -> Account {
    let (status, body) =
        exchange(&mut connect(port), "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert!(status.contains(" 201 "), "{status}{body}");
    let account: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let text = |key: &str| account[key].as_str().expect("a string").to_owned();
    Account { username: text("username"), password: text("password"), subdomain: text("subdomain") }
}

fn update(connection: &mut BufReader<TcpStream>, account: &Account, value: &str) {
    let body = format!("{{\"subdomain\":\"{}\",\"txt\":\"{value}\"}}", account.subdomain);
    let request = format!(
        "POST /update HTTP/1.1\r\nHost: localhost\r\nX-Api-User: {}\r\nX-Api-Key: {}\r\nContent-Length: {}\r\n\r\n{body}",
        account.username,
        account.password,
        body.len()
    );
    let (status, body) = exchange(connection, &request);
    assert!(status.contains(" 200 "), "{status}{body}");
}
