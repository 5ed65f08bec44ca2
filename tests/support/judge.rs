//! One question put to a server by dig or kdig, and by us with the domain crate: both must read the same answer.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use domain::base::iana::Rtype;

use super::raw_dns::{Query, RawDns, wire_name};
use super::reply::{Record, Reply};
use super::subprocess::run;
use super::tools::debian;

/// An answer as far as it does not depend on who has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    pub rcode: String,
    pub aa: bool,
    pub tc: bool,
    /// Answer, authority, additional without OPT; each sorted.
    pub sections: [Vec<Said>; 3],
}

/// A record: owner in wire form, TTL, type, RDATA with names uncompressed.
pub type Said = (Vec<u8>, u32, u16, Vec<u8>);

/// What was read, and what the program printed.
pub struct Judged {
    pub reply: Reply,
    pub printed: String,
}

/// Asks with EDNS of 1232 octets: over UDP with dig, over TCP with kdig. `name` may have escapes. Panics if the readings
/// differ.
#[track_caller]
pub fn judge(server: SocketAddr, tcp: bool, name: &str, rtype: Rtype) -> Judged {
    let query = Query::new(name, rtype).edns(1232).bytes();
    let raw = RawDns::new(server);
    let octets = if tcp { raw.tcp(&query) } else { raw.udp(&query) };
    let reply = Reply::parse(&octets.unwrap_or_else(|| panic!("no answer for {name} {rtype}")));
    let meaning = Meaning::of(&reply);
    let rtype = format!("TYPE{}", rtype.to_int());
    let (program, own): (_, &[&str]) =
        if tcp { ("kdig", &["+tcp", "+generic"]) } else { ("dig", &["+notcp", "+nocookie", "+unknownformat"]) };
    let mut command = Command::new(debian(&format!("/usr/bin/{program}")));
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]);
    command.args(["+norecurse", "+edns=0", "+bufsize=1232", "+ignore"]).args(own).args(["-q", name, "-t", &rtype]);
    let printed = run(program, command, Duration::from_secs(20)).expect_success().output();
    assert_eq!(Meaning::printed(&printed), meaning, "{name} {rtype}: {program} reads it differently:\n{printed}");
    Judged { reply, printed }
}

impl Meaning {
    pub fn of(reply: &Reply) -> Meaning {
        let said =
            |record: &Record| (wire_name(&record.name), record.ttl, record.rtype.to_int(), record.octets.clone());
        Meaning {
            rcode: rcode(reply.rcode.to_int()).to_owned(),
            aa: reply.header.aa(),
            tc: reply.header.tc(),
            sections: [&reply.answer, &reply.authority, &reply.additional].map(|section| {
                let mut section: Vec<_> = section.iter().map(said).collect();
                section.sort();
                section
            }),
        }
    }

    /// What dig or kdig printed, RDATA as of unknown types (RFC 3597 section 5).
    fn printed(text: &str) -> Meaning {
        let mut meaning = Meaning { rcode: String::new(), aa: false, tc: false, sections: Default::default() };
        let mut section = None;
        for line in text.lines() {
            if let Some((_, status)) = line.split_once("status: ") {
                meaning.rcode = status.split([',', ';']).next().unwrap_or_default().to_owned();
            } else if line.to_ascii_lowercase().starts_with(";; flags:") {
                let flags: Vec<_> = line.split([':', ';']).nth(3).unwrap_or_default().split_whitespace().collect();
                (meaning.aa, meaning.tc) = (flags.contains(&"aa"), flags.contains(&"tc"));
            } else if let Some(title) = line.strip_prefix(";; ").and_then(|line| line.strip_suffix(" SECTION:")) {
                section = ["ANSWER", "AUTHORITY", "ADDITIONAL"].iter().position(|section| *section == title);
            } else if let (Some(section), false) = (section, line.starts_with(';') || line.is_empty()) {
                meaning.sections[section].push(printed_record(line));
            }
        }
        meaning.sections.iter_mut().for_each(|section| section.sort());
        meaning
    }
}

fn printed_record(line: &str) -> Said {
    let words: Vec<_> = line.split_whitespace().collect();
    let [owner, ttl, _class, rtype, "\\#", length, hex @ ..] = &words[..] else { panic!("no record: {line}") };
    let hex = hex.concat();
    let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    let rdata: Vec<u8> = (0..hex.len()).step_by(2).map(octet).collect();
    assert_eq!(length.parse(), Ok(rdata.len()), "{line}");
    let rtype = rtype.strip_prefix("TYPE").and_then(|number| number.parse().ok());
    (wire_name(owner), ttl.parse().expect("a TTL"), rtype.expect("a type by number"), rdata)
}

fn rcode(number: u16) -> &'static str {
    match number {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        other => panic!("RCODE {other}"),
    }
}
