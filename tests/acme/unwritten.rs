//! Files of a certificate that cannot be written: who hears of it, and that they are written as soon as they can be.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use acmezone::api::{CertificateState, Progress};

use crate::deploy::{Receiver, kinds, secret_file};
use crate::house::{Ca, House, PATIENCE};
use crate::support::{PebbleVersion, poll_async};

const NAMES: [&str; 1] = ["delegated.test"];

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_written_are_told_once_with_their_path_and_written_when_they_can_be() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let (receiver, url) = Receiver::start().await;
    house.certificate = format!("webhook = {url:?}\nwebhook_secret_file = {:?}\n", secret_file(&house));
    let site = house.certificate_folder();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(site.parent().unwrap()).unwrap();
    fs::write(&site, "something else").unwrap();
    let ca = Ca::of(&pebble);
    let server = house.serve(&ca, &NAMES).await;
    let error = poll_async(PATIENCE, "the third failure", || async {
        server.show().await.last_error.filter(|error| error.step == "export" && error.failures >= 3)
    });
    assert!(error.await.message.contains(site.to_str().unwrap()));
    assert_eq!(server.show().await.state, CertificateState::Valid);
    server.handle.stop().await;

    // A restart is no news either, nor is somebody who asks.
    let server = house.serve(&ca, &NAMES).await;
    poll_async(PATIENCE, "the failure", || async { server.show().await.last_error }).await;
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Failed { message }) if message.contains("but cannot")), "{lines:?}");
    let events = receiver.wait_for(1);
    assert_eq!(kinds(&events), ["failed"]);
    assert!(events[0]["message"].as_str().unwrap().contains(site.to_str().unwrap()), "{events:#?}");
    assert_eq!(events[0]["serial"].as_str(), server.show().await.serial.as_deref());
    let history = server.client.certificate_history("site").await.unwrap();
    let failed: Vec<_> = history.iter().filter(|event| event.event == "failed").collect();
    assert_eq!(failed.len(), 1, "{history:#?}");
    assert!(failed[0].message.as_ref().unwrap().contains(site.to_str().unwrap()), "{failed:?}");

    fs::remove_file(&site).unwrap();
    poll_async(PATIENCE, "the files", || async { site.join("fullchain.pem").exists().then_some(()) }).await;
    assert_eq!(kinds(&receiver.wait_for(2)), ["failed", "issued"]);
    poll_async(PATIENCE, "no error", || async { server.show().await.last_error.is_none().then_some(()) }).await;

    // The next time is news again.
    fs::remove_file(&site).unwrap();
    fs::write(&site, "something else").unwrap();
    let lines = server.issue(true).await;
    assert!(
        matches!(lines.last(), Some(Progress::Failed { message }) if message.contains("in the store")),
        "{lines:?}"
    );
    assert_eq!(kinds(&receiver.wait_for(3)), ["failed", "issued", "failed"]);
    server.handle.stop().await;
}
