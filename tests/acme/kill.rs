//! kill -9 at every state of the machine: before and after each request that the CA gets, and before the files are
//! written; in a renewal, and when the account gets another key. It always ends with one account, one certificate (one
//! more after a renewal), its key, and no value in the DNS.

use acmezone::api::{CertificateState, Progress};
use acmezone::client::{Client, Steps};
use acmezone::config::Config;

use crate::faulty::{Fault, FaultyCa, When};
use crate::house::{House, PATIENCE, lines, orders, start_binary};
use crate::support::{Pebble, PebbleVersion, Subprocess, poll_async, verify_chain};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

/// More requests than an issuance has.
const MOST: usize = 60;

/// How many certificates the CA has issued.
fn issued(pebble: &Pebble) -> usize {
    pebble.log().matches("Issued certificate").count()
}

/// How many accounts the CA has.
fn accounts(pebble: &Pebble) -> usize {
    pebble.log().matches("accounts in memory").count()
}

/// Until the running server, as `config` tells, has its certificate.
async fn is_valid(config: &Config) {
    // The token is a new one after each start.
    let client = || Client::new(config).ok();
    poll_async(PATIENCE, "the certificate", || async {
        client()?.certificate("site").await.ok().filter(|status| status.state == CertificateState::Valid)
    })
    .await;
}

/// The files hold the certificate and its key, and the DNS no value.
async fn is_whole(house: &House, config: &Config, pebble: &Pebble) {
    let chain = || std::fs::read_to_string(house.certificate_folder().join("fullchain.pem")).ok();
    let chain = poll_async(PATIENCE, "the files", || async { chain() }).await;
    verify_chain(&chain, &pebble.issuance_root_pem(), &NAMES);
    let key = rcgen::KeyPair::from_pem(&house.pem("privkey.pem")).unwrap();
    let leaf = x509_parser::pem::Pem::iter_from_buffer(chain.as_bytes()).next().unwrap().unwrap();
    let leaf = leaf.parse_x509().unwrap();
    assert_eq!(leaf.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key), "the key of another one");
    let values = Client::new(config).unwrap().names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "values are left: {values:?}");
}

async fn killed_at_each_request(when: When) {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    let file = house.configure(&ca.ca(), &NAMES);
    let config = Config::read(&file).unwrap();
    let mut killed_at = Vec::new();
    for request in 0..MOST {
        let (orders_before, issued_before, accounts_before) = (orders(&pebble), issued(&pebble), accounts(&pebble));
        let sprung = ca.trap(request, when);
        let server = start_binary(&file);
        tokio::select! {
            path = sprung => killed_at.push(path.unwrap()),
            // There were fewer requests: every one of them was tried.
            () = is_valid(&config) => break,
        }
        server.signal(libc::SIGKILL);
        drop(server);

        let path = killed_at.last().unwrap();
        let server = start_binary(&file);
        is_valid(&config).await;
        is_whole(&house, &config, &pebble).await;
        let (orders, issued) = (orders(&pebble) - orders_before, issued(&pebble) - issued_before);
        assert_eq!(issued, 1, "{path}: {}", server.log());
        assert_eq!(accounts(&pebble) - accounts_before, 1, "{path}: {}", server.log());
        // A reply that never came leaves an order that nobody can know of.
        let lost = when == When::After && path.starts_with("/order-plz");
        assert_eq!(orders, if lost { 2 } else { 1 }, "{path}: {}", server.log());
        drop(server);
        std::fs::remove_dir_all(house.folder.path().join("data")).unwrap();
    }
    println!("killed {when:?} {} requests: {}", killed_at.len(), killed_at.join(" "));
    for path in ["/dir", "/nonce-plz", "/sign-me-up", "/order-plz", "/authZ/", "/chalZ/", "/finalize-order/", "/certZ/"]
    {
        assert!(killed_at.iter().any(|killed| killed.starts_with(path)), "never killed at {path}: {killed_at:?}");
    }
    assert!(killed_at.len() < MOST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_any_request_ends_with_one_certificate() {
    killed_at_each_request(When::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_any_request_ends_with_one_certificate() {
    killed_at_each_request(When::After).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_the_files_are_written_ends_with_the_files_of_the_same_certificate() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let file = house.configure(&crate::house::Ca::of(&pebble), &NAMES);
    let config = Config::read(&file).unwrap();
    // Something is in the way of the folder.
    let (certs, folder) = (house.folder.path().join("data/certs"), house.certificate_folder());
    std::fs::create_dir_all(&certs).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    std::fs::write(house.folder.path().join("data/lock"), "").unwrap();
    let server = start_binary(&file);
    is_valid(&config).await;
    server.signal(libc::SIGKILL);
    drop(server);
    std::fs::remove_file(&folder).unwrap();

    let server = start_binary(&file);
    is_valid(&config).await;
    is_whole(&house, &config, &pebble).await;
    assert_eq!((orders(&pebble), issued(&pebble)), (1, 1), "{}", server.log());
}

/// The CA is asked for something there, and before or after it has acted the server is killed.
async fn killed_when_asked(ca: &FaultyCa, path: &'static str, when: When, server: Subprocess) {
    let done = ca.done();
    let seen = || async { (if when == When::After { ca.done() - done } else { ca.hits() } > 0).then_some(()) };
    poll_async(PATIENCE, path, seen).await;
    server.signal(libc::SIGKILL);
    drop(server);
}

fn silence(when: When) -> Fault {
    if when == When::After { Fault::SilenceAfterwards } else { Fault::Silence }
}

/// Somebody has the certificate renewed.
async fn renew(config: &Config) -> Steps {
    Client::new(config).unwrap().issue("site", true).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_a_renewal_ends_with_one_more_certificate_and_the_old_files_until_then() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    let file = house.configure(&ca.ca(), &NAMES);
    let config = Config::read(&file).unwrap();
    let mut server = start_binary(&file);
    is_valid(&config).await;
    is_whole(&house, &config, &pebble).await;
    for path in ["/order-plz", "/chalZ/", "/finalize-order/", "/certZ/"] {
        for when in [When::Before, When::After] {
            let (orders_before, issued_before) = (orders(&pebble), issued(&pebble));
            let old = house.pem("fullchain.pem");
            ca.fail(path, silence(when));
            let steps = renew(&config).await;
            killed_when_asked(&ca, path, when, server).await;
            drop(steps);
            assert_eq!(house.pem("fullchain.pem"), old, "{path}");
            ca.heal();

            server = start_binary(&file);
            is_valid(&config).await;
            // Nobody knows any more that somebody has asked.
            if path == "/order-plz" {
                lines(renew(&config).await).await;
            }
            let switched = || async { (house.pem("fullchain.pem") != old).then_some(()) };
            poll_async(PATIENCE, "the new files", switched).await;
            is_valid(&config).await;
            is_whole(&house, &config, &pebble).await;
            assert_eq!(issued(&pebble) - issued_before, 1, "{path} {when:?}: {}", server.log());
            let lost = when == When::After && path == "/order-plz";
            assert_eq!(orders(&pebble) - orders_before, if lost { 2 } else { 1 }, "{path}: {}", server.log());
        }
    }
    assert_eq!(accounts(&pebble), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_when_the_account_gets_another_key_keeps_the_account_rfc8555_7_3_5() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    let file = house.configure(&ca.ca(), &NAMES);
    let config = Config::read(&file).unwrap();
    let mut server = start_binary(&file);
    is_valid(&config).await;
    for when in [When::Before, When::After] {
        let path = "/rollover-account-key";
        ca.fail(path, silence(when));
        let steps = Client::new(&config).unwrap().roll_over("pebble").await.unwrap();
        killed_when_asked(&ca, path, when, server).await;
        drop(steps);
        ca.heal();

        server = start_binary(&file);
        is_valid(&config).await;
        let lines = lines(renew(&config).await).await;
        assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{when:?}: {lines:#?}");
    }
    assert_eq!((accounts(&pebble), issued(&pebble)), (1, 3), "{}", pebble.log());
}
