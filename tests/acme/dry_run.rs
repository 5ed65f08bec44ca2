//! `cert issue --dry-run`: what would be in the way of an order, and nothing asked of the CA but its directory.

use acmezone::api::{CertificateState, Progress};
use serde_json::json;

use crate::commands::{acmezone, file, json_lines, text};
use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, lines, orders, until_forgotten};
use crate::support::{Pebble, PebbleVersion};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

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
    assert!(!text(&told.stdout).contains("files: "), "there are none yet: {told:?}");
    assert_eq!((orders(&pebble), accounts(&pebble)), (0, 0));
    assert!(server.client.names().await.unwrap().iter().all(|name| name.values.is_empty()));

    // The dry run stands in nobody's way.
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let told = acmezone(&file(&house), &["cert", "issue", "site", "--dry-run"]).await;
    let renewal = server.show().await.renewal.unwrap();
    assert!(text(&told.stdout).contains(&format!("nothing would be ordered; renewal at {renewal}")), "{told:?}");
    assert!(told.status.success() && text(&told.stdout).contains("files: "), "{told:?}");
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

/// Each certificate has what it needs but for one thing, and there is no account yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_what_keeps_the_ca_from_an_order_and_makes_no_account() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let bound = house.pebble(PebbleVersion::V2_10_1).config("externalAccountBindingRequired", json!(true)).start();
    let busy = FaultyCa::before(&pebble);
    busy.fail("/sign-me-up", Fault::Answer { status: 503, content_type: "text/html", retry_after: "", body: "busy" });
    let eab_key = house.folder.path().join("eab.key");
    std::fs::write(&eab_key, "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W").unwrap();
    let mut names = Vec::new();
    for (name, ca, more) in [
        ("profile", Ca::of(&pebble), "profile = \"nosuch\""),
        ("unbound", Ca::of(&bound), ""),
        ("unreadable", Ca::of(&bound), "eab = { key_id = \"kid-1\", hmac_key_file = \"eab.key\" }"),
        ("terms", Ca::of(&pebble), "agree_to_terms = false"),
        ("caa", Ca::of(&pebble), ""),
        ("accounturi", Ca::of(&pebble), ""),
        ("own", busy.ca(), ""),
    ] {
        let (directory, root) = (ca.directory, ca.root.display());
        // The CAA records of our own zones are made before an order.
        let domain = if name == "own" { "www.auth.acme.test".into() } else { format!("{name}.example.test") };
        house.tables += &format!(
            "[[ca]]\nname = \"{name}\"\ndirectory = \"{directory}\"\nroot = \"{root}\"\n{more}\n\
             [[certificate]]\nname = \"{name}\"\nnames = [\"{domain}\"]\nca = \"{name}\"\n"
        );
        names.push(name);
    }
    house.certificate = "ca = \"pebble\"".into();
    let server = house.serve(&Ca::of(&pebble), &["example.test"]).await;
    server.wait_for(CertificateState::WaitingForDelegation).await;
    std::fs::remove_file(eab_key).unwrap();
    let mut records = Vec::new();
    for name in &names[..names.len() - 1] {
        let waits = || async { server.client.certificate(name).await.ok()?.missing_records.pop() };
        records.push(crate::support::poll_async(crate::house::PATIENCE, "the missing record", waits).await);
    }
    let uri = "https://pebble.test/1";
    records.push("caa CAA 0 issue \"other.test\"".into());
    records.push(format!("accounturi CAA 0 issue \"pebble.letsencrypt.org; accounturi={uri}\""));
    house.add_record(&records.join("\n"));
    until_forgotten().await;
    for (name, words) in [
        ("profile", "the CA has no profile `nosuch`"),
        ("unbound", "set `eab = {"),
        ("unreadable", "the HMAC key of `eab` in the [[ca]] `unreadable` cannot be used"),
        ("terms", "its [[ca]] has `agree_to_terms = false`"),
        ("caa", "CAA: caa may not issue for caa.example.test"),
        (
            "accounturi",
            "(is for another account); add the record `accounturi.example.test. IN CAA 0 issue \
                        \"pebble.letsencrypt.org; validationmethods=dns-01\"`",
        ),
    ] {
        // The command line does not read a configuration that names a file that is gone.
        let told = lines(server.client.preview(name).await.unwrap()).await;
        let Some(Progress::Failed { message }) = told.last() else { panic!("{name}: {told:#?}") };
        assert!(message.contains(words), "{name}: {told:#?}");
    }
    let told = lines(server.client.preview("own").await.unwrap()).await;
    assert!(matches!(told.last(), Some(Progress::Done { path, .. }) if path.is_empty()), "{told:#?}");
    for ca in [&pebble, &bound] {
        assert_eq!((orders(ca), accounts(ca)), (0, 0));
    }
    server.handle.stop().await;
}

/// The next order tells the CA other addresses.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_nothing_to_the_ca_as_the_account() {
    let mut house = House::new();
    house.certificate = "challenge = \"dns-account-01\"".into();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    ca.fail("/order-plz", Fault::Answer { status: 503, content_type: "text/html", retry_after: "", body: "busy" });
    let server = house.serve(&ca.ca(), &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    server.handle.stop().await;
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let change = "UPDATE document SET body = json_set(body, '$.contact', json('[]')) WHERE kind = 'ca-account'";
    assert_eq!(store.execute(change, []), Ok(1));
    drop(store);

    let server = house.serve(&ca.ca(), &NAMES).await;
    ca.fail("/my-account", Fault::Nonce(None));
    let told = acmezone(&file(&house), &["cert", "issue", "site", "--dry-run"]).await;
    let account = server.client.ca("pebble").await.unwrap().account.unwrap();
    let words = [format!("with the account {account}"), "the value would be put at _".into()];
    assert!(told.status.success() && words.iter().all(|words| text(&told.stdout).contains(words)), "{told:?}");
    assert_eq!((ca.hits(), orders(&pebble)), (0, 0));
    ca.fail("/my-account", Fault::Nonce(None));
    let issued = lines(server.client.issue("site", false).await.unwrap()).await;
    assert!(matches!(issued.last(), Some(Progress::Done { .. })), "{issued:#?}");
    assert_eq!(ca.hits(), 1, "the addresses were told with the order");
    server.handle.stop().await;
}
