//! A delegation that is not there yet: which record to make, and what it does not cost.

use acmezone::api::{CertificateState, Progress};

use crate::house::{Ca, House, Running, orders};
use crate::support::{PebbleVersion, Query, RawDns, Reply, Rtype};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_cname_is_named_with_a_reserved_label_and_costs_no_order() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let (ca, names) = (Ca::of(&pebble), ["example.test", "*.example.test"]);
    let server = house.serve(&ca, &names).await;

    let waiting = server.wait_for(CertificateState::WaitingForDelegation).await;
    let [record] = waiting.missing_records.as_slice() else { panic!("{:?}", waiting.missing_records) };
    let label = record.strip_prefix("_acme-challenge.example.test. IN CNAME ").unwrap();
    let label = label.strip_suffix(".auth.acme.test.").unwrap();
    assert!(uuid::Uuid::parse_str(label).is_ok(), "{label}");
    // Looked for again in five minutes, without a failure.
    let wait = waiting.next_attempt.unwrap().duration_since(jiff::Timestamp::now()).as_secs();
    assert!((240..=300).contains(&wait), "{wait}");
    assert!(waiting.last_error.is_none());

    // Somebody who asks hears the same, and the label stays the same, also after a restart.
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Failed { message }) if message.contains(record)), "{lines:?}");
    server.handle.stop().await;
    let server = house.serve(&ca, &names).await;
    let again = server.wait_for(CertificateState::WaitingForDelegation).await;
    assert_eq!(again.missing_records, waiting.missing_records);
    assert_eq!(orders(&pebble), 0);

    house.add_record(record);
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    assert_eq!(orders(&pebble), 1);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cname_to_somewhere_else_is_as_good_as_none() {
    let mut house = House::new();
    house.add_record("_acme-challenge CNAME nobody.auth.acme.test.");
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &["example.test"]).await;
    let waiting = server.wait_for(CertificateState::WaitingForDelegation).await;
    assert!(waiting.missing_records[0].starts_with("_acme-challenge.example.test. IN CNAME "));
    let lines = server.issue(false).await;
    let told = matches!(lines.last(), Some(Progress::Failed { message }) if message.contains("nobody.auth.acme.test"));
    assert!(told, "{lines:?}");
    assert_eq!(orders(&pebble), 0);
    server.handle.stop().await;
}

/// The zone of the CNAME's target is configured, but its parent does not delegate it to us.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_not_delegated_to_us_is_noticed_before_an_order() {
    let mut house = House::new();
    let head = crate::house::HEAD;
    // The resolver finds this zone at NSD, not at us.
    house.nsd.replace(&[("example.test", head), ("_acme-challenge.delegated.test", head)]);
    let nsd = house.nsd.port();
    house.unbound = crate::support::Unbound::start(&[("example.test", nsd), ("_acme-challenge.delegated.test", nsd)]);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &["delegated.test"]).await;
    let waiting = server.wait_for(CertificateState::WaitingForDelegation).await;
    assert_eq!(waiting.missing_records, ["_acme-challenge.delegated.test. IN NS ns1.acme.test."]);
    assert_eq!(orders(&pebble), 0);
    server.handle.stop().await;
}

/// A label's holder could otherwise prove control of `<label>.<zone>`, at any CA (RFC 8659 section 4.2).
#[tokio::test(flavor = "multi_thread")]
async fn caa_of_a_made_zone_allows_our_own_account_alone_rfc8657_3() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::of(&pebble);
    let server = house.serve(&ca, &["example.test"]).await;
    assert_eq!(caa(&server), ["0 issue \";\""]);
    server.handle.stop().await;

    let server = house.serve(&ca, &["api.auth.acme.test"]).await;
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let [allowed] = caa(&server).try_into().expect("one record");
    let account = allowed.strip_prefix("0 issue \"pebble.letsencrypt.org; accounturi=https://").expect(&allowed);
    assert!(account.contains("/my-account/"), "{allowed}");
    server.handle.stop().await;
}

/// What the CAA records of our zone say.
pub fn caa(server: &Running) -> Vec<String> {
    let dns = RawDns::new(server.handle.addresses().dns[0]);
    let octets = dns.udp(&Query::new("auth.acme.test", Rtype::CAA).bytes()).expect("an answer");
    Reply::parse(&octets).answer.into_iter().map(|record| record.rdata).collect()
}
