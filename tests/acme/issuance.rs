//! Certificates, from nothing to files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use acmezone::api::{CertificateState, Progress};

use crate::house::{Ca, House, orders};
use crate::support::{PebbleVersion, verify_chain};

/// Apex and wildcard, with the values behind a CNAME in a zone of somebody else.
async fn through_a_cname(version: PebbleVersion) {
    let mut house = House::new();
    let pebble = house.pebble(version).start();
    let names = ["example.test", "*.example.test"];
    let server = house.serve(&Ca::of(&pebble), &names).await;

    let waiting = server.wait_for(CertificateState::WaitingForDelegation).await;
    house.add_record(&waiting.missing_records[0]);
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");

    let status = server.show().await;
    assert_eq!(status.state, CertificateState::Valid);
    assert_eq!(status.missing_records, [""; 0]);
    assert!(status.next_attempt > Some(jiff::Timestamp::now()) && status.next_attempt < status.not_after);
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &names);
    assert_eq!(house.pem("fullchain.pem"), house.pem("cert.pem") + &house.pem("chain.pem"));
    let values = server.client.names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "values are left: {values:?}");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apex_and_wildcard_through_a_cname_from_pebble_2_4() {
    through_a_cname(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apex_and_wildcard_through_a_cname_from_pebble_2_10() {
    through_a_cname(PebbleVersion::V2_10_1).await;
}

/// Apex and wildcard, with the values at the apex of a zone that the parent delegates to us by NS. Nobody asks.
async fn through_a_delegated_zone(version: PebbleVersion) {
    let house = House::new();
    let pebble = house.pebble(version).start();
    let names = ["*.delegated.test", "delegated.test"];
    let server = house.serve(&Ca::of(&pebble), &names).await;
    server.wait_for(CertificateState::Valid).await;
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &names);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apex_and_wildcard_through_a_delegated_zone_from_pebble_2_4() {
    through_a_delegated_zone(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apex_and_wildcard_through_a_delegated_zone_from_pebble_2_10() {
    through_a_delegated_zone(PebbleVersion::V2_10_1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn issue_leaves_a_valid_certificate_alone_and_renew_makes_the_next_version() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &["delegated.test"]).await;
    let first = server.wait_for(CertificateState::Valid).await;
    let key = house.pem("privkey.pem");

    let lines = server.issue(false).await;
    assert!(
        matches!(lines.as_slice(), [Progress::Done { message, .. }] if message.contains("nothing to do")),
        "{lines:?}"
    );
    assert_eq!(orders(&pebble), 1);

    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    assert_eq!(orders(&pebble), 2);
    assert_ne!(server.show().await.serial, first.serial);
    assert_ne!(house.pem("privkey.pem"), key);
    assert_eq!(fs::read_link(house.certificate_folder()).unwrap().to_str(), Some(".versions/site/2"));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_made_again_from_the_store() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let (ca, names) = (Ca::of(&pebble), ["delegated.test"]);
    let server = house.serve(&ca, &names).await;
    server.wait_for(CertificateState::Valid).await;
    let before = house.pem("fullchain.pem");
    server.handle.stop().await;

    fs::remove_dir_all(house.folder.path().join("data/certs")).unwrap();
    let server = house.serve(&ca, &names).await;
    let folder = house.certificate_folder();
    crate::support::poll(crate::house::PATIENCE, "the files", || folder.join("fullchain.pem").exists().then_some(()));
    assert_eq!(house.pem("fullchain.pem"), before);
    let mode = |file: &str| fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("privkey.pem")), (0o700, 0o600));
    assert_eq!(orders(&pebble), 1);
    server.handle.stop().await;
}
