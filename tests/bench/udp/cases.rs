//! The queries: what is asked, how, and what must come back.

use std::fs;
use std::path::{Path, PathBuf};

use crate::stand::labels::{self, ORIGIN};
use crate::support::{Query, Rtype};

/// Names in the zone, and queries in each file.
pub const NAMES: u64 = 100_000;

pub const PLAIN_HIT: &str = "UDP: TXT hit";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// One kind of query.
pub struct Case {
    pub name: &'static str,
    pub transport: Transport,
    /// Whether queries have EDNS with DO.
    pub edns: bool,
    /// The response code that every answer must have.
    pub rcode: &'static str,
    /// Queries in dnsperf's form.
    pub file: PathBuf,
    /// One of them, as octets.
    pub example: Vec<u8>,
}

impl Case {
    /// Whether the name of the case has this word in it; all have the empty one.
    pub fn is(&self, word: &str) -> bool {
        self.name.to_lowercase().contains(&word.to_lowercase())
    }
}

/// All cases, with their query files written into `folder`.
pub fn all(folder: &Path) -> Vec<Case> {
    let known = |number| format!("{}.{ORIGIN}", labels::label(number));
    let mixed = |number| labels::mixed_case(&known(number), number);
    let unknown = |number| format!("{}.{ORIGIN}", labels::stranger(number));
    let file = |name: &str, line: &dyn Fn(u64) -> String| {
        let path = folder.join(name);
        let lines: String = labels::shuffled(NAMES).into_iter().map(|number| line(number) + "\n").collect();
        fs::write(&path, lines).expect("the queries can be written");
        path
    };
    let hit = file("hit", &|number| known(number) + " TXT");
    let hit_0x20 = file("hit-0x20", &|number| mixed(number) + " TXT");
    let nxdomain = file("nxdomain", &|number| unknown(number) + " TXT");
    let nodata = file("nodata", &|number| known(number) + " A");
    let kinds = [
        ([PLAIN_HIT, "TCP: TXT hit"], false, "NOERROR", hit, Query::new(&known(0), Rtype::TXT)),
        (
            ["UDP: TXT hit, EDNS+DO, 0x20", "TCP: TXT hit, EDNS+DO, 0x20"],
            true,
            "NOERROR",
            hit_0x20,
            Query::new(&mixed(0), Rtype::TXT).edns(4096).dnssec_ok(),
        ),
        (["UDP: NXDOMAIN", "TCP: NXDOMAIN"], false, "NXDOMAIN", nxdomain, Query::new(&unknown(0), Rtype::TXT)),
        (["UDP: NODATA", "TCP: NODATA"], false, "NOERROR", nodata, Query::new(&known(0), Rtype::A)),
    ];
    let mut cases = Vec::new();
    for (index, transport) in [Transport::Udp, Transport::Tcp].into_iter().enumerate() {
        for (names, edns, rcode, file, query) in &kinds {
            let (edns, rcode, file) = (*edns, *rcode, file.clone());
            cases.push(Case { name: names[index], transport, edns, rcode, file, example: query.bytes() });
        }
    }
    cases
}
