//! New accounts: a key first, then an account, and never two of them.

use std::process::Command;

use acmezone::api::{CertificateState, Progress};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, PATIENCE};
use crate::support::{Pebble, PebbleVersion, poll_async};

const NAMES: [&str; 1] = ["delegated.test"];
const NEW_ACCOUNT: &str = "/sign-me-up";

/// What the store has of the account.
fn stored(house: &House) -> Value {
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let query = "SELECT body FROM document WHERE kind = 'ca-account'";
    let body: String = store.query_row(query, [], |row| row.get(0)).unwrap();
    serde_json::from_str(&body).unwrap()
}

fn key(stored: &Value) -> &str {
    let being_made = &stored["being_made"]["key_pkcs8"];
    being_made.as_str().or(stored["credentials"]["key_pkcs8"].as_str()).unwrap()
}

#[track_caller]
fn has_accounts(pebble: &Pebble, number: usize) {
    assert_eq!(pebble.log().matches("accounts in memory").count(), number, "{}", pebble.log());
}

/// What `acmezone ca show pebble` says of the account.
async fn shown(house: &House) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
    command.args(["ca", "show", "pebble", "--config"]).arg(house.folder.path().join("acmezone.toml"));
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.lines().find_map(|line| line.strip_prefix("account")).unwrap();
    words.trim_start_matches(':').trim().to_owned()
}

/// The answer to newAccount is lost, after the CA has acted or before, and the server ends. An external account can be
/// bound once: for the account that was made the next server needs none.
async fn is_found_again(version: PebbleVersion, eab: bool, acted: bool) {
    let house = House::new();
    let keys = json!({ "kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" });
    let mut builder = house.pebble(version).nonce_reject(0);
    let mut bound = "";
    if eab {
        let config = builder.config("externalAccountBindingRequired", json!(true));
        builder = config.config("externalAccountMACKeys", keys.clone());
        bound = r#"eab = { key_id = "kid-1", hmac_key_file = "eab.key" }"#;
        std::fs::write(house.folder.path().join("eab.key"), keys["kid-1"].as_str().unwrap()).unwrap();
    }
    let pebble = builder.start();
    let front = FaultyCa::before(&pebble);
    let ca = |more| Ca { more, ..front.ca() };
    front.fail(NEW_ACCOUNT, if acted { Fault::SilenceAfterwards } else { Fault::Silence });
    let server = house.serve(&ca(bound), &NAMES).await;
    let seen = || async { (if acted { front.done() } else { front.hits() } == 1).then_some(()) };
    poll_async(PATIENCE, "the CA to be asked for an account", seen).await;
    assert_eq!(shown(&house).await, "being made");
    let status = server.client.ca("pebble").await.unwrap();
    assert_eq!((status.account, status.account_being_made), (None, true));
    server.handle.stop().await;
    let begun = stored(&house);
    assert!(begun["being_made"].is_object(), "{begun}");
    front.heal();

    let server = house.serve(&ca(if acted { "agree_to_terms = false" } else { bound }), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let status = server.client.ca("pebble").await.unwrap();
    assert!(status.account.is_some() && !status.account_being_made, "{status:?}");
    server.handle.stop().await;
    assert_eq!(key(&stored(&house)), key(&begun));
    has_accounts(&pebble, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_making_was_not_heard_of_is_found_again_at_pebble_2_4_rfc8555_7_3_1() {
    is_found_again(PebbleVersion::Debian240, false, true).await;
    is_found_again(PebbleVersion::Debian240, false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_making_was_not_heard_of_is_found_again_at_pebble_2_10_rfc8555_7_3_1() {
    is_found_again(PebbleVersion::V2_10_1, false, true).await;
    is_found_again(PebbleVersion::V2_10_1, false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_bound_once_though_its_making_was_not_heard_of_at_pebble_2_4_rfc8555_7_3_4() {
    is_found_again(PebbleVersion::Debian240, true, true).await;
    is_found_again(PebbleVersion::Debian240, true, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_bound_once_though_its_making_was_not_heard_of_at_pebble_2_10_rfc8555_7_3_4() {
    is_found_again(PebbleVersion::V2_10_1, true, true).await;
    is_found_again(PebbleVersion::V2_10_1, true, false).await;
}

/// The same process tries again.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_costs_no_second_account() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let front = FaultyCa::before(&pebble);
    front.fail(NEW_ACCOUNT, Fault::AnswerAfterwards { status: 503, body: "lost" });
    let server = house.serve(&front.ca(), &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    front.heal();
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    assert_eq!(stored(&house)["contact"], json!(["mailto:hostmaster@example.test"]));
    server.handle.stop().await;
    has_accounts(&pebble, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_ca_does_not_know_any_more_is_made_anew_with_a_new_key_rfc8555_6_7() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    server.handle.stop().await;
    let before = stored(&house);
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    // An account of which it has never heard, neither by its URL nor by its key.
    let other = rcgen::KeyPair::generate().unwrap().serialize_der();
    let other = BASE64_URL_SAFE_NO_PAD.encode(other);
    let change = "UPDATE document SET body = json_set(body, '$.credentials.key_pkcs8', ?1, '$.credentials.id', \
                  json_extract(body, '$.credentials.id') || '0') WHERE kind = 'ca-account'";
    assert_eq!(store.execute(change, [&other]), Ok(1));
    drop(store);

    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    assert!(format!("{lines:?}").contains("does not know our account any more"), "{lines:#?}");
    server.handle.stop().await;
    let after = stored(&house);
    assert!(key(&after) != key(&before) && key(&after) != other);
    // Nobody knows whether it is gone for ever.
    assert_eq!(key(&after["former"][0]), other);
    has_accounts(&pebble, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_never_needed_is_none_yet() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    // Waits for its delegation.
    let server = house.serve(&Ca::of(&pebble), &["example.test"]).await;
    server.wait_for(CertificateState::WaitingForDelegation).await;
    assert_eq!(shown(&house).await, "none yet");
    server.handle.stop().await;
}
