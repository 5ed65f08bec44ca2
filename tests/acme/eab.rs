//! The HMAC key of an external account binding: needed once.

use std::fs;

use acmezone::api::Progress;
use serde_json::json;

use crate::house::{Ca, House};
use crate::support::PebbleVersion;

const NAMES: [&str; 1] = ["delegated.test"];
const HMAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

#[tokio::test(flavor = "multi_thread")]
async fn the_hmac_key_may_be_taken_away_when_there_is_an_account_rfc8555_7_3_4() {
    let house = House::new();
    let builder = house.pebble(PebbleVersion::V2_10_1).config("externalAccountBindingRequired", json!(true));
    let pebble = builder.config("externalAccountMACKeys", json!({ "kid-1": HMAC_KEY })).start();
    let more = "eab = { key_id = \"kid-1\", hmac_key_file = \"eab.key\" }";
    let ca = Ca { more, ..Ca::of(&pebble) };
    let file = house.folder.path().join("eab.key");

    // It is missed when an account is to be made, and not before.
    let server = house.serve(&ca, &NAMES).await;
    let lines = server.issue(false).await;
    let missed = matches!(lines.last(), Some(Progress::Failed { message }) if message.contains(file.to_str().unwrap()));
    assert!(missed, "{lines:#?}");
    fs::write(&file, HMAC_KEY).unwrap();
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    server.handle.stop().await;

    fs::remove_file(&file).unwrap();
    let server = house.serve(&ca, &NAMES).await;
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    server.handle.stop().await;
}
