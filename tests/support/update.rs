//! UPDATE messages (RFC 2136) as bytes, made by hand; and nsupdate and knsupdate with a script.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::raw_dns::wire_name;
use super::subprocess::{Finished, run};
use super::tools::debian;

pub const IN: u16 = 1;
pub const NONE: u16 = 254;
pub const ANY: u16 = 255;

/// The sections of an UPDATE, to be spoiled at will.
#[derive(Debug, Clone)]
pub struct Update {
    pub zone: Vec<u8>,
    pub zone_type: u16,
    pub zone_class: u16,
    pub prerequisites: Vec<Vec<u8>>,
    pub updates: Vec<Vec<u8>>,
    pub additionals: Vec<Vec<u8>>,
}

impl Update {
    pub fn new(zone: &str) -> Update {
        let zone = wire_name(zone);
        let [prerequisites, updates, additionals] = [const { Vec::new() }; 3];
        Update { zone, zone_type: 6, zone_class: IN, prerequisites, updates, additionals }
    }

    /// Adds a record to the prerequisite section.
    pub fn prerequisite(mut self, record: Vec<u8>) -> Update {
        self.prerequisites.push(record);
        self
    }

    /// Adds a record to the update section.
    pub fn update(mut self, record: Vec<u8>) -> Update {
        self.updates.push(record);
        self
    }

    /// Adds a TXT record to an RRset.
    pub fn add(self, name: &str, value: &str) -> Update {
        self.update(record(name, 16, IN, 120, &txt(value)))
    }

    /// Deletes a TXT record from an RRset.
    pub fn remove(self, name: &str, value: &str) -> Update {
        self.update(record(name, 16, NONE, 0, &txt(value)))
    }

    /// Deletes a TXT RRset.
    pub fn delete(self, name: &str) -> Update {
        self.update(record(name, 16, ANY, 0, b""))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let sections = [&self.prerequisites, &self.updates, &self.additionals];
        let mut bytes = (getrandom::u32().expect("random bits") as u16).to_be_bytes().to_vec();
        bytes.extend([5 << 3, 0, 0, 1]);
        sections.iter().for_each(|section| bytes.extend((section.len() as u16).to_be_bytes()));
        bytes.extend(&self.zone);
        bytes.extend(self.zone_type.to_be_bytes());
        bytes.extend(self.zone_class.to_be_bytes());
        bytes.extend(sections.iter().flat_map(|section| section.concat()));
        bytes
    }
}

/// A resource record; its names are not compressed.
pub fn record(name: &str, rtype: u16, class: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let length = (rdata.len() as u16).to_be_bytes();
    let (rtype, class, ttl) = (rtype.to_be_bytes(), class.to_be_bytes(), ttl.to_be_bytes());
    [&wire_name(name)[..], &rtype, &class, &ttl, &length, rdata].concat()
}

/// RDATA of a TXT record of one character-string.
pub fn txt(value: &str) -> Vec<u8> {
    [&[u8::try_from(value.len()).expect("one character-string")], value.as_bytes()].concat()
}

/// Runs `nsupdate` or `knsupdate` with these arguments and lines, sent by the last of them: `send`.
pub fn nsupdate(program: &str, server: SocketAddr, arguments: &[&str], lines: &[&str]) -> Finished {
    let mut script = tempfile::NamedTempFile::new().expect("a temporary file");
    let text = format!("server {} {}\n{}\nsend\n", server.ip(), server.port(), lines.join("\n"));
    script.write_all(text.as_bytes()).expect("the script can be written");
    let mut command = Command::new(debian(&format!("/usr/bin/{program}")));
    command.args(arguments).arg(script.path());
    run(program, command, Duration::from_secs(30))
}
