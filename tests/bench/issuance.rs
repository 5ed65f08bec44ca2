//! 200 certificates, each for a domain and everything below it, that are all due at once: how long it takes until the
//! last file is there, and who has used how much CPU time for it, Pebble 2.10.1 behind Unbound being the CA, with the
//! parent zone on NSD. Fails if one is not issued, if a value is left in the DNS, or if we use 10 ms of CPU or more per
//! certificate.
//!
//! `cargo bench --bench issuance`; `-- 1000` for another number of certificates.

#[path = "../acme/crowd.rs"]
mod crowd;
#[allow(dead_code)]
#[path = "../acme/house.rs"]
mod house;
#[path = "stand/mod.rs"]
mod stand;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use acmezone::client::Client;
use acmezone::config::Config;

use crowd::{certificates, check_files, names, own};
use house::{Ca, House, start_binary};
use stand::median;
use stand::meter::cpu_of_group;
use support::{PebbleVersion, Subprocess};

const CERTIFICATES: usize = 200;
/// Orders at the same time, as configured by default. With more, Pebble 2.10.1 locks itself up now and then: of an
/// authorization and its store it takes the locks in both orders.
const ORDERS: [usize; 1] = [4];
/// Seconds of CPU time per certificate.
const GOAL: f64 = 0.010;
/// What all together may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// What the log says of each certificate, in this order, and what has happened since the line before.
const PHASES: [(&str, &str); 7] = [
    ("_acme-challenge.", "begun"),
    ("ordered ", "delegation, CAA, order"),
    ("published a value", "authorizations, value in the store"),
    ("asked the CA to validate", "self-check, challenges"),
    ("the CA has validated", "validation by the CA"),
    ("certificate issued", "issuance by the CA, download, check"),
    ("PEM files written", "files"),
];

fn main() {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(CERTIFICATES);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ours = ORDERS.map(|orders| runtime.block_on(run(count, orders)));
    for (orders, cpu) in ORDERS.into_iter().zip(ours) {
        assert!(cpu < GOAL, "{orders} orders at a time: {:.1} ms of CPU per certificate", cpu * 1e3);
    }
}

/// Obtains the certificates; the CPU seconds per certificate that the server has used.
async fn run(count: usize, orders: usize) -> f64 {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::of(&pebble);
    let house = crowd::crowd(&ca, house, count, orders).await;
    let config = house.configure(&ca, &own(&names("site")));
    let certs = house.folder.path().join("data/certs");

    let others = [("Pebble", pebble.group()), ("Unbound", house.unbound.group()), ("NSD", house.nsd.group())];
    let before = others.map(|(_, group)| cpu_of_group(group));
    let started = Instant::now();
    let server = start_binary(&config);
    wait_for_files(&certs, count, &server);
    let seconds = started.elapsed().as_secs_f64();
    let ours = cpu_of_group(server.id());

    println!("## {count} certificates, {orders} orders at a time\n");
    println!("all issued after {seconds:.1} s: {:.1} per second\n", count as f64 / seconds);
    println!("| process | CPU, s | per certificate, ms |\n|---|--:|--:|");
    let row = |name: &str, cpu: f64| println!("| {name} | {cpu:.2} | {:.2} |", cpu * 1e3 / count as f64);
    row("acmezone", ours);
    for ((name, group), before) in others.into_iter().zip(before) {
        row(name, cpu_of_group(group) - before);
    }
    println!("\n| of one certificate, median | ms |\n|---|--:|");
    for (phase, millis) in phases(&server.log()) {
        println!("| {phase} | {millis:.0} |");
    }
    println!();

    let client = Client::new(&Config::read(&config).expect("the configuration")).expect("a client");
    let left = client.names().await.expect("the names");
    assert!(left.iter().all(|name| name.values.is_empty()), "values are left: {left:?}");
    let root = pebble.issuance_root_pem();
    for certificate in certificates(count) {
        check_files(&certs, &certificate, &root);
    }
    assert_eq!(house::orders(&pebble), count, "orders at the CA");
    ours / count as f64
}

/// Asks the server nothing meanwhile.
fn wait_for_files(certs: &Path, count: usize, server: &Subprocess) {
    let mut left = certificates(count);
    let deadline = Instant::now() + PATIENCE;
    loop {
        left.retain(|certificate| !certs.join(certificate).join("fullchain.pem").exists());
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{} certificates are not there: {}", left.len(), server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What each phase took, as the log of the server has it: the median of all certificates, milliseconds.
fn phases(log: &str) -> Vec<(&'static str, f64)> {
    let mut reached: HashMap<&str, Vec<Option<jiff::Timestamp>>> = HashMap::new();
    for line in log.lines() {
        let Some((at, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Ok(at) = at.parse::<jiff::Timestamp>() else { continue };
        let certificate = rest.split_once("certificate=\"").and_then(|(_, rest)| rest.split_once('"'));
        let Some((certificate, _)) = certificate else { continue };
        let moments = reached.entry(certificate).or_insert_with(|| vec![None; PHASES.len()]);
        if let Some(phase) = PHASES.iter().position(|(words, _)| rest.contains(words)) {
            moments[phase].get_or_insert(at);
        }
    }
    let took = |phase: usize| {
        let between = reached.values().filter_map(|moments| Some((moments[phase - 1]?, moments[phase]?)));
        median(between.map(|(from, to)| to.duration_since(from).as_secs_f64() * 1e3).collect()).unwrap_or(f64::NAN)
    };
    (1..PHASES.len()).map(|phase| (PHASES[phase].1, took(phase))).collect()
}
