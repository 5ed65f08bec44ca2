//! How much the figure of the plain hit moves while the update API is busy.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::cases::Case;
use crate::load::{self, Sample};
use crate::servers::Server;
use crate::stand::fill::{Entry, KEY};
use crate::stand::{labels, median};
use crate::support::http::Http;

const PER_SECOND: f64 = 1000.0;
/// Connections, each with an account of its own.
const CONNECTIONS: u64 = 64;
/// Accounts with numbers above all those that are asked for.
const FIRST: u64 = 1 << 40;

/// What must be in the store for this.
pub fn entries() -> impl Iterator<Item = Entry> {
    (FIRST..FIRST + CONNECTIONS).map(Entry::numbered)
}

/// Runs in turn without and with updates, and prints both.
pub fn print(hit: &Case, acmezone: &Server, runs: usize, seconds: u64) {
    let (mut quiet, mut busy, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        eprintln!("run {} of {runs}: {}, without and with updates", run + 1, hit.name);
        quiet.push(load::run(hit, acmezone, seconds));
        let (sample, rate) = with_updates(acmezone.api, || load::run(hit, acmezone, seconds));
        busy.push(sample);
        rates.push(rate);
    }
    let rate = median(rates).unwrap_or_default();
    println!("\n{}, while {rate:.0} updates per second run ({PER_SECOND:.0} are wanted):\n", hit.name);
    println!("| µs CPU per query | without | with | with : without |");
    println!("|---|--:|--:|--:|");
    let line = |what: &str, of: &dyn Fn(&Sample) -> Option<f64>| {
        let middle = |samples: &[Sample]| median(samples.iter().filter_map(of).collect());
        let ratios = quiet.iter().zip(&busy).filter_map(|(quiet, busy)| Some(of(busy)? / of(quiet)?)).collect();
        if let (Some(quiet), Some(busy), Some(ratio)) = (middle(&quiet), middle(&busy), median(ratios)) {
            println!("| {what} | {quiet:.2} | {busy:.2} | {ratio:.3} |");
        }
    };
    line("threads that answer UDP", &|sample| sample.cpu_of_udp);
    line("whole process, updates included", &|sample| Some(sample.cpu));
}

/// Does `work` while values are put in; its result and the updates per second.
fn with_updates<T>(api: SocketAddr, work: impl FnOnce() -> T) -> (T, f64) {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || {
                let mut http = Http::connect(api);
                let (username, label) = (labels::username(FIRST + connection), labels::label(FIRST + connection));
                let username = username.to_string();
                let headers = [("X-Api-User", username.as_str()), ("X-Api-Key", KEY)];
                // Its turns come at fixed times, so that a slow answer does not slow the load down.
                for turn in (connection..).step_by(CONNECTIONS as usize) {
                    let due = start + Duration::from_secs_f64(turn as f64 / PER_SECOND);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // Always a new value: the sets are soon at their cap, as those of the worst accounts would be.
                    let value = labels::value(turn);
                    let body = format!("{{\"subdomain\":\"{label}\",\"txt\":\"{value}\"}}");
                    let answer = http.request("POST", "/update", &headers, body.as_bytes());
                    assert_eq!(answer.status, 200, "{answer:?}");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let result = work();
        stop.store(true, Ordering::Relaxed);
        (result, done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
    })
}
