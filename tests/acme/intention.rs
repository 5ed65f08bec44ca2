//! Revocations whose outcome nobody heard of: what was asked for is kept before the CA hears of it.

use acmezone::api::{CertificateState, NewReissue, NewRevocation, Progress, RevocationReason, RevokedBy};
use acmezone::client::Client;
use acmezone::config::Config;
use serde_json::Value;

use crate::faulty::{Fault, FaultyCa};
use crate::house::{House, PATIENCE, Running, lines, start_binary};
use crate::support::{Pebble, PebbleVersion, poll_async};

const NAMES: [&str; 1] = ["delegated.test"];
const REVOKE: &str = "/revoke-cert";

/// What the CA itself says of a certificate.
fn status(pebble: &Pebble, serial: &str) -> Value {
    let url = pebble.management_url(&format!("/cert-status-by-serial/{serial}"));
    serde_json::from_str(&pebble.fetch(&url, &[]).expect_success().stdout).unwrap()
}

fn house() -> (House, Pebble, FaultyCa) {
    let mut house = House::new();
    let secret = house.folder.path().join("secret");
    std::fs::write(&secret, "hush").unwrap();
    // Nobody listens there: the events stay.
    house.certificate = format!(
        "reuse_key = true\nwebhook = \"http://127.0.0.1:{}/\"\nwebhook_secret_file = {secret:?}",
        crate::support::free_port()
    );
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    (house, pebble, ca)
}

fn events(house: &House) -> String {
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    store.query_row("SELECT body FROM document WHERE kind = 'deployment'", [], |row| row.get(0)).unwrap()
}

/// The CA revokes, nobody hears of it, and the server ends by this signal.
async fn ends_in_the_middle(signal: libc::c_int, wanted: NewRevocation) {
    let (house, pebble, ca) = house();
    let file = house.configure(&ca.ca(), &NAMES);
    let config = Config::read(&file).unwrap();
    let client = || async {
        poll_async(PATIENCE, "the server", || async {
            let client = Client::new(&config).ok()?;
            client.status().await.ok().map(|_| client)
        })
        .await
    };
    let mut server = start_binary(&file);
    let running = client().await;
    let valid = || async {
        let status = running.certificate("site").await.ok()?;
        (status.state == CertificateState::Valid && house.certificate_folder().exists()).then_some(status)
    };
    let old = poll_async(PATIENCE, "a certificate", valid).await.serial.unwrap();
    let key = house.pem("privkey.pem");
    ca.fail(REVOKE, Fault::SilenceAfterwards);
    let _steps = running.revoke("site", &wanted).await.unwrap();
    poll_async(PATIENCE, "the CA to revoke", || async { (ca.done() > 0).then_some(()) }).await;
    server.signal(signal);
    server.wait(PATIENCE);
    drop(server);
    ca.heal();
    assert_eq!(status(&pebble, &old)["Status"], "Revoked");

    let server = start_binary(&file);
    let running = client().await;
    // Because it was asked for, or because Pebble wants what is revoked to be renewed at once.
    let renewed = poll_async(PATIENCE, "another certificate", || async {
        let status = running.certificate("site").await.ok()?;
        (status.state == CertificateState::Valid && status.serial.as_ref() != Some(&old)).then_some(status)
    })
    .await;
    let history = running.certificate_history("site").await.unwrap();
    let serial = renewed.serial.as_deref().unwrap();
    let told: Vec<_> = history.iter().map(|event| (event.event.as_str(), event.serial.as_deref().unwrap())).collect();
    assert_eq!(told, [("issued", old.as_str()), ("revoked", &old), ("issued", serial)], "{}", server.log());
    assert_eq!(events(&house).matches("\"event\":\"revoked\"").count(), 1);
    poll_async(PATIENCE, "another key", || async { (house.pem("privkey.pem") != key).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_settled_after_a_kill_and_the_leaked_key_used_no_more_rfc8555_7_6() {
    let reason = RevocationReason::KeyCompromise;
    let wanted = NewRevocation { reason, reissue: true, ..NewRevocation::default() };
    ends_in_the_middle(libc::SIGKILL, wanted).await;
}

/// Let's Encrypt blocks a key that has asked for a revocation.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_settled_after_a_stop_and_the_key_that_signed_it_used_no_more_rfc8555_7_6() {
    ends_in_the_middle(libc::SIGTERM, NewRevocation { by: RevokedBy::Key, ..NewRevocation::default() }).await;
}

async fn failed(server: &Running, wanted: &NewRevocation) -> String {
    let lines = lines(server.client.revoke("site", wanted).await.unwrap()).await;
    match lines.last() {
        Some(Progress::Failed { message }) => message.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_the_ca_refuses_is_forgotten_and_one_that_it_may_have_done_is_not_rfc8555_7_6() {
    let (house, pebble, ca) = house();
    let server = house.serve(&ca.ca(), &NAMES).await;
    let old = server.wait_for(CertificateState::Valid).await.serial.unwrap();
    let key = house.pem("privkey.pem");
    let refusal = Fault::Answer {
        status: 403,
        content_type: "application/problem+json",
        retry_after: "7200",
        body: r#"{"type":"urn:ietf:params:acme:error:unauthorized","detail":"not yours","status":403}"#,
    };
    ca.fail(REVOKE, refusal.clone());
    let reissue = NewRevocation { reissue: true, ..NewRevocation::default() };
    let told = failed(&server, &reissue).await;
    for words in ["not yours", "let its own key sign, with `--by key`", "wants to be asked again at 20"] {
        assert!(told.contains(words) && !told.contains("the server asks again"), "{told}");
    }
    ca.fail(REVOKE, refusal);
    let told = failed(&server, &NewRevocation { by: RevokedBy::Key, ..NewRevocation::default() }).await;
    assert!(told.contains("not yours") && !told.contains("--by key"), "{told}");
    let shown = server.show().await;
    assert_eq!((shown.state, shown.revoked, shown.revoking), (CertificateState::Valid, None, None));
    let history = server.client.certificate_history("site").await.unwrap();
    assert_eq!(
        history.iter().map(|event| event.event.as_str()).collect::<Vec<_>>(),
        ["issued", "not-revoked", "not-revoked"]
    );
    // Nothing was revoked with it: the configuration keeps it.
    assert!(matches!(server.issue(true).await.last(), Some(Progress::Done { .. })));
    assert_eq!(house.pem("privkey.pem"), key);

    // One that is not in use any more is not replaced.
    let wanted = NewRevocation { serial: Some(old.clone()), reissue: true, ..NewRevocation::default() };
    let asked = ca.hits();
    let told = server.client.revoke("site", &wanted).await.unwrap_err().to_string();
    assert!(told.contains(&old) && told.contains("is not in use") && told.contains("nothing was revoked"), "{told}");
    assert_eq!((ca.hits(), status(&pebble, &old)["Status"].as_str()), (asked, Some("Valid")));

    let busy = Fault::Answer { status: 503, content_type: "text/html", retry_after: "", body: "<b>busy</b>" };
    let limited = Fault::Answer {
        status: 429,
        content_type: "application/problem+json",
        retry_after: "7200",
        body: r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many","status":429}"#,
    };
    // What came of the first request nobody knows, whatever is said to the next ones.
    for fault in [busy, limited] {
        ca.fail(REVOKE, fault);
        let told = failed(&server, &reissue).await;
        assert!(told.contains("the server asks again until the CA answers"), "{told}");
        let shown = server.show().await;
        let found = (shown.state, shown.revoked.is_none(), shown.revoking.is_some());
        assert_eq!(found, (CertificateState::Valid, true, true));
    }
    let new = server.show().await.serial.unwrap();
    server.handle.stop().await;
    ca.heal();
    let server = house.serve(&ca.ca(), &NAMES).await;
    poll_async(PATIENCE, "the reissue", || async {
        let shown = server.show().await;
        (shown.state == CertificateState::Valid && shown.serial.as_ref() != Some(&new)).then_some(())
    })
    .await;
    assert_eq!(status(&pebble, &new)["Status"], "Revoked");
    // With another key, as it was said.
    assert_ne!(house.pem("privkey.pem"), key);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_says_that_it_waits_for_a_new_account_key() {
    let (house, _pebble, ca) = house();
    let server = house.serve(&ca.ca(), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    lines(server.client.reissue("site", &NewReissue::default()).await.unwrap()).await;
    ca.fail("/rollover-account-key", Fault::Silence);
    let _rollover = server.client.roll_over("pebble").await.unwrap();
    poll_async(PATIENCE, "the rollover", || async { (ca.hits() > 0).then_some(()) }).await;
    let mut steps = server.client.revoke("site", &NewRevocation::default()).await.unwrap();
    let first = steps.next().await.unwrap().unwrap();
    let words = "waiting until the account at pebble has its new key";
    assert_eq!(first, Progress::Step { message: words.into() });
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_account_key_leads_to_the_key_of_the_certificate_rfc8555_7_6() {
    let (house, pebble, ca) = house();
    let server = house.serve(&ca.ca(), &NAMES).await;
    let serial = server.wait_for(CertificateState::Valid).await.serial.unwrap();
    server.handle.stop().await;
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let damage = "UPDATE document SET body = replace(body, '\"key_pkcs8\":\"', '\"key_pkcs8\":\"AAAA') \
                  WHERE body LIKE '%key_pkcs8%'";
    assert_eq!(store.execute(damage, []).unwrap(), 1);
    drop(store);

    let server = house.serve(&ca.ca(), &NAMES).await;
    let told = failed(&server, &NewRevocation::default()).await;
    assert!(told.contains("`--by key`") && !told.contains("the server asks again"), "{told}");
    assert!(server.show().await.revoking.is_some());
    let by_key = NewRevocation { by: RevokedBy::Key, ..NewRevocation::default() };
    let done = lines(server.client.revoke("site", &by_key).await.unwrap()).await;
    assert!(matches!(done.last(), Some(Progress::Done { .. })), "{done:?}");
    assert_eq!(status(&pebble, &serial)["Status"], "Revoked");
    server.handle.stop().await;
}
