//! The limits of a CA that we keep to by ourselves: what counts, what does not, and for whom.

use acmezone::api::CertificateState;

use crate::fallback::{failed, is_done, renewed, table};
use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, PATIENCE, Running, lines, orders};
use crate::renewal::{asked, forget_renewal, set_renewal_info, window};
use crate::support::{PebbleVersion, poll_async};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];
const DAY: i64 = 86_400;

fn limited(front: &FaultyCa) -> Ca {
    Ca { more: "limits = \"letsencrypt\"", ..front.ca() }
}

/// Let's Encrypt exempts renewals that name what they replace from all limits, but only inside the window.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_names_what_it_replaces_meets_no_limit_inside_the_window_alone_rfc9773_5() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let front = FaultyCa::before(&pebble);
    let server = house.serve(&limited(&front), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    renewed(&server, 4).await;
    let lines = server.issue(true).await;
    assert!(failed(&lines).contains("limit of 5 certificates in 7 days for exactly the names"), "{lines:#?}");
    server.handle.stop().await;

    set_renewal_info(&house, &pebble, &window(-5, 10 * DAY));
    forget_renewal(&house);
    let server = house.serve(&limited(&front), &NAMES).await;
    asked(&server).await;
    // The order that does not name it is counted.
    let (content_type, retry_after) = ("application/problem+json", "");
    let body = r#"{"type":"urn:ietf:params:acme:error:serverInternal","status":500}"#;
    front.fail("/order-plz", Fault::Answer { status: 500, content_type, retry_after, body });
    let lines = server.issue(true).await;
    assert!(failed(&lines).contains("limit of 5"), "{lines:#?}");
    assert_eq!(front.hits(), 1);
    front.heal();
    is_done(&server.issue(true).await);

    // The next one has another window.
    assert!(failed(&server.issue(true).await).contains("limit of 5"));
    server.handle.stop().await;

    // Whoever asks in vain does not keep the server from its own renewal.
    set_renewal_info(&house, &pebble, &window(DAY, 2 * DAY));
    forget_renewal(&house);
    let server = house.serve(&limited(&front), &NAMES).await;
    let renewal = asked(&server).await.renewal;
    assert!(failed(&server.issue(true).await).contains("limit of 5"));
    assert_eq!(server.show().await.next_attempt, renewal);
    assert_eq!((orders(&pebble), pebble.log().matches("is a replacement of").count()), (6, 5));
    server.handle.stop().await;
}

/// The stop is between the note of the order and the CA's answer.
#[tokio::test(flavor = "multi_thread")]
async fn orders_that_a_stop_kept_from_being_made_do_not_count() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let front = FaultyCa::before(&pebble);
    for _ in 0..5 {
        front.fail("/order-plz", Fault::Silence);
        let server = house.serve(&limited(&front), &NAMES).await;
        poll_async(PATIENCE, "an order", || async { (front.hits() > 0).then_some(()) }).await;
        server.handle.stop().await;
    }
    front.heal();
    let server = house.serve(&limited(&front), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    server.handle.stop().await;
}

/// The documents of the store that count.
fn ledgers(house: &House, change: &str) -> Vec<String> {
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    if !change.is_empty() {
        assert_eq!(store.execute(&format!("UPDATE document SET key = {change} WHERE kind = 'ca-ledger'"), []), Ok(1));
    }
    let mut keys = store.prepare("SELECT key FROM document WHERE kind = 'ca-ledger'").unwrap();
    keys.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// As with one table for each profile.
#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_at_one_ca_share_its_limits_whatever_they_are_called() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let front = FaultyCa::before(&pebble);
    let ca = limited(&front);
    house.certificate = "ca = \"pebble\"".into();
    house.tables =
        format!("{}\n[[certificate]]\nname = \"other\"\nnames = {NAMES:?}\nca = \"second\"\n", table("second", &ca));
    let server = house.serve(&ca, &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let until_both = || async { server.client.certificate("other").await.ok()?.not_after };
    poll_async(PATIENCE, "the other certificate", until_both).await;
    renewed(&server, 2).await;
    let other = async |server: &Running| lines(server.client.issue("other", true).await.unwrap()).await;
    is_done(&other(&server).await);
    assert!(failed(&other(&server).await).contains("limit of 5 certificates"));
    server.handle.stop().await;
    assert_eq!(ledgers(&house, ""), std::slice::from_ref(&ca.directory));

    // As before there was one for all tables, under another name of the table.
    assert_eq!(ledgers(&house, "'le ' || key"), [format!("le {}", ca.directory)]);
    let server = house.serve(&ca, &NAMES).await;
    assert!(failed(&server.issue(true).await).contains("limit of 5 certificates"));
    server.handle.stop().await;
    assert_eq!(ledgers(&house, ""), std::slice::from_ref(&ca.directory));
}
