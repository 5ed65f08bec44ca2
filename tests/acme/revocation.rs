//! Revocation, and certificates that take the place of revoked ones.

use std::time::Duration;

use acmezone::api::{CertificateState, NewReissue, NewRevocation, Progress, RevocationReason, RevokedBy};
use serde_json::Value;

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, PATIENCE, Running, lines, orders};
use crate::support::{Pebble, PebbleVersion, poll_async, verify_chain};

const NAMES: [&str; 1] = ["delegated.test"];

/// What the CA itself says of a certificate.
fn status(pebble: &Pebble, serial: &str) -> Value {
    let url = pebble.management_url(&format!("/cert-status-by-serial/{serial}"));
    serde_json::from_str(&pebble.fetch(&url, &[]).expect_success().stdout).unwrap()
}

async fn revoke(server: &Running, wanted: NewRevocation) -> Vec<Progress> {
    lines(server.client.revoke("site", &wanted).await.unwrap()).await
}

async fn reissue(server: &Running, new_key: bool) {
    let lines = lines(server.client.reissue("site", &NewReissue { new_key }).await.unwrap()).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
}

#[track_caller]
fn done(lines: &[Progress]) -> &str {
    match lines.last() {
        Some(Progress::Done { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

async fn by_the_account(version: PebbleVersion) {
    let house = House::new();
    let pebble = house.pebble(version).nonce_reject(20).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let serial = server.wait_for(CertificateState::Valid).await.serial.unwrap();
    assert_eq!(status(&pebble, &serial)["Status"], "Valid");
    let file = house.pem("cert.pem");

    let reason = RevocationReason::CessationOfOperation;
    let told = revoke(&server, NewRevocation { reason, ..NewRevocation::default() }).await;
    assert!(done(&told).contains("acmezone cert reissue site"), "{told:?}");
    let seen = status(&pebble, &serial);
    assert_eq!((&seen["Status"], &seen["Reason"]), (&"Revoked".into(), &5.into()));
    // What is revoked stays in use until something takes its place.
    let shown = server.show().await;
    assert_eq!((shown.state, shown.serial.as_ref()), (CertificateState::Revoked, Some(&serial)));
    assert_eq!(shown.revoked.unwrap().reason, reason);
    assert_eq!(house.pem("cert.pem"), file);

    // Twice is once.
    let first = shown.revoked;
    let told = revoke(&server, NewRevocation::default()).await;
    assert!(done(&told).contains("revoked before"), "{told:?}");
    assert_eq!(server.show().await.revoked, first);

    reissue(&server, false).await;
    let shown = server.show().await;
    assert_eq!((shown.state, shown.revoked), (CertificateState::Valid, None));
    assert_ne!(shown.serial.as_ref(), Some(&serial));
    assert_eq!(status(&pebble, &shown.serial.unwrap())["Status"], "Valid");
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_revoked_by_its_account_at_pebble_2_4_rfc8555_7_6() {
    by_the_account(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_revoked_by_its_account_at_pebble_2_10_rfc8555_7_6() {
    by_the_account(PebbleVersion::V2_10_1).await;
}

/// Pebble forgets nothing: one certificate by its RSA key, and the one after it without the key being kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_revokes_its_certificate_and_a_new_key_is_made_when_asked_for() {
    let mut house = House::new();
    house.certificate = "key_type = \"rsa2048\"\nreuse_key = true".into();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let serial = server.wait_for(CertificateState::Valid).await.serial.unwrap();
    let reason = RevocationReason::Superseded;
    done(&revoke(&server, NewRevocation { by: RevokedBy::Key, reason, ..NewRevocation::default() }).await);
    let seen = status(&pebble, &serial);
    assert_eq!((&seen["Status"], &seen["Reason"]), (&"Revoked".into(), &4.into()));
    let key = house.pem("privkey.pem");
    reissue(&server, true).await;
    assert_ne!(house.pem("privkey.pem"), key);
    server.handle.stop().await;
}

/// The account is lost, and no other is made for a revocation.
async fn by_its_own_key(version: PebbleVersion) {
    let house = House::new();
    let pebble = house.pebble(version).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let serial = server.wait_for(CertificateState::Valid).await.serial.unwrap();
    server.handle.stop().await;
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    assert_eq!(store.execute("DELETE FROM document WHERE kind = 'ca-account'", []).unwrap(), 1);
    drop(store);

    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let told = revoke(&server, NewRevocation::default()).await;
    assert!(matches!(told.last(), Some(Progress::Failed { message }) if message.contains("--by key")), "{told:?}");
    assert_eq!(status(&pebble, &serial)["Status"], "Valid");
    assert_eq!(server.show().await.revoked, None);
    let told = revoke(&server, NewRevocation { by: RevokedBy::Key, ..NewRevocation::default() }).await;
    done(&told);
    let seen = status(&pebble, &serial);
    assert_eq!((&seen["Status"], &seen["Reason"]), (&"Revoked".into(), &Value::Null));
    assert!(!pebble.log().contains("There are now 2 accounts"), "{}", pebble.log());
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_revoked_by_its_own_key_at_pebble_2_4_rfc8555_7_6() {
    by_its_own_key(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_revoked_by_its_own_key_at_pebble_2_10_rfc8555_7_6() {
    by_its_own_key(PebbleVersion::V2_10_1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_certificate_is_revoked_by_its_serial() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let old = server.wait_for(CertificateState::Valid).await.serial.unwrap();
    reissue(&server, false).await;
    let new = server.show().await.serial.unwrap();

    let wanted = |serial: &str| NewRevocation { serial: Some(serial.to_owned()), ..NewRevocation::default() };
    let error = server.client.revoke("site", &wanted("4711")).await.unwrap_err().to_string();
    assert!(error.contains("4711") && error.contains(&old) && error.contains(&new), "{error}");
    let error = server.client.revoke("site", &wanted("x")).await.unwrap_err().to_string();
    assert!(error.contains("hexadecimal"), "{error}");
    let error = server.client.revoke("other", &wanted("4711")).await.unwrap_err().to_string();
    assert!(error.contains("no [[certificate]] with the name `other`"), "{error}");

    let mut colons = old.to_ascii_uppercase();
    colons.insert(2, ':');
    let told = revoke(&server, wanted(&colons)).await;
    assert!(!done(&told).contains("reissue"), "{told:?}");
    assert_eq!(status(&pebble, &old)["Status"], "Revoked");
    assert_eq!(status(&pebble, &new)["Status"], "Valid");
    let shown = server.show().await;
    assert_eq!((shown.state, shown.revoked), (CertificateState::Valid, None));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compromised_key_is_used_no_more_though_the_configuration_keeps_it() {
    let mut house = House::new();
    house.certificate = "reuse_key = true".into();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let old = server.wait_for(CertificateState::Valid).await.serial.unwrap();
    let key = house.pem("privkey.pem");
    reissue(&server, false).await;
    assert_eq!(house.pem("privkey.pem"), key);
    let reused = server.show().await.serial.unwrap();
    let reason = RevocationReason::KeyCompromise;
    let told = revoke(&server, NewRevocation { reason, reissue: true, ..NewRevocation::default() }).await;
    assert!(matches!(told.last(), Some(Progress::Done { .. })), "{told:#?}");
    // What else has the key is named.
    assert!(told.iter().any(|line| matches!(line, Progress::Step { message } if message.contains(&old))), "{told:#?}");
    let seen = status(&pebble, &reused);
    assert_eq!((&seen["Status"], &seen["Reason"]), (&"Revoked".into(), &1.into()));
    let shown = server.show().await;
    assert_eq!((shown.state, shown.revoked), (CertificateState::Valid, None));
    assert_ne!(shown.serial, Some(reused));
    assert_ne!(house.pem("privkey.pem"), key);
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);
    server.handle.stop().await;
}

/// The certificate is revoked, and then the CA takes no order: the server tries again by itself, after a restart too,
/// and does not wait for the renewal of a certificate that nobody trusts.
#[tokio::test(flavor = "multi_thread")]
async fn a_reissue_that_fails_stays_due() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    let server = house.serve(&ca.ca(), &NAMES).await;
    let old = server.wait_for(CertificateState::Valid).await.serial.unwrap();
    let busy = Fault::Answer { status: 503, content_type: "text/html", retry_after: "1", body: "<b>busy</b>" };
    ca.fail("/order-plz", busy);
    let told = revoke(&server, NewRevocation { reissue: true, ..NewRevocation::default() }).await;
    assert!(matches!(told.last(), Some(Progress::Failed { .. })), "{told:#?}");
    assert_eq!(status(&pebble, &old)["Status"], "Revoked");
    server.handle.stop().await;
    let server = house.serve(&ca.ca(), &NAMES).await;
    let shown = server.show().await;
    assert_eq!((shown.state, shown.serial.as_ref()), (CertificateState::Revoked, Some(&old)));
    let wait = shown.next_attempt.unwrap().duration_since(jiff::Timestamp::now()).as_secs();
    assert!(wait <= 66, "{wait}");
    server.handle.stop().await;
    assert_eq!(orders(&pebble), 1);
}

/// What is asked for while an order is under way is done after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reissue_waits_for_an_order_under_way_and_then_makes_its_own() {
    let house = House::new();
    let pebble = house.slow_pebble(1).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.wait_for(CertificateState::Issuing).await;
    reissue(&server, true).await;
    assert_eq!(server.show().await.state, CertificateState::Valid);
    assert_eq!(orders(&pebble), 2);
    server.handle.stop().await;
}

/// Pebble's window for it is in the past from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_renewed_when_the_ca_wants_that_which_is_asked_at_once_rfc9773_4_2() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::of(&pebble);
    let server = house.serve(&ca, &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let asked = || async { server.show().await.renewal_window };
    let window = poll_async(PATIENCE, "the CA's window", asked).await;
    server.handle.stop().await;

    // What is new is not made again within a minute, by the same process.
    let server = house.serve(&ca, &NAMES).await;
    let old = server.show().await;
    assert!(window.start > jiff::Timestamp::now() && old.renewal_window == Some(window), "{old:?}");
    done(&revoke(&server, NewRevocation::default()).await);
    let renewed = poll_async(Duration::from_secs(15), "another certificate", || async {
        let status = server.show().await;
        (status.serial != old.serial && status.state == CertificateState::Valid).then_some(status)
    })
    .await;
    assert_eq!(status(&pebble, &renewed.serial.unwrap())["Status"], "Valid");
    assert_eq!(orders(&pebble), 2);
    server.handle.stop().await;
}

/// The key is told to be compromised while the next certificate is ordered for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_under_way_does_not_end_with_a_key_that_is_compromised_meanwhile() {
    let mut house = House::new();
    house.certificate = "reuse_key = true".into();
    let pebble = house.slow_pebble(1).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let old = server.wait_for(CertificateState::Valid).await.serial;
    let key = house.pem("privkey.pem");
    let mut steps = server.client.issue("site", true).await.unwrap();
    loop {
        match steps.next().await {
            Some(Ok(Progress::Step { message })) if message.contains("ordered") => break,
            Some(Ok(Progress::Step { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    let reason = RevocationReason::KeyCompromise;
    let (renewed, revoked) =
        tokio::join!(lines(steps), revoke(&server, NewRevocation { reason, ..NewRevocation::default() }));
    done(&revoked);
    done(&renewed);
    let shown = server.show().await;
    assert_eq!((shown.state, shown.revoked), (CertificateState::Valid, None));
    assert_ne!(shown.serial, old);
    assert_ne!(house.pem("privkey.pem"), key);
    assert_eq!(orders(&pebble), 3);
    assert!(format!("{renewed:?}").contains("compromised meanwhile"), "{renewed:#?}");
    server.handle.stop().await;
}
