//! Resident memory of the real server with 0, 100,000 and 1,000,000 labels, a value each, and how long it takes from
//! its start until it answers.
//!
//! `cargo bench --bench memory`. The first run fills the stores, which takes minutes; they are kept in `target/tmp`.

#[path = "stand/acmezone.rs"]
mod acmezone_server;
#[path = "stand/mod.rs"]
mod stand;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use acmezone::zone::Name;

use acmezone_server::{Acmezone, ZONE};
use stand::labels::{self, ORIGIN};
use stand::median;
use stand::meter::{self, Resident};
use support::{Query, RawDns, Rtype, Subprocess};

const COUNTS: [u64; 3] = [0, 100_000, 1_000_000];
/// Starts with each store.
const RUNS: usize = 5;
const MIB: f64 = 1024.0 * 1024.0;

fn main() {
    println!("| labels | resident, MiB | of it anonymous, MiB | octets per label over bare data | start, s |");
    println!("|--:|--:|--:|--:|--:|");
    let mut empty = None;
    for count in COUNTS {
        let runs: Vec<(Resident, f64)> = (0..RUNS).map(|_| start(count)).collect();
        let middle = |of: &dyn Fn(&(Resident, f64)) -> f64| median(runs.iter().map(of).collect()).unwrap_or_default();
        let (all, anonymous) = (middle(&|run| run.0.all as f64), middle(&|run| run.0.anonymous as f64));
        let seconds = middle(&|run| run.1);
        let base = *empty.get_or_insert(all);
        let over = match count {
            0 => "–".to_owned(),
            _ => format!("{:.0}", (all - base) / count as f64 - bare_data()),
        };
        println!("| {count} | {:.1} | {:.1} | {over} | {seconds:.2} |", all / MIB, anonymous / MIB);
    }
    println!("\nbare data: {:.0} octets per label, the name in wire form and the value", bare_data());
}

fn bare_data() -> f64 {
    let name = Name::parse(&format!("{}.{ORIGIN}", labels::label(0))).expect("a name");
    (name.as_wire().len() + labels::value(0).len()) as f64
}

/// Starts the server on a copy of the store; its memory and the seconds until the first answer.
fn start(count: u64) -> (Resident, f64) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let prepared = Acmezone::prepare(folder.path(), count, ZONE);
    let server = RawDns::new(prepared.dns).timeout(Duration::from_millis(50));
    let (name, rtype) = match count {
        0 => (ORIGIN.to_owned(), Rtype::SOA),
        _ => (format!("{}.{ORIGIN}", labels::label(count - 1)), Rtype::TXT),
    };
    let query = Query::new(&name, rtype).bytes();
    let began = Instant::now();
    let mut process = Subprocess::start("acmezone", prepared.command);
    process.wait_until(Duration::from_secs(60), "an answer", || {
        server.udp(&query).filter(|answer| answer[3] & 15 == 0 && answer[6..8] == [0, 1])
    });
    let seconds = began.elapsed().as_secs_f64();
    (meter::resident(process.id()), seconds)
}
