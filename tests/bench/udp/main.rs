//! CPU per answered query and queries per second, over UDP and TCP: acmezone beside NSD, Knot, hickory-dns (where it is
//! installed), and a bare echo, which shows what the kernel alone costs. `README.md` beside this folder says more.
//!
//! `cargo bench --bench udp`; after `--`: `--seconds N` of each run (3), `--runs N` (5), `--only WORD` in the name of a
//! case, `--quick` (one run of one second, to see that everything works).

mod amplification;
mod cases;
mod echo;
mod load;
mod servers;
mod table;
mod updates;

#[path = "../stand/acmezone.rs"]
mod acmezone_server;
#[path = "../stand/mod.rs"]
mod stand;
#[path = "../../support/mod.rs"]
mod support;

use std::time::Duration;

use cases::{Case, Transport};
use load::Sample;
use servers::Server;
use stand::meter;

/// The core of the server that is measured; the load comes from the other one.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

struct Options {
    seconds: u64,
    runs: usize,
    only: String,
}

impl Options {
    fn read() -> Options {
        let mut options = Options { seconds: 3, runs: 5, only: String::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut next = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value"));
            match argument.as_str() {
                "--seconds" => options.seconds = next().parse().expect("a number of seconds"),
                "--runs" => options.runs = next().parse().expect("a number of runs"),
                "--only" => options.only = next(),
                "--quick" => (options.seconds, options.runs) = (1, 1),
                "--bench" => {} // cargo says it to every benchmark
                other => panic!("{other}: no such option"),
            }
        }
        options
    }
}

fn main() {
    if let [_, mode, port, size] = &std::env::args().collect::<Vec<_>>()[..]
        && mode == echo::MODE
    {
        echo::serve(port.parse().expect("a port"), size.parse().expect("a size"));
    }
    let options = Options::read();
    meter::pin(LOAD_CORE).expect("two cores: one for the server, one for the load");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let cases: Vec<Case> = cases::all(folder.path()).into_iter().filter(|case| case.is(&options.only)).collect();
    let servers = servers::all(folder.path());
    let echoes: Vec<Option<Server>> = cases.iter().map(|case| echo_for(case, &servers[0])).collect();

    // samples[case][server][run]; the last server is the echo
    let mut samples: Vec<Vec<Vec<Sample>>> = vec![vec![Vec::new(); servers.len() + 1]; cases.len()];
    for run in 0..options.runs {
        for (case, (samples, echo)) in cases.iter().zip(samples.iter_mut().zip(&echoes)) {
            for (server, samples) in servers.iter().chain(echo).zip(samples) {
                eprintln!("run {} of {}: {}, {}", run + 1, options.runs, case.name, server.name);
                samples.push(load::run(case, server, options.seconds));
            }
        }
    }
    let mut names: Vec<&str> = servers.iter().map(|server| server.name).collect();
    names.push(echo::NAME);
    table::print(&cases, &names, &samples);
    if let Some(hit) = cases.first().filter(|case| case.name == cases::PLAIN_HIT) {
        updates::print(hit, &servers[0], options.runs, options.seconds);
    }
    if options.only.is_empty() {
        amplification::print(&servers[0]);
    }
}

/// An echo whose replies have the size of acmezone's answers to this case; there is none for TCP.
fn echo_for(case: &Case, acmezone: &Server) -> Option<Server> {
    if case.transport == Transport::Tcp {
        return None;
    }
    let server = support::RawDns::new(acmezone.address).timeout(Duration::from_secs(2));
    let answer = server.udp(&case.example).expect("acmezone answers");
    Some(echo::start(answer.len()))
}
