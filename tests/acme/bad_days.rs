//! CAs that limit, break, lose answers or say nothing: their words are kept, nothing is lost, and later it works.

use std::time::{Duration, Instant};

use acmezone::api::{CertificateState, CertificateStatus, Progress};

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, Running, orders};
use crate::support::{Pebble, PebbleVersion, Unbound, poll_async, verify_chain};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

fn ca(house: &House) -> (Pebble, FaultyCa) {
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    (pebble, ca)
}

const HTML: Fault = Fault::Answer {
    status: 503,
    content_type: "text/html",
    retry_after: "600",
    body: "<html>\n<h1>We are down for maintenance</h1>\n</html>",
};

/// Seconds from the failure to the next attempt.
fn wait(failed: &CertificateStatus) -> i64 {
    failed.next_attempt.unwrap().duration_since(failed.last_error.as_ref().unwrap().at).as_secs()
}

/// The CA is well again: somebody asks, and there is a certificate. How many orders the CA has had in all.
async fn is_issued(house: &House, server: Running, pebble: &Pebble) -> usize {
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let status = server.show().await;
    assert_eq!(status.state, CertificateState::Valid);
    assert!(status.last_error.is_none());
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);
    let values = server.client.names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "values are left: {values:?}");
    server.handle.stop().await;
    orders(pebble)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_told_and_kept_to() {
    let house = House::new();
    let (pebble, ca) = ca(&house);
    let body = r#"{"type":"urn:ietf:params:acme:error:rateLimited","status":429,
        "detail":"too many certificates (5) already issued for this exact set of identifiers"}"#;
    let content_type = "application/problem+json";
    ca.fail("/order-plz", Fault::Answer { status: 429, content_type, retry_after: "7200", body });
    let server = house.serve(&ca.ca(), &NAMES).await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.as_ref().unwrap();
    assert_eq!(
        (error.step.as_str(), error.message.as_str()),
        (
            "order",
            "too many certificates (5) already issued for this exact set of identifiers \
             (urn:ietf:params:acme:error:rateLimited)"
        )
    );
    assert!((7199..=7201).contains(&wait(&failed)), "{}", wait(&failed));
    assert_eq!(ca.hits(), 1);
    // Kept to after a restart.
    server.handle.stop().await;
    let server = house.serve(&ca.ca(), &NAMES).await;
    assert_eq!(server.show().await.next_attempt, failed.next_attempt);
    assert_eq!(ca.hits(), 1);
    ca.heal();
    assert_eq!(is_issued(&house, server, &pebble).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_load_balancer_is_told() {
    let house = House::new();
    let (pebble, ca) = ca(&house);
    ca.fail("/dir", HTML);
    let server = house.serve(&ca.ca(), &NAMES).await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.as_ref().unwrap();
    assert_eq!(error.step, "account");
    for words in ["503 Service Unavailable", &ca.ca().directory, "<h1>We are down for maintenance</h1>"] {
        assert!(error.message.contains(words), "{}", error.message);
    }
    assert!((599..=601).contains(&wait(&failed)), "{}", wait(&failed));
    ca.heal();
    assert_eq!(is_issued(&house, server, &pebble).await, 1);
}

/// Whatever request of an order goes wrong, the same order is brought to its end afterwards.
async fn the_order_survives(path: &'static str, fault: Fault, step: &str) {
    let house = House::new();
    let (pebble, ca) = ca(&house);
    ca.fail(path, fault);
    let server = house.serve(&ca.ca(), &NAMES).await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.unwrap();
    assert_eq!(error.step, step, "{}", error.message);
    assert!(error.message.contains("503 Service Unavailable"), "{}", error.message);
    ca.heal();
    assert_eq!(is_issued(&house, server, &pebble).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_the_ca_does_not_take_costs_no_second_order() {
    the_order_survives("/chalZ", HTML, "validation").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_after_the_request_for_the_certificate_costs_no_second_order() {
    the_order_survives("/finalize-order", Fault::AnswerAfterwards { status: 503, body: "lost" }, "issuance").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_fails_costs_no_second_order() {
    the_order_survives("/certZ", HTML, "download").await;
}

/// The CA does not see what our resolver sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_validation_is_told_and_leaves_no_value() {
    let house = House::new();
    let blind = Unbound::start(&[("example.test", house.nsd.port())]);
    let pebble = Pebble::builder(PebbleVersion::V2_10_1, blind.addr()).start();
    let server = house.serve(&Ca::of(&pebble), &["delegated.test"]).await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.as_ref().unwrap();
    assert_eq!(error.step, "validation");
    for words in ["delegated.test: Error retrieving TXT records", "(urn:ietf:params:acme:error:unauthorized)"] {
        assert!(error.message.contains(words), "{}", error.message);
    }
    assert!((60..=66).contains(&wait(&failed)), "{}", wait(&failed));
    let values = server.client.names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "values are left: {values:?}");
    // A failed order is over: the next attempt makes another.
    server.issue(false).await;
    assert_eq!(server.show().await.last_error.unwrap().failures, 2);
    assert_eq!(orders(&pebble), 2);
    server.handle.stop().await;
}

/// To a staging CA and back, under one name.
#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_kept_while_another_ca_has_its_name() {
    let house = House::new();
    let (first, second) = (house.pebble(PebbleVersion::V2_10_1).start(), house.pebble(PebbleVersion::V2_10_1).start());
    for pebble in [&first, &second, &first] {
        let server = house.serve(&Ca::of(pebble), &["delegated.test"]).await;
        let lines = server.issue(true).await;
        assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
        server.handle.stop().await;
    }
    assert_eq!(first.log().matches("sign-me-up -> calling handler").count(), 1, "{}", first.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_silent_ca() {
    let house = House::new();
    let (pebble, ca) = ca(&house);
    ca.fail("/finalize-order", Fault::Silence);
    let server = house.serve(&ca.ca(), &NAMES).await;
    let until_asked = || async { (ca.hits() > 0).then_some(()) };
    poll_async(Duration::from_secs(30), "the CA to be asked for the certificate", until_asked).await;
    assert_eq!(server.show().await.state, CertificateState::Issuing);
    // Somebody follows the order, and hears why it ends.
    let mut steps = server.client.issue("site", false).await.unwrap();
    assert!(matches!(steps.next().await, Some(Ok(Progress::Step { .. }))));

    let begun = Instant::now();
    let heard = async {
        loop {
            match steps.next().await {
                Some(Ok(Progress::Step { .. })) => {}
                other => return other,
            }
        }
    };
    let ((), last) = tokio::join!(server.handle.stop(), heard);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(matches!(&last, Some(Ok(Progress::Failed { message })) if message.contains("stopping")), "{last:?}");

    ca.heal();
    let server = house.serve(&ca.ca(), &NAMES).await;
    assert_eq!(is_issued(&house, server, &pebble).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_on_when_the_one_who_asked_for_it_goes_away() {
    let house = House::new();
    let (pebble, ca) = ca(&house);
    ca.fail("/dir", HTML);
    let server = house.serve(&ca.ca(), &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    ca.heal();
    let mut steps = server.client.issue("site", false).await.unwrap();
    assert!(matches!(steps.next().await, Some(Ok(Progress::Step { .. }))));
    drop(steps);
    server.wait_for(CertificateState::Valid).await;
    assert_eq!(orders(&pebble), 1);
    server.handle.stop().await;
}
