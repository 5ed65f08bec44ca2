//! Which names one certificate can have.

use acmezone::api::{CertificateState, Progress};

use crate::house::{Ca, House, orders};
use crate::support::{PebbleVersion, verify_chain};

/// By CNAME in a zone of somebody else, by NS, and in a zone of our own: each in its way, in one order.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_different_zones_and_delegations_are_in_one_order() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    // Written as people write it, and as it is in the certificate.
    let written = ["*.example.test", "Bücher.example.test", "example.test", "delegated.test", "api.auth.acme.test"];
    let names =
        ["*.example.test", "api.auth.acme.test", "delegated.test", "example.test", "xn--bcher-kva.example.test"];
    assert!(house.configure_is_refused(&Ca::of(&pebble), &written), "a wildcard covers one of them");
    let written = ["*.example.test", "a.Bücher.example.test", "example.test", "delegated.test", "api.auth.acme.test"];
    let names = names.map(|name| if name.starts_with("xn--") { "a.xn--bcher-kva.example.test" } else { name });

    let server = house.serve(&Ca::of(&pebble), &written).await;
    let waiting = server.wait_for(CertificateState::WaitingForDelegation).await;
    assert_eq!(waiting.missing_records.len(), 2, "{:?}", waiting.missing_records);
    house.add_record(&waiting.missing_records.join("\n"));
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &names);
    assert_eq!(orders(&pebble), 1);
    let values = server.client.names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "values are left: {values:?}");
    server.handle.stop().await;
}

/// What public CAs put into one certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_of_fifty_domains_are_in_one_certificate() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let domains = (0..50).map(|number| format!("d{number:02}.example.test"));
    let names: Vec<String> = domains.flat_map(|domain| [domain.clone(), format!("*.{domain}")]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let server = house.serve(&Ca::of(&pebble), &names).await;
    let waiting = server.wait_for(CertificateState::WaitingForDelegation).await;
    assert_eq!(waiting.missing_records.len(), 50);
    house.add_record(&waiting.missing_records.join("\n"));
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &names);
    assert_eq!(orders(&pebble), 1);
    server.handle.stop().await;
}
