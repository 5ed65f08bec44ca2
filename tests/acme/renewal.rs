//! Renewal when the CA says so (RFC 9773): against Pebble, and against Pebble on a bad day.

use std::time::Duration;

use acmezone::api::{CertificateState, CertificateStatus, Progress};
use serde_json::json;

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, PATIENCE, Running, orders};
use crate::support::{Pebble, PebbleVersion, poll_async};

const NAMES: [&str; 1] = ["delegated.test"];
const ARI: &str = "/draft-ietf-acme-ari-03/renewalInfo/";

/// Waits until the server has heard from the CA, or could not.
pub async fn asked(server: &Running) -> CertificateStatus {
    poll_async(PATIENCE, "the server to ask", || async {
        let status = server.show().await;
        (status.renewal_window.is_some() || status.renewal_problem.is_some()).then_some(status)
    })
    .await
}

/// What Pebble answers from now on to whoever asks about the certificate in use.
pub fn set_renewal_info(house: &House, pebble: &Pebble, answer: &str) {
    let body = json!({ "Certificate": house.pem("cert.pem"), "ARIResponse": answer }).to_string();
    pebble.fetch(&pebble.management_url("/set-renewal-info/"), &["--data", &body]).expect_success();
}

/// A window from so many seconds after now to so many.
pub fn window(start: i64, end: i64) -> String {
    let at = |seconds: i64| jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds).unwrap();
    let window = json!({ "start": at(start), "end": at(end) });
    json!({ "suggestedWindow": window, "explanationURL": "https://ca.test/incident" }).to_string()
}

/// Changes what a server that is stopped remembers of the certificate.
fn change_state(house: &House, change: &str) {
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let change = format!("UPDATE document SET body = {change} WHERE kind = 'issuance'");
    assert_eq!(store.execute(&change, []), Ok(1));
}

/// As if the hours had gone by after which the CA wants to be asked again.
pub fn forget_renewal(house: &House) {
    change_state(house, "json_remove(body, '$.renewal')");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_in_the_past_is_a_renewal_now_and_the_order_says_what_it_replaces_rfc9773_4_2_5() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::of(&pebble);
    let server = house.serve(&ca, &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let first = asked(&server).await;
    let (window_of, renewal) = (first.renewal_window.unwrap(), first.renewal.unwrap());
    assert!(window_of.start <= renewal && renewal < window_of.end, "{first:?}");
    assert_eq!(first.next_attempt, first.renewal);
    assert_eq!((&first.renewal_problem, &first.renewal_explanation), (&None, &None));
    server.handle.stop().await;

    // The moment stays the same over a restart, without a question.
    let server = house.serve(&ca, &NAMES).await;
    assert_eq!(server.show().await.renewal, Some(renewal));
    server.handle.stop().await;
    assert_eq!(pebble.log().matches(ARI).count(), 1, "{}", pebble.log());

    set_renewal_info(&house, &pebble, &window(-3600, -1));
    forget_renewal(&house);
    let server = house.serve(&ca, &NAMES).await;
    let second = poll_async(PATIENCE, "a new certificate", || async {
        let status = server.show().await;
        (status.serial != first.serial && status.state == CertificateState::Valid).then_some(status)
    })
    .await;
    assert!(pebble.log().contains("is a replacement of"), "{}", pebble.log());
    assert_eq!(orders(&pebble), 2);
    assert!(second.renewal > Some(jiff::Timestamp::now()), "{second:?}");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_information_that_cannot_be_read_is_told_and_the_usual_moment_holds_rfc9773_4_3() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::of(&pebble);
    let server = house.serve(&ca, &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    asked(&server).await;
    server.handle.stop().await;

    for noise in ["<html>", r#"{"suggestedWindow":{"start":"2026-02-01T00:00:00Z","end":"2026-01-01T00:00:00Z"}}"#] {
        set_renewal_info(&house, &pebble, noise);
        forget_renewal(&house);
        let server = house.serve(&ca, &NAMES).await;
        let status = asked(&server).await;
        let problem = status.renewal_problem.clone().unwrap();
        assert!(problem.contains("renewal information") && problem.contains(ARI), "{problem}");
        assert_eq!((status.state, status.renewal_window), (CertificateState::Valid, None));
        // Between 61 and 67 % of its life.
        let (from, to) = (status.not_before.unwrap().as_second(), status.not_after.unwrap().as_second());
        let share = (status.renewal.unwrap().as_second() - from) as f64 / (to - from) as f64;
        assert!((0.61..0.67).contains(&share), "{share}");
        server.handle.stop().await;
    }

    let later = window(5 * 86_400, 6 * 86_400);
    set_renewal_info(&house, &pebble, &later);
    forget_renewal(&house);
    let server = house.serve(&ca, &NAMES).await;
    let status = asked(&server).await;
    assert_eq!(status.renewal_explanation.as_deref(), Some("https://ca.test/incident"));
    assert!(status.renewal.unwrap() < jiff::Timestamp::now() + Duration::from_secs(6 * 86_400), "{status:?}");
    assert_eq!(orders(&pebble), 1);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_fails_to_say_when_is_asked_again_later_and_not_at_once_rfc9773_4_3() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let front = FaultyCa::before(&pebble);
    let (content_type, retry_after, body) = ("text/html", "7200", "<html>busy</html>");
    front.fail(ARI, Fault::Answer { status: 503, content_type, retry_after, body });
    let server = house.serve(&front.ca(), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let problem = asked(&server).await.renewal_problem.unwrap();
    assert!(problem.contains("503") && problem.contains("busy"), "{problem}");
    server.handle.stop().await;
    let server = house.serve(&front.ca(), &NAMES).await;
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:?}");
    assert_eq!((front.hits(), orders(&pebble)), (1, 1));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_replaced_already_is_renewed_without_saying_so_rfc9773_5() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::of(&pebble);
    let server = house.serve(&ca, &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    assert!(pebble.log().contains("is a replacement of"), "{}", pebble.log());
    server.handle.stop().await;

    // A backup from before the renewal.
    change_state(&house, "json_set(body, '$.current', 1, '$.renewal', NULL)");
    let server = house.serve(&ca, &NAMES).await;
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let words = format!("{lines:?}");
    assert!(words.contains("takes no order in place of") && words.contains("alreadyReplaced"), "{lines:#?}");
    assert_eq!(words.matches("takes no order in place of").count(), 1);
    assert_eq!(orders(&pebble), 3);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_without_renewal_information_gets_an_order_like_any_other_rfc9773_5() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::Debian240).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let status = server.show().await;
    assert_eq!((status.renewal_window, &status.renewal_problem), (None, &None));
    assert!(status.renewal > Some(jiff::Timestamp::now()) && status.renewal < status.not_after, "{status:?}");
    server.handle.stop().await;
}

/// A CA may fail because of what is replaced, and not say so.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_refused_twice_is_made_without_saying_what_it_replaces_rfc9773_5() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let front = FaultyCa::before(&pebble);
    let server = house.serve(&front.ca(), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let (content_type, retry_after, body) = ("application/problem+json", "", "{\"detail\":\"no such order\"}");
    let refusal = || Fault::Answer { status: 500, content_type, retry_after, body };
    // Said once more after one refusal, and no more after two. Who was not asked has refused nothing.
    for (times, path, fault, said) in
        [(1, "/order-plz", refusal(), 1), (2, "/nonce-plz", Fault::Cut, 2), (2, "/order-plz", refusal(), 2)]
    {
        front.fail(path, fault);
        for _ in 0..times {
            let lines = server.issue(true).await;
            assert!(matches!(lines.last(), Some(Progress::Failed { .. })), "{lines:#?}");
        }
        front.heal();
        let lines = server.issue(true).await;
        assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
        assert_eq!(pebble.log().matches("is a replacement of").count(), said);
    }
    server.handle.stop().await;
}
