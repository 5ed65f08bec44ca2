//! What must not end in trying the same for ever: orders that are of no use any more, and CAs that only ever say "later".

use acmezone::api::{CertificateState, Progress};

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, Running, orders};
use crate::support::{Pebble, PebbleVersion};

const NAMES: [&str; 1] = ["delegated.test"];

fn page(status: u16) -> Fault {
    Fault::Answer { status, content_type: "text/html", retry_after: "60", body: "<html>" }
}

fn house() -> (House, Pebble, FaultyCa) {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    (house, pebble, ca)
}

/// Asks until so many attempts were in vain, the server's own included.
async fn in_vain(server: &Running, attempts: u32) {
    while server.wait_for(CertificateState::Failed).await.last_error.unwrap().failures < attempts {
        let lines = server.issue(false).await;
        assert!(matches!(lines.last(), Some(Progress::Failed { .. })), "{lines:#?}");
    }
}

async fn is_issued(server: Running) {
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_page_is_gone_is_made_again_whoever_says_that_it_is_gone() {
    let (house, pebble, ca) = house();
    ca.fail("/certZ", page(503));
    let server = house.serve(&ca.ca(), &NAMES).await;
    in_vain(&server, 1).await;
    assert_eq!(orders(&pebble), 1);
    // No problem document, as from a load balancer in front of a CA that has moved.
    ca.fail("/my-order", page(404));
    let lines = server.issue(false).await;
    assert!(format!("{lines:?}").contains("is gone"), "{lines:#?}");
    assert_eq!(orders(&pebble), 2);
    ca.heal();
    is_issued(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_fails_for_a_day_is_given_up_for_a_new_one() {
    let (house, pebble, ca) = house();
    ca.fail("/certZ", page(503));
    let server = house.serve(&ca.ca(), &NAMES).await;
    // However often somebody asks.
    in_vain(&server, 6).await;
    assert_eq!(orders(&pebble), 1);
    server.handle.stop().await;

    // The day is over.
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let change = "UPDATE document SET body = json_set(body, '$.failure.next_attempt', 1) WHERE kind = 'issuance'";
    assert_eq!(store.execute(change, []), Ok(1));
    let server = house.serve(&ca.ca(), &NAMES).await;
    in_vain(&server, 1).await;
    ca.heal();
    is_issued(server).await;
    assert_eq!(orders(&pebble), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_says_later_for_a_day_is_not_waited_for_if_there_is_another() {
    let (mut house, pebble, ca) = house();
    let body = r#"{"type":"urn:ietf:params:acme:error:rateLimited","status":429,"detail":"busy"}"#;
    let content_type = "application/problem+json";
    ca.fail("/order-plz", Fault::Answer { status: 429, content_type, retry_after: "60", body });
    house.certificate = "ca = [\"pebble\", \"other\"]".into();
    let (directory, root) = (pebble.directory_url(), pebble.root_pem_path());
    house.tables = format!("[[ca]]\nname = \"other\"\ndirectory = \"{directory}\"\nroot = \"{}\"\n", root.display());
    let server = house.serve(&ca.ca(), &NAMES).await;
    in_vain(&server, 4).await;
    assert_eq!(orders(&pebble), 0);
    is_issued(server).await;
    assert_eq!(orders(&pebble), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_of_one_certificate_hides_no_other_and_does_not_end_its_renewal() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    house.certificate = "deploy = [\"/bin/true\"]".into();
    house.tables = "[[certificate]]\nname = \"other\"\nnames = [\"x.delegated.test\"]\n".into();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let first = server.wait_for(CertificateState::Valid).await;
    server.handle.stop().await;

    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let changed = store.execute("UPDATE document SET body = '{' WHERE key LIKE 'site%' AND kind <> 'history'", []);
    assert!(changed.unwrap() >= 3, "issuance, certificate, deployment");
    drop(store);
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let all = server.client.certificates().await.unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["site", "other"]);
    let again = server.wait_for(CertificateState::Valid).await;
    assert_ne!(again.serial, first.serial);
    server.handle.stop().await;
}

/// What the CA of a rehearsal is like is no reason to go without a certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_that_cannot_be_held_does_not_keep_a_certificate_away() {
    let (mut house, pebble, staging) = house();
    let body = r#"{"type":"urn:ietf:params:acme:error:unauthorized","status":403,"detail":"not for you"}"#;
    let content_type = "application/problem+json";
    staging.fail("/sign-me-up", Fault::Answer { status: 403, content_type, retry_after: "60", body });
    house.certificate = "ca = \"pebble\"".into();
    let Ca { directory, root, .. } = staging.ca();
    house.tables = format!("[[ca]]\nname = \"staging\"\ndirectory = \"{directory}\"\nroot = \"{}\"\n", root.display());
    let ca = Ca { more: "rehearsal = \"staging\"", ..Ca::of(&pebble) };
    let server = house.serve(&ca, &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    assert_eq!(staging.hits(), 1);
    server.handle.stop().await;
}

/// Else it would count as a certificate of the week, and soon nothing would be asked of that CA any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_left_for_another_ca_is_settled_where_it_was_made() {
    let (mut house, pebble, ca) = house();
    ca.fail("/finalize-order", page(500));
    house.certificate = "ca = [\"pebble\", \"other\"]".into();
    let (directory, root) = (pebble.directory_url(), pebble.root_pem_path());
    let root = root.display();
    let more = "limits = \"letsencrypt\"";
    house.tables = format!("[[ca]]\nname = \"other\"\ndirectory = \"{directory}\"\nroot = \"{root}\"\n{more}\n");
    let server = house.serve(&Ca { more, ..ca.ca() }, &NAMES).await;
    in_vain(&server, 2).await;
    is_issued(server).await;
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let counted = |directory: &str| -> String {
        let query = "SELECT json_extract(body, '$.issued') FROM document WHERE kind = 'ca-ledger' AND key = ?1";
        store.query_row(query, [directory], |row| row.get(0)).unwrap()
    };
    assert_eq!(counted(&ca.ca().directory), "[]");
    let other = counted(&directory);
    assert!(other.contains(r#""under_way":false"#), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_to_make_records_for_the_account_of_a_rehearsal() {
    let mut house = House::new();
    let (pebble, staging) =
        (house.pebble(PebbleVersion::V2_10_1).start(), house.pebble(PebbleVersion::V2_10_1).start());
    house.certificate = "ca = \"pebble\"\nchallenge = \"dns-account-01\"".into();
    let (directory, root) = (staging.directory_url(), staging.root_pem_path());
    house.tables = format!("[[ca]]\nname = \"staging\"\ndirectory = \"{directory}\"\nroot = \"{}\"\n", root.display());
    let ca = Ca { more: "rehearsal = \"staging\"", ..Ca::of(&pebble) };
    let server = house.serve(&ca, &["example.test"]).await;
    let records = server.wait_for(CertificateState::WaitingForDelegation).await.missing_records;
    house.add_record(&records[0]);
    is_issued(server).await;
}
