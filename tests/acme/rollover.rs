//! New keys for an account: the account is never lost, whatever happens in between.

use acmezone::api::{CertificateState, Progress};

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, PATIENCE, Running, lines};
use crate::support::{Pebble, PebbleVersion, poll_async};

const NAMES: [&str; 1] = ["delegated.test"];
const KEY_CHANGE: &str = "/rollover-account-key";

async fn rolled_over(server: &Running) -> Progress {
    lines(server.client.roll_over("pebble").await.unwrap()).await.pop().unwrap()
}

/// The account as the key in the store says; with what the key itself is known by.
fn stored(house: &House) -> (String, String, bool) {
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let query = "SELECT body FROM document WHERE kind = 'ca-account'";
    let body: String = store.query_row(query, [], |row| row.get(0)).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&body).unwrap();
    let text = |key: &str| kept["credentials"][key].as_str().unwrap().to_owned();
    (text("id"), text("key_pkcs8"), kept.get("next_key").is_some())
}

/// Thumbprints of the keys that the account had before.
fn former_keys(house: &House) -> Vec<String> {
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let query = "SELECT json_extract(body, '$.former_keys') FROM document WHERE kind = 'ca-account'";
    serde_json::from_str(&store.query_row(query, [], |row| row.get::<_, String>(0)).unwrap()).unwrap()
}

async fn renews(server: &Running) {
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
}

#[track_caller]
fn has_one_account(pebble: &Pebble) {
    let log = pebble.log();
    assert!(log.contains("There are now 1 accounts in memory"), "{log}");
    assert!(!log.contains("There are now 2 accounts in memory"), "{log}");
}

async fn a_new_key_then_a_renewal(version: PebbleVersion) {
    let house = House::new();
    let pebble = house.pebble(version).nonce_reject(20).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let before = stored(&house);
    let message = match rolled_over(&server).await {
        Progress::Done { message, path } if path.is_empty() => message,
        other => panic!("{other:?}"),
    };
    assert!(message.contains(&before.0) && message.contains("nothing else has changed"), "{message}");
    let after = stored(&house);
    assert_eq!((&after.0, after.2), (&before.0, false));
    assert_ne!(after.1, before.1);
    renews(&server).await;
    server.handle.stop().await;
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    renews(&server).await;
    // dns-persist-01 records may be of any of them.
    assert!(matches!(rolled_over(&server).await, Progress::Done { .. }));
    let former = former_keys(&house);
    assert!(former.len() == 2 && message.contains(&former[1]), "{former:?}: {message}");
    server.handle.stop().await;
    has_one_account(&pebble);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_new_key_and_renews_at_pebble_2_4_rfc8555_7_3_5() {
    a_new_key_then_a_renewal(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_new_key_and_renews_at_pebble_2_10_rfc8555_7_3_5() {
    a_new_key_then_a_renewal(PebbleVersion::V2_10_1).await;
}

/// A server with a certificate, behind a CA that meets a rollover with a fault.
async fn with_fault(fault: Fault) -> (House, Pebble, FaultyCa, Running) {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    let server = house.serve(&ca.ca(), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    ca.fail(KEY_CHANGE, fault);
    (house, pebble, ca, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_after_the_ca_has_acted_is_found_out_at_once() {
    let (house, pebble, ca, server) = with_fault(Fault::AnswerAfterwards { status: 503, body: "lost" }).await;
    let before = stored(&house);
    let outcome = rolled_over(&server).await;
    assert!(matches!(outcome, Progress::Done { .. }), "{outcome:?}");
    let after = stored(&house);
    assert_ne!(after.1, before.1);
    assert_eq!((after.0, after.2), (before.0, false));
    ca.heal();
    renews(&server).await;
    server.handle.stop().await;
    has_one_account(&pebble);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_does_not_act_leaves_the_old_key_in_use_and_the_new_one_is_told_again() {
    let answer = Fault::Answer { status: 503, content_type: "text/html", retry_after: "1", body: "<b>busy</b>" };
    let (house, pebble, ca, server) = with_fault(answer).await;
    let before = stored(&house);
    match rolled_over(&server).await {
        Progress::Failed { message } => assert!(message.contains("503") && message.contains("both"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(stored(&house), (before.0.clone(), before.1.clone(), true));
    renews(&server).await;
    ca.heal();
    let outcome = rolled_over(&server).await;
    assert!(matches!(outcome, Progress::Done { .. }), "{outcome:?}");
    assert_ne!(stored(&house).1, before.1);
    renews(&server).await;
    server.handle.stop().await;
    has_one_account(&pebble);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_the_cas_words_and_the_new_key_is_forgotten() {
    let body = r#"{"type":"urn:ietf:params:acme:error:unauthorized","detail":"not today","status":403}"#;
    let content_type = "application/problem+json";
    let (house, pebble, ca, server) =
        with_fault(Fault::Answer { status: 403, content_type, retry_after: "1", body }).await;
    let before = stored(&house);
    match rolled_over(&server).await {
        Progress::Failed { message } => {
            assert!(message.contains("not today") && message.contains("keeps its key"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(stored(&house), before);
    ca.heal();
    renews(&server).await;
    server.handle.stop().await;
    has_one_account(&pebble);
}

/// The server ends while it waits for the answer; the next one goes on with the same account.
async fn stopped_in_between(fault: Fault, acted: bool) {
    let (house, pebble, ca, server) = with_fault(fault).await;
    let before = stored(&house);
    let steps = server.client.roll_over("pebble").await.unwrap();
    let seen = || async { (if acted { ca.done() } else { ca.hits() } == 1).then_some(()) };
    poll_async(PATIENCE, "the CA to be asked for another key", seen).await;
    let (_, outcome) = tokio::join!(server.handle.stop(), lines(steps));
    assert!(matches!(outcome.last(), Some(Progress::Failed { .. })), "{outcome:?}");
    assert_eq!(stored(&house), (before.0.clone(), before.1.clone(), true));
    ca.heal();

    let server = house.serve(&ca.ca(), &NAMES).await;
    renews(&server).await;
    let after = stored(&house);
    assert_eq!(after.0, before.0);
    // Who has not acted may still do so, for a while.
    assert_eq!((after.1 != before.1, after.2), (acted, !acted));
    let outcome = rolled_over(&server).await;
    assert!(matches!(outcome, Progress::Done { .. }), "{outcome:?}");
    renews(&server).await;
    server.handle.stop().await;
    has_one_account(&pebble);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_before_the_ca_has_acted_keeps_the_account() {
    stopped_in_between(Fault::Silence, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_after_the_ca_has_acted_keeps_the_account() {
    stopped_in_between(Fault::SilenceAfterwards, true).await;
}

/// A CA that finds no account by its key alone.
async fn stopped_at_a_ca_that_does_not_say(fault: Fault, acted: bool) {
    let (house, pebble, ca, server) = with_fault(fault).await;
    let before = stored(&house);
    let steps = server.client.roll_over("pebble").await.unwrap();
    let seen = || async { (if acted { ca.done() } else { ca.hits() } == 1).then_some(()) };
    poll_async(PATIENCE, "the CA to be asked for another key", seen).await;
    tokio::join!(server.handle.stop(), lines(steps));
    for (status, body) in [
        (403, r#"{"type":"urn:ietf:params:acme:error:externalAccountRequired","status":403}"#),
        (401, r#"{"type":"urn:ietf:params:acme:error:unauthorized","status":401}"#),
        (400, r#"{"type":"urn:ietf:params:acme:error:malformed","status":400}"#),
    ] {
        let content_type = "application/problem+json";
        ca.fail("/sign-me-up", Fault::Answer { status, content_type, retry_after: "", body });
        let server = house.serve(&ca.ca(), &NAMES).await;
        renews(&server).await;
        server.handle.stop().await;
        let after = stored(&house);
        assert_eq!((after.0, after.1 != before.1, after.2), (before.0.clone(), acted, !acted), "{body}");
    }
    has_one_account(&pebble);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_finds_no_account_by_its_key_and_has_not_acted_is_spoken_with_by_the_old_key() {
    stopped_at_a_ca_that_does_not_say(Fault::Silence, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_finds_no_account_by_its_key_and_has_acted_is_spoken_with_by_the_new_key() {
    stopped_at_a_ca_that_does_not_say(Fault::SilenceAfterwards, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_under_way_is_waited_for() {
    let house = House::new();
    let pebble = house.slow_pebble(1).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let mut steps = server.client.issue("site", true).await.unwrap();
    loop {
        match steps.next().await {
            Some(Ok(Progress::Step { message })) if message.contains("ordered") => break,
            Some(Ok(Progress::Step { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    let (order, rollover) =
        tokio::join!(lines(steps), async { lines(server.client.roll_over("pebble").await.unwrap()).await });
    assert!(matches!(order.last(), Some(Progress::Done { .. })), "{order:#?}");
    assert!(
        matches!(rollover.first(), Some(Progress::Step { message }) if message.contains("waiting")),
        "{rollover:?}"
    );
    assert!(matches!(rollover.last(), Some(Progress::Done { .. })), "{rollover:#?}");
    renews(&server).await;
    server.handle.stop().await;
    has_one_account(&pebble);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_without_account_or_without_configuration_is_named() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    // Waits for its delegation, and needs no account meanwhile.
    let server = house.serve(&Ca::of(&pebble), &["example.test"]).await;
    server.wait_for(CertificateState::WaitingForDelegation).await;
    match rolled_over(&server).await {
        Progress::Failed { message } => assert!(message.contains("no account at pebble"), "{message}"),
        other => panic!("{other:?}"),
    }
    let error = server.client.roll_over("other").await.unwrap_err().to_string();
    assert!(error.contains("no [[ca]] with the name `other`"), "{error}");
    server.handle.stop().await;
}
