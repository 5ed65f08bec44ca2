//! What the server says on the wire: the real process, raw octets in, judged by another implementation.

mod battery;
mod beside_nsd;
mod connections;
mod cookies;
mod discovery;
mod edns;
mod keys;
mod lookup;
mod malformed;
mod names;
mod negative;
mod shadow;
mod signatures;
mod signatures_malformed;
mod size;
mod stream;
mod text;
mod tls;
mod update;
mod update_malformed;
mod validation;
mod visible;
mod wildcards;
mod zones;

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use support::{Acmezone, Query, RawDns, Record, Reply, Rtype, judge};

/// The zone of the quick start.
const ZONE: &str = "auth.example.org";

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Via {
    Udp,
    Tcp,
}

const BOTH: [Via; 2] = [Via::Udp, Via::Tcp];

/// A server with the zone of the quick start.
fn quick_start() -> Acmezone {
    Acmezone::start(&zone_table(ZONE, &shipped("auth.example.org.zone")))
}

/// A zone file that comes with the source.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("zones").join(name)
}

fn zone_table(origin: &str, file: &Path) -> String {
    format!("[[zone]]\norigin = \"{origin}\"\nfile = \"{}\"\n", file.display())
}

/// A server of these zones, given as origin and master-file text, with these keys in `[dns]`.
fn serving(keys: &str, zones: &[(&str, &str)]) -> Acmezone {
    let mut server = Acmezone::prepare("");
    let mut tables = String::new();
    for (origin, text) in zones {
        let file = server.folder().join(format!("{origin}.zone"));
        std::fs::write(&file, text).unwrap();
        tables += &zone_table(origin, &file);
    }
    server.configure(&tables);
    let text = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), text.replace("[dns]\n", &format!("[dns]\n{keys}\n"))).unwrap();
    server.restart();
    server
}

fn dns(server: &Acmezone) -> RawDns {
    RawDns::new(server.dns)
}

/// The octets that come back for a message.
#[track_caller]
fn exchange(server: &Acmezone, via: Via, message: &[u8]) -> Vec<u8> {
    let reply = match via {
        Via::Udp => dns(server).udp(message),
        Via::Tcp => dns(server).tcp(message),
    };
    reply.unwrap_or_else(|| panic!("no answer over {via:?} to {message:02x?}"))
}

#[track_caller]
fn ask(server: &Acmezone, via: Via, query: &Query) -> Reply {
    let reply = Reply::parse(&exchange(server, via, &query.bytes()));
    assert_eq!(reply.header.id(), query.id);
    reply
}

/// What the domain crate reads, and dig over UDP, kdig over TCP.
#[track_caller]
fn judged(server: &Acmezone, via: Via, name: &str, rtype: Rtype) -> Reply {
    judge(server.dns, via == Via::Tcp, name, rtype).reply
}

/// `owner ttl type rdata` of each record, sorted.
fn lines(section: &[Record]) -> Vec<String> {
    let line = |record: &Record| format!("{} {} {} {}", record.name, record.ttl, record.rtype, record.rdata);
    let mut lines: Vec<_> = section.iter().map(line).collect();
    lines.sort();
    lines
}

/// A value of the form that DNS-01 has: 43 characters.
fn value(number: usize) -> String {
    format!("{number:0>43}")
}
