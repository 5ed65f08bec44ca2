//! The commands of people as they are typed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use acmezone::api::{CertificateState, NewRevocation};
use serde_json::{Value, json};

use crate::house::{Ca, House, lines};
use crate::support::PebbleVersion;

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

pub async fn acmezone(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
    command.arg("--config").arg(file).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// As JSON, one value on each line.
pub fn json_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn file(house: &House) -> PathBuf {
    house.folder.path().join("acmezone.toml")
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
