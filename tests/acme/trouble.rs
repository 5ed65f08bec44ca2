//! CAs that are down or refuse, and a server that is killed: told in words, nothing lost.

use std::time::Duration;

use acmezone::api::{CertificateState, Progress};
use acmezone::client::Client;
use acmezone::config::Config;
use serde_json::json;

use crate::house::{Ca, House, PATIENCE, orders, start_binary};
use crate::support::{PebbleVersion, poll, poll_async, verify_chain};

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_down_is_told_and_its_back_off_survives_a_restart() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let (down, names) = (Ca::down(&pebble.root_pem_path()), ["delegated.test"]);
    let server = house.serve(&down, &names).await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.unwrap();
    assert_eq!((error.step.as_str(), error.failures), ("account", 1));
    assert!(error.message.contains(&down.directory) && error.message.contains("refused"), "{}", error.message);
    let wait = failed.next_attempt.unwrap().duration_since(error.at).as_secs();
    assert!((55..=66).contains(&wait), "{wait}");
    server.handle.stop().await;

    let server = house.serve(&down, &names).await;
    let after = server.show().await;
    assert_eq!(after.next_attempt, failed.next_attempt);
    assert_eq!(after.last_error.unwrap().message, error.message);
    // A person does not wait for the back-off.
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Failed { message }) if message.contains("refused")), "{lines:?}");
    assert_eq!(server.show().await.last_error.unwrap().failures, 2);
    server.handle.stop().await;

    let server = house.serve(&Ca::of(&pebble), &names).await;
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let status = server.show().await;
    assert_eq!(status.state, CertificateState::Valid);
    assert!(status.last_error.is_none());
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_the_cas_own_words() {
    let house = House::new();
    let blocked = json!(["delegated.test"]);
    let pebble = house.pebble(PebbleVersion::V2_10_1).config("domainBlocklist", blocked).start();
    let server = house.serve(&Ca::of(&pebble), &["delegated.test"]).await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.unwrap();
    assert_eq!(error.step, "order");
    assert!(error.message.contains("urn:ietf:params:acme:error:rejectedIdentifier"), "{}", error.message);
    assert!(error.message.contains("delegated.test"), "{}", error.message);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_the_ca_does_not_have_makes_no_order() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca { more: "profile = \"nosuch\"", ..Ca::of(&pebble) };
    let server = house.serve(&ca, &["delegated.test"]).await;
    let error = server.wait_for(CertificateState::Failed).await.last_error.unwrap();
    assert_eq!(error.message, "the CA has no profile `nosuch`; it has default");
    assert_eq!(orders(&pebble), 0);
    server.handle.stop().await;

    let ca = Ca { more: "profile = \"default\"", ..Ca::of(&pebble) };
    let server = house.serve(&ca, &["delegated.test"]).await;
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    server.handle.stop().await;
}

/// The CA lost its state: what a restart of Pebble is, and what a staging CA does now and then.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_ca_forgot_is_made_again() {
    let house = House::new();
    let first = house.pebble(PebbleVersion::V2_10_1).start();
    let names = ["delegated.test"];
    let server = house.serve(&Ca::of(&first), &names).await;
    server.wait_for(CertificateState::Valid).await;
    server.handle.stop().await;

    let second = house.pebble(PebbleVersion::V2_10_1).start();
    // Pebble picks its ports: the account is made to be one of the second CA, which does not know it.
    let store = house.folder.path().join("data/acmezone.db");
    let moved = rusqlite::Connection::open(store).unwrap().execute(
        "UPDATE document SET key = replace(key, ?1, ?2), body = replace(body, ?1, ?2) WHERE kind = 'ca-account'",
        [first.directory_url(), second.directory_url()].map(|url| url.trim_end_matches("/dir").to_owned()),
    );
    assert_eq!(moved, Ok(1));
    let server = house.serve(&Ca::of(&second), &names).await;
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    verify_chain(&house.pem("fullchain.pem"), &second.issuance_root_pem(), &names);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_interrupted_by_a_kill_is_brought_to_its_end() {
    let house = House::new();
    // The CA takes its time to validate.
    let slow = house.slow_pebble(5);
    let pebble = slow.nonce_reject(0).start();
    let names = ["*.delegated.test", "delegated.test"];
    let file = house.configure(&Ca::of(&pebble), &names);
    let server = start_binary(&file);
    poll(Duration::from_secs(30), "the CA to begin to validate", || {
        pebble.log().contains("Pulled a task").then_some(())
    });
    server.signal(libc::SIGKILL);
    drop(server);

    let server = start_binary(&file);
    let config = Config::read(&file).unwrap();
    // The token is a new one after each start.
    let client = || Client::new(&config).ok();
    poll_async(PATIENCE, "the certificate", || async {
        client()?.certificate("site").await.ok().filter(|status| status.state == CertificateState::Valid)
    })
    .await;
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &names);
    assert_eq!(orders(&pebble), 1, "{}", server.log());
    let values = client().unwrap().names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "values are left: {values:?}");
}
