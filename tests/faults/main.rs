//! What goes wrong around the server: the real process is killed, starved, started twice, and talked to by clients that
//! never finish.

mod clients;
mod crash;
mod disk;
mod start;
mod stop;

#[path = "../support/mod.rs"]
mod support;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::{Acmezone, Query, RawDns, Registered, Reply, Rtype};

const ZONE: &str = "auth.example.org";
/// How soon a server that cannot start must have said so.
const AT_ONCE: Duration = Duration::from_secs(5);

fn zone_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("zones/auth.example.org.zone")
}

fn zone_table(file: &Path) -> String {
    format!("[[zone]]\norigin = \"{ZONE}\"\nfile = \"{}\"\n", file.display())
}

/// A server with the zone of the quick start, not started.
fn prepared() -> Acmezone {
    Acmezone::prepare(&zone_table(&zone_file()))
}

fn started() -> Acmezone {
    Acmezone::start(&zone_table(&zone_file()))
}

fn data_dir(server: &Acmezone) -> PathBuf {
    server.folder().join("data")
}

/// A value of the form that DNS-01 has: 43 characters.
fn value(number: usize) -> String {
    format!("{number:0>43}")
}

#[track_caller]
fn ask(server: &Acmezone, name: &str, rtype: Rtype) -> Reply {
    let query = Query::new(name, rtype).edns(1232).bytes();
    Reply::parse(&RawDns::new(server.dns).tcp(&query).expect("an answer"))
}

#[track_caller]
fn txt(server: &Acmezone, account: &Registered) -> Vec<String> {
    ask(server, &account.fulldomain, Rtype::TXT).txt_values()
}

#[track_caller]
fn serial(server: &Acmezone) -> u32 {
    let soa = ask(server, ZONE, Rtype::SOA).answer[0].rdata.clone();
    soa.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// A line of /proc/PID/status that counts kB: `VmRSS`.
fn memory(server: &mut Acmezone, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process().id())).unwrap();
    let figure = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':')).unwrap();
    figure.trim().trim_end_matches(" kB").parse().unwrap()
}

/// An HTTP connection to a server that may die at any moment.
struct Fragile(BufReader<TcpStream>);

impl Fragile {
    fn connect(server: SocketAddr) -> io::Result<Fragile> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Fragile(BufReader::new(stream)))
    }

    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(octets)
    }

    /// Status and body.
    fn receive(&mut self) -> io::Result<(u16, String)> {
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(ended());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if status.is_none() {
                status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
            } else if let Some(figure) = line.strip_prefix("content-length:") {
                length = figure.trim().parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status.ok_or_else(ended)?, String::from_utf8(body).unwrap()))
    }

    fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<(u16, String)> {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.send((head + body).as_bytes())?;
        self.receive()
    }

    fn register(&mut self) -> io::Result<Registered> {
        let (status, body) = self.post("/register", &[], "")?;
        assert_eq!(status, 201, "{body}");
        Ok(serde_json::from_str(&body).unwrap())
    }

    fn update(&mut self, account: &Registered, value: &str) -> io::Result<(u16, String)> {
        self.post("/update", &account.headers(), &account.body(value))
    }
}
