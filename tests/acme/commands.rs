//! `cert issue --dry-run` and `cert history` as they are typed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use acmezone::api::{CertificateState, NewRevocation, Progress};
use serde_json::{Value, json};

use crate::house::{Ca, House, lines, orders};
use crate::support::{Pebble, PebbleVersion};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

async fn acmezone(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
    command.arg("--config").arg(file).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// As JSON, one value on each line.
fn json_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn file(house: &House) -> PathBuf {
    house.folder.path().join("acmezone.toml")
}

fn accounts(pebble: &Pebble) -> usize {
    pebble.log().matches("POST /sign-me-up -> calling handler").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_the_record_that_is_missing_and_orders_nothing() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &["example.test", "*.example.test"]).await;
    let waiting = server.wait_for(CertificateState::WaitingForDelegation).await;
    let [record] = &waiting.missing_records[..] else { panic!("{waiting:?}") };

    let told = acmezone(&file(&house), &["cert", "issue", "site", "--dry-run"]).await;
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    for words in ["there is no certificate yet", "make this record first", record] {
        assert!((text(&told.stdout).to_owned() + text(&told.stderr)).contains(words), "{told:?}");
    }
    let told = acmezone(&file(&house), &["cert", "issue", "site", "--dry-run", "--json"]).await;
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let last = json_lines(&told).pop().unwrap();
    assert!(last.to_string().contains("failed") && last.to_string().contains("make this record first"), "{last}");

    house.add_record(record);
    let told = acmezone(&file(&house), &["cert", "issue", "site", "--dry-run"]).await;
    assert!(told.status.success(), "{told:?}");
    let words = "pebble: would order *.example.test, example.test with a new account";
    assert!(text(&told.stdout).contains(words), "{told:?}");
    assert!(text(&told.stdout).contains("an order could be made; nothing was ordered"), "{told:?}");
    assert_eq!((orders(&pebble), accounts(&pebble)), (0, 0));
    assert!(server.client.names().await.unwrap().iter().all(|name| name.values.is_empty()));

    // The dry run stands in nobody's way.
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let account = server.client.ca("pebble").await.unwrap().account.unwrap();
    let told = acmezone(&file(&house), &["cert", "issue", "site", "--dry-run"]).await;
    assert!(told.status.success() && text(&told.stdout).contains(&format!("with the account {account}")), "{told:?}");
    assert_eq!((orders(&pebble), accounts(&pebble)), (1, 1));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_that_a_ca_is_down() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::down(&pebble.root_pem_path()), &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    let told = acmezone(&file(&house), &["cert", "issue", "site", "--dry-run"]).await;
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    assert!(text(&told.stdout).contains("refused"), "{told:?}");
    // It is no attempt.
    assert_eq!(server.show().await.last_error.unwrap().failures, 1);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_tells_what_has_happened_in_order() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).config("domainBlocklist", json!(["blocked.test"])).start();
    let nothing = Ca::down(&pebble.root_pem_path());
    let server = house.serve(&nothing, &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    // As before: no event of its own.
    server.issue(false).await;
    server.handle.stop().await;

    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.issue(false).await;
    let first = server.show().await;
    lines(server.client.revoke("site", &NewRevocation { reissue: true, ..NewRevocation::default() }).await.unwrap())
        .await;
    let second = server.show().await;
    assert_ne!(first.serial, second.serial);

    let told = acmezone(&file(&house), &["cert", "history", "site", "--json"]).await;
    assert!(told.status.success(), "{told:?}");
    let events: Vec<Value> = serde_json::from_slice(&told.stdout).unwrap();
    let what: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(what, ["failed", "issued", "revoked", "issued"]);
    assert!(events[0]["message"].as_str().unwrap().contains("refused"), "{events:#?}");
    let serials: Vec<_> = events[1..].iter().map(|event| event["serial"].as_str().map(str::to_owned)).collect();
    assert_eq!(serials, [first.serial.clone(), first.serial, second.serial.clone()]);
    assert!(events.iter().all(|event| event["ca"] == "pebble"), "{events:#?}");
    assert_eq!(events[3]["not_after"].as_str().unwrap(), second.not_after.unwrap().to_string());
    assert!(events.windows(2).all(|pair| pair[0]["at"].as_str() <= pair[1]["at"].as_str()), "{events:#?}");

    let told = acmezone(&file(&house), &["cert", "history", "site"]).await;
    let lines: Vec<&str> = text(&told.stdout).lines().collect();
    let at = |word: &str| lines.iter().position(|line| line.contains(word)).unwrap_or_else(|| panic!("{told:?}"));
    assert!(at("failed") < at("issued") && at("issued") < at("revoked"), "{told:?}");
    assert!(at(&second.serial.unwrap()) > at("revoked"), "{told:?}");

    let told = acmezone(&file(&house), &["cert", "history", "nosuch"]).await;
    assert!(!told.status.success() && text(&told.stderr).contains("nosuch"), "{told:?}");
    server.handle.stop().await;
}
