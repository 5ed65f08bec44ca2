//! What ends an order that is there: what the order itself says, and no error of a request about it.

use acmezone::api::{CertificateState, Progress};

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, PATIENCE, Running, orders};
use crate::support::{Pebble, PebbleVersion, Unbound, poll_async};

const NAMES: [&str; 1] = ["delegated.test"];
const PROBLEM: &str = "application/problem+json";

fn house() -> (House, Pebble, FaultyCa) {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    (house, pebble, ca)
}

fn problem(status: u16, body: &'static str) -> Fault {
    Fault::Answer { status, content_type: PROBLEM, retry_after: "", body }
}

fn issued(pebble: &Pebble) -> usize {
    pebble.log().matches("Issued certificate").count()
}

fn store(house: &House) -> rusqlite::Connection {
    rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap()
}

/// What the store has of the certificate, or of the CA's limits.
fn kept(house: &House, kind: &str, path: &str) -> String {
    let query = "SELECT coalesce(json_extract(body, ?2), '') FROM document WHERE kind = ?1";
    store(house).query_row(query, [kind, path], |row| row.get(0)).unwrap()
}

/// While no server runs.
fn change(house: &House, path: &str, value: u32) {
    let change = "UPDATE document SET body = json_set(body, ?1, ?2) WHERE kind = 'issuance'";
    assert_eq!(store(house).execute(change, (path, value)), Ok(1));
}

async fn is_refused(server: &Running, step: &str) {
    let lines = server.issue(true).await;
    let Some(Progress::Failed { message }) = lines.last() else { panic!("{lines:#?}") };
    assert!(message.starts_with(step), "{lines:#?}");
}

async fn is_issued(server: &Running) -> Vec<Progress> {
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    lines
}

/// From a gateway, a firewall, or a CA that is confused for a while.
async fn the_order_outlives_refusals(path: &'static str, steps: [&str; 2]) {
    let (house, pebble, ca) = house();
    ca.fail(path, problem(403, r#"{"type":"about:blank","status":403}"#));
    let server = house.serve(&ca.ca(), &NAMES).await;
    let error = server.wait_for(CertificateState::Failed).await.last_error.unwrap();
    assert_eq!(error.step, steps[0], "{}", error.message);
    let key = kept(&house, "issuance", "$.step.key");
    for fault in [
        problem(400, r#"{"detail":"oops"}"#),
        problem(403, r#"{"type":"urn:ietf:params:acme:error:unauthorized","detail":"not from there"}"#),
    ] {
        ca.fail(path, fault);
        is_refused(&server, steps[1]).await;
    }
    ca.heal();
    is_issued(&server).await;
    assert_eq!((orders(&pebble), issued(&pebble)), (1, 1), "{path}");
    assert_eq!(house.pem("privkey.pem"), key, "{path}");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_answer_ends_no_order_rfc8555_7_4() {
    let paths = [
        ("/my-order", ["validation", "order"]),
        ("/finalize-order", ["issuance", "issuance"]),
        ("/certZ", ["download", "download"]),
    ];
    let all = paths.map(|(path, steps)| tokio::spawn(the_order_outlives_refusals(path, steps)));
    for one in all {
        one.await.unwrap();
    }
}

/// The server was killed after it had told the CA to look.
#[tokio::test(flavor = "multi_thread")]
async fn a_validation_that_failed_while_nobody_looked_is_told_and_counted_rfc8555_7_1_6() {
    let house = House::new();
    let blind = Unbound::start(&[("example.test", house.nsd.port())]);
    let pebble = Pebble::builder(PebbleVersion::V2_10_1, blind.addr()).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    ca.fail("/my-order", Fault::Silence);
    let directory = Ca { more: "limits = \"letsencrypt\"", ..ca.ca() };
    let server = house.serve(&directory, &NAMES).await;
    poll_async(PATIENCE, "the validation to fail", || async {
        (ca.hits() > 0 && pebble.log().contains("set INVALID by invalid authz")).then_some(())
    })
    .await;
    server.handle.stop().await;

    // The reason is not to be had at first.
    ca.fail("/authZ", problem(503, "{}"));
    let server = house.serve(&directory, &NAMES).await;
    let error = server.wait_for(CertificateState::Failed).await.last_error.unwrap();
    assert_eq!((error.step.as_str(), orders(&pebble)), ("validation", 1), "{}", error.message);
    ca.heal();
    is_refused(&server, "validation: delegated.test: Error retrieving TXT records").await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.unwrap();
    assert!(failed.next_attempt.unwrap().duration_since(error.at).as_secs() >= 60);
    assert_eq!(orders(&pebble), 1);
    assert_eq!(kept(&house, "ca-ledger", "$.failures[0].name"), "delegated.test");
    assert_eq!(kept(&house, "ca-ledger", "$.failures[1]"), "");
    server.handle.stop().await;
}

/// What it has found so far; it may look again, and the order says what comes of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_reply_to_a_challenge_ends_no_order_rfc8555_8_2() {
    let (house, pebble, ca) = house();
    ca.fail("/chalZ", Fault::Rewrite(|_, body| body.replacen('{', r#"{"error":{"detail":"not seen yet"},"#, 1)));
    let server = house.serve(&ca.ca(), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    assert_eq!((ca.hits(), orders(&pebble)), (1, 1));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_ca_refuses_is_not_reused_rfc8555_6_7() {
    let (mut house, _pebble, ca) = house();
    house.certificate = "reuse_key = true".into();
    let server = house.serve(&ca.ca(), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let first = house.pem("privkey.pem");
    is_issued(&server).await;
    assert_eq!(house.pem("privkey.pem"), first);
    let body = r#"{"type":"urn:ietf:params:acme:error:badPublicKey","status":400,"detail":"it is known to others"}"#;
    ca.fail("/finalize-order", problem(400, body));
    is_refused(&server, "issuance: it is known to others").await;
    // Remembered, also by the next process.
    server.handle.stop().await;
    ca.heal();
    let server = house.serve(&ca.ca(), &NAMES).await;
    is_issued(&server).await;
    let second = house.pem("privkey.pem");
    assert_ne!(second, first);
    is_issued(&server).await;
    assert_eq!(house.pem("privkey.pem"), second);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_days_costs_no_order_and_leaves_no_value_past_its_expiry() {
    let (house, pebble, ca) = house();
    ca.fail("/my-order", problem(503, "<html>"));
    let server = house.serve(&ca.ca(), &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    let has_values = async |server: &Running| {
        let names = server.client.names().await.unwrap();
        names.iter().any(|name| !name.values.is_empty())
    };
    assert!(has_values(&server).await, "the CA may still look");
    server.handle.stop().await;

    // Four failures that back off, the last pause is over.
    change(&house, "$.failure.backed_off", 4);
    change(&house, "$.failure.next_attempt", 1);
    let server = house.serve(&ca.ca(), &NAMES).await;
    let failed = || async { server.show().await.last_error.filter(|error| error.failures == 2) };
    poll_async(PATIENCE, "another failure", failed).await;
    assert!(has_values(&server).await);
    server.handle.stop().await;

    change(&house, "$.step.expires", 1);
    let server = house.serve(&ca.ca(), &NAMES).await;
    is_refused(&server, "order").await;
    assert!(!has_values(&server).await);
    ca.heal();
    is_issued(&server).await;
    assert_eq!((orders(&pebble), issued(&pebble)), (1, 1));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_another_account_is_given_up_at_once_rfc8555_7_1_3() {
    let (house, pebble, ca) = house();
    ca.fail("/finalize-order", problem(503, "{}"));
    let server = house.serve(&ca.ca(), &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    server.handle.stop().await;
    assert_eq!(store(&house).execute("DELETE FROM document WHERE kind = 'ca-account'", []), Ok(1));
    ca.heal();
    let server = house.serve(&ca.ca(), &NAMES).await;
    let lines = is_issued(&server).await;
    assert!(format!("{lines:?}").contains("is of another account"), "{lines:#?}");
    assert_eq!((orders(&pebble), issued(&pebble)), (2, 1));
    server.handle.stop().await;
}
