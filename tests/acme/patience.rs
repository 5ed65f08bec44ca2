//! CAs that ask for patience get it from all certificates at once, and what they say in between loses nothing.

use std::time::Duration;

use acmezone::api::{CertificateState, CertificateStatus, NewRevocation, Progress};
use serde_json::Value;

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, PATIENCE, Running, lines, orders};
use crate::support::{Pebble, PebbleVersion, poll_async};

const NAMES: [&str; 1] = ["delegated.test"];
const PROBLEM: &str = "application/problem+json";
const LIMITED: &str = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many requests"}"#;
const LOST: &str = r#"{"type":"urn:ietf:params:acme:error:accountDoesNotExist","detail":"who are you?"}"#;

const fn answer(status: u16, retry_after: &'static str, body: &'static str) -> Fault {
    Fault::Answer { status, content_type: PROBLEM, retry_after, body }
}

fn ca() -> (House, Pebble, FaultyCa) {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let front = FaultyCa::before(&pebble);
    (house, pebble, front)
}

/// As many certificates as this, with `site`.
fn crowd(house: &mut House, count: usize) {
    for number in 1..count {
        let table = format!("[[certificate]]\nname = \"more-{number}\"\nnames = [\"delegated.test\"]\n");
        house.tables.push_str(&table);
    }
}

/// All certificates, once this is true of each.
async fn all(server: &Running, what: &str, is: fn(&CertificateStatus) -> bool) -> Vec<CertificateStatus> {
    let all = || async {
        let all = server.client.certificates().await.unwrap();
        all.iter().all(is).then_some(all)
    };
    poll_async(PATIENCE, what, all).await
}

async fn is_quiet(front: &FaultyCa) {
    let requests = front.requests();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(front.requests(), requests);
}

fn is_done(lines: &[Progress]) {
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
}

/// The one account document.
fn account(house: &House) -> Value {
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let text = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let body = store.query_row("SELECT body FROM document WHERE kind = 'ca-account'", [], text).unwrap();
    serde_json::from_str(&body).unwrap()
}

fn accounts(pebble: &Pebble) -> usize {
    pebble.log().matches("accounts in memory").count()
}

/// One certificate hears it for all; a person is not kept from asking, and is told.
async fn one_hears_it_for_twenty(path: &'static str, fault: Fault, wait: i64) {
    let (mut house, _pebble, front) = ca();
    crowd(&mut house, 20);
    front.fail(path, fault);
    let server = house.serve(&front.ca(), &NAMES).await;
    let is_over = |one: &CertificateStatus| one.last_error.is_some() && one.next_attempt.is_some();
    let all = all(&server, "all certificates to have failed", is_over).await;
    assert_eq!(front.hits(), 1, "{path}");
    for one in all {
        let left = one.next_attempt.unwrap().duration_since(jiff::Timestamp::now()).as_secs();
        assert!((wait - 30..=wait + wait / 10 + 1).contains(&left), "{path}: again in {left} s: {one:?}");
    }
    is_quiet(&front).await;

    let lines = server.issue(false).await;
    assert!(format!("{lines:?}").contains("pebble has asked to be left alone until"), "{lines:#?}");
    assert_eq!(front.hits(), 2, "{path}");
    front.heal();
    is_done(&server.issue(false).await);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_for_new_accounts_is_met_once_for_all_certificates_rfc9110_10_2_3() {
    one_hears_it_for_twenty("/sign-me-up", answer(429, "7200", LIMITED), 7200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_for_nonces_is_met_once_for_all_certificates_rfc9110_10_2_3() {
    one_hears_it_for_twenty("/nonce-plz", answer(429, "7200", LIMITED), 7200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_down_until_a_moment_is_asked_once_before_it_rfc9110_10_2_3() {
    one_hears_it_for_twenty("/dir", answer(503, "600", "<html>"), 600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_renewal_leave_a_ca_alone_too_rfc9773_4_3() {
    let (mut house, _pebble, front) = ca();
    crowd(&mut house, 8);
    // No question is answered.
    front.fail("/draft-ietf-acme-ari", Fault::Silence);
    let server = house.serve(&front.ca(), &NAMES).await;
    all(&server, "all certificates", |one| one.state == CertificateState::Valid).await;
    server.handle.stop().await;

    front.fail("/dir", answer(503, "600", "<html>"));
    let server = house.serve(&front.ca(), &NAMES).await;
    poll_async(PATIENCE, "a question", || async { (front.hits() > 0).then_some(()) }).await;
    is_quiet(&front).await;
    assert_eq!(front.hits(), 1);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_the_ca_does_not_take_now_is_not_told_again_before_its_time() {
    let (house, _pebble, front) = ca();
    // The account is found again, and it may have been made with other addresses.
    front.fail("/sign-me-up", Fault::CutAfterwards);
    let server = house.serve(&front.ca(), &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    front.fail("/my-account", answer(429, "7200", LIMITED));
    for renew in [false, true] {
        let lines = server.issue(renew).await;
        is_done(&lines);
        assert_eq!(front.hits(), 1);
        // Nor does it hold any certificate.
        assert!(!format!("{lines:?}").contains("left alone"), "{lines:#?}");
    }
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_does_not_tell_about_renewal_or_revoke_today_still_gets_orders_rfc9110_10_2_3() {
    let (house, pebble, front) = ca();
    front.fail("/draft-ietf-acme-ari", answer(503, "86400", "<html>"));
    let server = house.serve(&front.ca(), &NAMES).await;
    poll_async(PATIENCE, "a question about renewal", || async { (front.hits() > 0).then_some(()) }).await;
    front.fail("/revoke-cert", answer(503, "86400", "<html>"));
    let told = lines(server.client.revoke("site", &NewRevocation::default()).await.unwrap()).await;
    assert_eq!(front.hits(), 1, "{told:?}");
    let lines = server.issue(true).await;
    is_done(&lines);
    assert!(!format!("{lines:?}").contains("left alone"), "{lines:#?}");
    assert_eq!(orders(&pebble), 2);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_cas_each_is_left_alone_as_it_asked_and_both_are_told() {
    let (mut house, pebble, front) = ca();
    let Ca { directory, root, .. } = Ca::down(&pebble.root_pem_path());
    house.tables = format!("[[ca]]\nname = \"second\"\ndirectory = \"{directory}\"\nroot = {root:?}\n");
    house.certificate = "ca = [\"pebble\", \"second\"]".into();
    front.fail("/order-plz", answer(429, "7200", LIMITED));
    let server = house.serve(&front.ca(), &NAMES).await;
    let is_told = |status: &CertificateStatus, failures: u32| {
        let error = status.last_error.as_ref().unwrap();
        for words in ["at pebble: too many requests", "at second: the CA cannot be reached"] {
            assert!(error.message.contains(words), "{}", error.message);
        }
        assert_eq!(error.failures, failures);
        // The second one is not waited for until the first one may be asked.
        assert!((60..=660).contains(&status.next_attempt.unwrap().duration_since(error.at).as_secs()), "{status:?}");
    };
    is_told(&server.wait_for(CertificateState::Failed).await, 1);
    server.handle.stop().await;

    // The minute is over.
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let change = "UPDATE document SET body = json_set(body, '$.failure.next_attempt', 1) WHERE kind = 'issuance'";
    assert_eq!(store.execute(change, []), Ok(1));
    drop(store);
    let server = house.serve(&front.ca(), &NAMES).await;
    let again = || async { Some(server.show().await).filter(|one| one.last_error.as_ref().unwrap().failures == 2) };
    is_told(&poll_async(PATIENCE, "the next attempt", again).await, 2);
    assert_eq!(front.hits(), 1);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_that_a_ca_asks_for_is_too_long_to_be_reckoned_with() {
    let (house, pebble, front) = ca();
    // Where instant-acme reads it.
    front.fail("/my-order", Fault::RetryAfter("18446744073709551615"));
    let server = house.serve(&front.ca(), &NAMES).await;
    let until = || async {
        let status = server.show().await;
        (status.state == CertificateState::Valid || status.last_error.is_some()).then_some(status)
    };
    let status = poll_async(PATIENCE, "the end of the attempt", until).await;
    // Whatever the CA has not got ready at once is not waited for.
    let message = status.last_error.map_or_else(|| "at work".into(), |error| error.message);
    assert!(message.contains("at work"), "{message}");
    front.heal();
    is_done(&server.issue(false).await);
    assert_eq!(orders(&pebble), 1);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_ca_does_not_know_for_a_moment_is_kept_rfc8555_7_3_1() {
    let (house, pebble, front) = ca();
    let server = house.serve(&front.ca(), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let before = account(&house);
    front.fail_times(1, "/order-plz", answer(400, "", LOST));
    let lines = server.issue(true).await;
    is_done(&lines);
    assert!(format!("{lines:?}").contains("asking for it by its key"), "{lines:#?}");
    assert_eq!((front.hits(), account(&house), accounts(&pebble)), (1, before.clone(), 1));

    // As long as its key is known there it has a URL.
    server.handle.stop().await;
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let change = "UPDATE document SET body = json_set(body, '$.credentials.id', \
                  json_extract(body, '$.credentials.id') || '0') WHERE kind = 'ca-account'";
    assert_eq!(store.execute(change, []), Ok(1));
    drop(store);
    let server = house.serve(&front.ca(), &NAMES).await;
    is_done(&server.issue(true).await);
    assert_eq!((account(&house), accounts(&pebble)), (before, 1));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_has_a_head_alone_is_gone_on_with() {
    let (house, pebble, front) = ca();
    front.fail("/order-plz", Fault::CutInside);
    let server = house.serve(&front.ca(), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    assert_eq!((front.hits(), orders(&pebble)), (1, 1));
    server.handle.stop().await;
}
