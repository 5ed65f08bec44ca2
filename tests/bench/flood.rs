//! A server flooded with everything that a stranger can send, from eight sources at once and as fast as loopback takes
//! it, while values are updated; then from forged addresses, with the rate limit. Fails if the process grows by 5 MB, if
//! the 99th percentile of the updates is not below 50 ms, if anything panics, or if the log is written to for it.
//!
//! `cargo bench --bench flood`; seconds of the flood as the first argument (`-- 10`), 60 if left out. The senders share
//! the cores with the server, and so does whatever else runs on the machine: the part without a flood, before, says what
//! an update takes by itself.

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use support::Acmezone;
use support::flood::{Flooded, Sources, flood};

const ZONE: &str = "auth.example.org";
const WARM_UP: Duration = Duration::from_secs(3);
/// Of the parts without a flood, and with forged addresses.
const QUIET: Duration = Duration::from_secs(5);
const FORGED: Duration = Duration::from_secs(10);
/// kB.
const GROWTH: u64 = 5 * 1024;
const LATENCY: Duration = Duration::from_millis(50);

fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(60);
    run("", Sources::Nobody, QUIET);
    let eight = run("", Sources::Eight, Duration::from_secs(seconds));
    let forged = run("[dns.rate_limit]\nexempt = []\n", Sources::Forged, FORGED.min(Duration::from_secs(seconds)));
    for (what, flooded) in [("eight sources", eight), ("forged sources", forged)] {
        let p99 = flooded.percentile(99);
        assert!(flooded.growth() < GROWTH, "{what}: grown by {} kB", flooded.growth());
        assert!(p99 < LATENCY, "{what}: updates took up to {p99:?}");
        // One about the queue of rare messages every 30 seconds, one about the network that is limited.
        let lines = 2 * (1 + flooded.time.as_secs() / 30);
        assert!(flooded.lines as u64 <= lines, "{what}: {} lines in the log", flooded.lines);
    }
}

fn run(tables: &str, sources: Sources, time: Duration) -> Flooded {
    let zone = format!("[[zone]]\norigin = \"{ZONE}\"\nnameservers = [\"ns1.example.org\"]\n");
    let mut server = Acmezone::start(&format!("{tables}{zone}"));
    let flooded = flood(&mut server, ZONE, sources, WARM_UP, time);
    let seconds = flooded.time.as_secs_f64();
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    println!("## {sources:?}, {seconds:.0} s\n");
    println!(
        "packets: {:.0} a second sent, {:.0} taken",
        flooded.sent as f64 / seconds,
        flooded.taken() as f64 / seconds
    );
    println!("resident: {} kB after the warm-up, at most {} afterwards", flooded.resident.0, flooded.resident.1);
    println!(
        "updates: {} ({:.0} a second), p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms",
        flooded.updates.len(),
        flooded.updates.len() as f64 / seconds,
        millis(flooded.percentile(50)),
        millis(flooded.percentile(99)),
        millis(flooded.percentile(100)),
    );
    println!("log: {} lines", flooded.lines);
    println!("{}", server.cli(&["status"]).expect_success().stdout);
    assert!(server.process().is_running());
    assert!(!server.log().contains("panicked") && !server.log().contains("please report"), "{}", server.log());
    flooded
}
