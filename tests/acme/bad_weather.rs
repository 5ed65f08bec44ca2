//! A CA on its worst days: whatever it answers, at whatever request, nothing is lost and it is not besieged.

use std::process::Command;
use std::time::Duration;

use acmezone::api::{CertificateState, Progress};
use futures_util::future::join_all;

use crate::faulty::{Fault, FaultyCa};
use crate::house::{House, Running, orders};
use crate::support::{Pebble, PebbleVersion, verify_chain};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

const fn answer(status: u16, content_type: &'static str, retry_after: &'static str, body: &'static str) -> Fault {
    Fault::Answer { status, content_type, retry_after, body }
}

const PROBLEM: &str = "application/problem+json";
const HTML: &str = "<html>\n<h1>We are down for maintenance</h1>\n</html>";
const LIMITED: &str = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many requests"}"#;

/// All that may happen to a request.
const FAULTS: [(&str, Fault); 15] = [
    ("429", answer(429, PROBLEM, "7200", LIMITED)),
    ("429 in HTML without Retry-After", answer(429, "text/html", "", HTML)),
    ("503 with Retry-After", answer(503, "text/html", "7200", HTML)),
    ("503 without Retry-After", answer(503, "text/html", "", HTML)),
    ("500 with a problem of the wrong shape", answer(500, PROBLEM, "", r#"{"type":7,"status":"x","detail":[]}"#)),
    ("500 with nothing", answer(500, PROBLEM, "", "")),
    ("403 of a firewall", answer(403, "text/html", "", HTML)),
    ("200 with a page", answer(200, "text/html", "", HTML)),
    ("200 with the wrong JSON", answer(200, "application/json", "", r#"[{"status":"fine"}]"#)),
    ("200 with nothing", answer(200, "application/json", "", "")),
    ("a cut before the answer", Fault::Cut),
    ("a cut after the work", Fault::CutAfterwards),
    ("a cut in the answer", Fault::CutInside),
    ("no nonces", Fault::Nonce(None)),
    ("wrong nonces", Fault::Nonce(Some("not+a/nonce"))),
];

/// Where Pebble takes the requests of an order, in their order.
const PATHS: [&str; 9] =
    ["/dir", "/nonce-plz", "/sign-me-up", "/order-plz", "/authZ", "/chalZ", "/my-order", "/finalize-order", "/certZ"];
/// More than an attempt asks of a CA. Most are asked of one that refuses all nonces: each request ten times, three
/// nonces each time.
const MOST_REQUESTS: usize = 60;

fn ca(house: &House) -> (Pebble, FaultyCa) {
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let front = FaultyCa::before(&pebble);
    (pebble, front)
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// What is exported belongs together and is the CA's; no value is left.
async fn is_whole(house: &House, server: &Running, pebble: &Pebble, what: &str) {
    let status = server.show().await;
    assert!(status.state == CertificateState::Valid && status.last_error.is_none(), "{what}: {status:?}");
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);
    let file = |name: &str| house.certificate_folder().join(name).display().to_string();
    let of_key = openssl(&["pkey", "-in", &file("privkey.pem"), "-pubout"]);
    assert_eq!(openssl(&["x509", "-in", &file("cert.pem"), "-noout", "-pubkey"]), of_key, "{what}");
    let values = server.client.names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "{what}: values are left: {values:?}");
}

fn exported(house: &House) -> [String; 2] {
    ["fullchain.pem", "privkey.pem"].map(|file| house.pem(file))
}

/// Meets the fault at one request of an order after the other, until there is a certificate all the same.
async fn through_all_requests(
    what: &str,
    fault: &Fault,
    (house, front, server): (&House, &FaultyCa, &Running),
    (renew, mut failures): (bool, u32),
) {
    let before = renew.then(|| exported(house));
    // The account is there for a renewal, and the directory is known.
    for path in PATHS.into_iter().skip(if renew { 3 } else { 0 }) {
        front.fail(path, fault.clone());
        let requests = front.requests();
        let lines = server.issue(renew).await;
        let made = front.requests() - requests;
        assert!(made <= MOST_REQUESTS, "{what} at {path}: {made} requests");
        if matches!(lines.last(), Some(Progress::Done { .. })) {
            front.heal();
            return;
        }
        failures += 1;
        let status = server.show().await;
        assert_eq!(status.last_error.map(|error| error.failures), Some(failures), "{what} at {path}: {lines:#?}");
        if let Some(before) = &before {
            assert_eq!(&exported(house), before, "{what} at {path}");
        }
    }
    front.heal();
    let lines = server.issue(renew).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{what}: {lines:#?}");
}

async fn endured(what: &str, fault: Fault) {
    let house = House::new();
    let (pebble, front) = ca(&house);
    front.fail("/", fault.clone());
    let server = house.serve(&front.ca(), &NAMES).await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.unwrap();
    assert_eq!(error.failures, 1, "{what}");
    let wait = failed.next_attempt.unwrap().duration_since(error.at).as_secs();
    assert!(wait >= 55, "{what}: again after {wait} s");
    // The server leaves it alone.
    let requests = front.requests();
    assert!(requests <= MOST_REQUESTS, "{what}: {requests} requests");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((front.requests(), orders(&pebble)), (requests, 0), "{what}");

    through_all_requests(what, &fault, (&house, &front, &server), (false, 1)).await;
    is_whole(&house, &server, &pebble, what).await;
    let first = orders(&pebble);
    assert!((1..=1 + front.lost_orders()).contains(&first), "{what}: {first} orders");
    let serial = server.show().await.serial;

    through_all_requests(what, &fault, (&house, &front, &server), (true, 0)).await;
    is_whole(&house, &server, &pebble, what).await;
    assert_ne!(server.show().await.serial, serial, "{what}");
    let all = orders(&pebble);
    assert!((2..=2 + front.lost_orders()).contains(&all), "{what}: {all} orders");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn every_fault_at_every_request_costs_an_attempt_and_nothing_else() {
    let rows = FAULTS.map(|(what, fault)| tokio::spawn(endured(what, fault)));
    join_all(rows).await.into_iter().for_each(|row| row.unwrap());
}

/// Faults of all kinds, in an order that the seed decides.
async fn through_a_season(seed: u64) {
    const CERTIFICATES: usize = 3;
    let house = House::new();
    let (pebble, front) = ca(&house);
    front.weather(seed, 25, &FAULTS.map(|(_, fault)| fault));
    let server = house.serve(&front.ca(), &NAMES).await;
    let (mut serials, mut attempts): (Vec<String>, usize) = (Vec::new(), 0);
    while serials.len() < CERTIFICATES {
        attempts += 1;
        assert!(attempts < 100, "seed {seed}: {serials:?}");
        let before = serials.last().map(|_| exported(&house));
        let lines = server.issue(!serials.is_empty()).await;
        if matches!(lines.last(), Some(Progress::Done { .. })) {
            serials.extend(server.show().await.serial);
            is_whole(&house, &server, &pebble, &format!("seed {seed}")).await;
        } else if let Some(before) = before {
            assert_eq!(exported(&house), before, "seed {seed}");
        }
    }
    let (requests, orders) = (front.requests(), orders(&pebble));
    println!("seed {seed}: {attempts} attempts, {requests} requests, {} faults, {orders} orders", front.hits());
    assert!(front.hits() > 0 && requests <= attempts * MOST_REQUESTS, "seed {seed}: {requests} requests");
    assert!((CERTIFICATES..=CERTIFICATES + front.lost_orders()).contains(&orders), "seed {seed}: {orders} orders");
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), CERTIFICATES, "seed {seed}");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_season_of_bad_weather_ends_with_exactly_the_certificates_that_were_asked_for() {
    let seasons = [1, 2, 3, 4, 5, 6].map(|seed| tokio::spawn(through_a_season(seed)));
    join_all(seasons).await.into_iter().for_each(|season| season.unwrap());
}

/// Longer than any deadline of ours.
async fn endured_silence(path: &'static str, fault: Fault, step: &str) {
    let house = House::new();
    let (pebble, front) = ca(&house);
    front.fail(path, fault);
    let server = house.serve(&front.ca(), &NAMES).await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.unwrap();
    assert_eq!((error.step.as_str(), error.failures, front.hits()), (step, 1, 1), "{}", error.message);
    assert!(error.message.contains("within 30 s"), "{}", error.message);
    front.heal();
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    is_whole(&house, &server, &pebble, path).await;
    assert_eq!(orders(&pebble), 1, "{path}");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_ca_that_says_nothing_is_waited_for_so_long_and_no_longer() {
    tokio::join!(
        endured_silence("/dir", Fault::Silence, "account"),
        endured_silence("/order-plz", Fault::Silence, "order"),
        endured_silence("/finalize-order", Fault::SilenceAfterwards, "issuance"),
    );
}
