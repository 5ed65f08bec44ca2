//! More than one CA: the next one when the first is down, another one to rehearse at, and limits that are kept to.

use std::time::Duration;

use acmezone::api::{CertificateState, NewRevocation, Progress};

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, PATIENCE, Running, orders};
use crate::support::{Pebble, PebbleVersion, Unbound, poll_async, verify_chain};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];
const DOWN: Fault =
    Fault::Answer { status: 503, content_type: "text/html", retry_after: "600", body: "<h1>Maintenance</h1>" };

/// A table for one more CA.
pub fn table(name: &str, ca: &Ca) -> String {
    let Ca { directory, root, more } = ca;
    format!("[[ca]]\nname = \"{name}\"\ndirectory = \"{directory}\"\nroot = {root:?}\n{more}\n")
}

/// A first CA with a bad day to come, and a second one.
struct Two {
    house: House,
    first: Pebble,
    front: FaultyCa,
    second: Pebble,
}

fn two() -> Two {
    let mut house = House::new();
    let first = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let second = house.pebble(PebbleVersion::V2_10_1).start();
    let front = FaultyCa::before(&first);
    house.tables = table("second", &Ca::of(&second));
    house.certificate = "ca = [\"pebble\", \"second\"]".into();
    Two { house, first, front, second }
}

impl Two {
    /// How many orders each has had, and that the certificate in use is from this one.
    #[track_caller]
    fn is_from(&self, pebble: &Pebble) -> (usize, usize) {
        verify_chain(&self.house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);
        (orders(&self.first), orders(&self.second))
    }
}

#[track_caller]
pub fn is_done(lines: &[Progress]) {
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
}

#[track_caller]
pub fn failed(lines: &[Progress]) -> &str {
    match lines.last() {
        Some(Progress::Failed { message }) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_ca_issues_while_the_first_is_down_and_the_first_renews_when_it_is_back() {
    let two = two();
    two.front.fail("/", DOWN);
    let server = two.house.serve(&two.front.ca(), &NAMES).await;
    // Nobody asks.
    let status = server.wait_for(CertificateState::Valid).await;
    assert!(status.last_error.is_none(), "{status:?}");
    assert_eq!(two.is_from(&two.second), (0, 1));
    let lines = server.issue(true).await;
    is_done(&lines);
    let words = format!("{lines:?}");
    assert!(words.contains("Maintenance") && words.contains("going on to second"), "{lines:#?}");
    assert_eq!(two.is_from(&two.second), (0, 2));

    two.front.heal();
    is_done(&server.issue(true).await);
    assert_eq!(two.is_from(&two.first), (1, 2));
    server.handle.stop().await;
}

/// There may be a certificate already at the CA that has the order.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_under_way_at_the_first_ca_is_finished_there() {
    let two = two();
    two.front.fail("/certZ", DOWN);
    let server = two.house.serve(&two.front.ca(), &NAMES).await;
    let status = server.wait_for(CertificateState::Failed).await;
    assert_eq!(status.last_error.unwrap().step, "download");
    two.front.heal();
    is_done(&server.issue(false).await);
    assert_eq!(two.is_from(&two.first), (1, 0));

    // Not for ever: after a few failures the second CA is worth another order.
    two.front.fail("/certZ", DOWN);
    let before = two.house.pem("cert.pem");
    for _ in 0..2 {
        failed(&server.issue(true).await);
        assert_eq!(two.house.pem("cert.pem"), before);
    }
    is_done(&server.issue(true).await);
    assert_eq!(two.is_from(&two.second), (2, 1));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_down_is_asked_by_three_certificates_of_ten() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let front = FaultyCa::before(&pebble);
    // One after the other: all that are under way when it goes down have asked.
    house.tables = "[acme]\norders = 1\n".into();
    for number in 1..10 {
        let table = format!("[[certificate]]\nname = \"more-{number}\"\nnames = [\"delegated.test\"]\n");
        house.tables.push_str(&table);
    }
    // Without a word of when it is back.
    front.fail("/", Fault::Answer { status: 503, content_type: "text/html", retry_after: "", body: "<html>" });
    let server = house.serve(&front.ca(), &NAMES).await;
    let until_all = || async {
        let all = server.client.certificates().await.unwrap();
        all.iter().all(|one| one.last_error.is_some()).then_some(all)
    };
    let all = poll_async(PATIENCE, "all certificates to have failed", until_all).await;
    let left_alone = |words: &&str| words.contains("left alone");
    let messages = all.iter().map(|one| one.last_error.as_ref().unwrap().message.as_str());
    assert_eq!(messages.filter(left_alone).count(), 7, "{all:#?}");
    // Left alone by the server, and nothing happens.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(front.hits(), 3);
    // A person is not kept from asking, and then it is seen to be back.
    front.heal();
    is_done(&server.issue(false).await);
    server.handle.stop().await;
}

/// Production with a rehearsal at staging, as one would have it at Let's Encrypt.
fn rehearsed(house: &mut House, staging: &Ca) {
    house.tables = table("staging", staging);
    house.certificate = "ca = \"pebble\"".into();
}

fn production(pebble: &Pebble) -> Ca {
    Ca { more: "rehearsal = \"staging\"", ..Ca::of(pebble) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_order_is_rehearsed_and_a_renewal_is_not() {
    let mut house = House::new();
    let (staging, pebble) =
        (house.pebble(PebbleVersion::V2_10_1).start(), house.pebble(PebbleVersion::V2_10_1).start());
    let front = FaultyCa::before(&staging);
    rehearsed(&mut house, &front.ca());
    // The order at the one is over before there is one at the other.
    front.fail("/certZ", Fault::Silence);
    let server = house.serve(&production(&pebble), &NAMES).await;
    poll_async(PATIENCE, "the end of the rehearsal", || async { (front.hits() > 0).then_some(()) }).await;
    assert_eq!((orders(&staging), orders(&pebble)), (1, 0));
    server.handle.stop().await;

    front.heal();
    let server = house.serve(&production(&pebble), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);
    assert_eq!((orders(&staging), orders(&pebble)), (1, 1));
    is_done(&server.issue(true).await);
    assert_eq!((orders(&staging), orders(&pebble)), (1, 2));
    let values = server.client.names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "values are left: {values:?}");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_that_fails_keeps_the_order_from_the_ca_and_one_that_cannot_be_does_not() {
    let mut house = House::new();
    // It does not see what our resolver sees.
    let blind = Unbound::start(&[("example.test", house.nsd.port())]);
    let refuses = Pebble::builder(PebbleVersion::V2_10_1, blind.addr()).start();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    rehearsed(&mut house, &Ca::of(&refuses));
    let server = house.serve(&production(&pebble), &NAMES).await;
    let error = server.wait_for(CertificateState::Failed).await.last_error.unwrap();
    for words in ["at staging, before an order at pebble", "Error retrieving TXT records"] {
        assert!(error.message.contains(words), "{}", error.message);
    }
    assert!(failed(&server.issue(false).await).contains("at staging"));
    assert_eq!(orders(&pebble), 0);
    server.handle.stop().await;

    rehearsed(&mut house, &Ca::down(&pebble.root_pem_path()));
    let server = house.serve(&production(&pebble), &NAMES).await;
    let lines = server.issue(false).await;
    is_done(&lines);
    assert!(format!("{lines:?}").contains("going on without"), "{lines:#?}");
    assert_eq!(orders(&pebble), 1);
    server.handle.stop().await;
}

pub fn limited(pebble: &Pebble) -> Ca {
    Ca { more: "limits = \"letsencrypt\"", ..Ca::of(pebble) }
}

pub async fn renewed(server: &Running, times: usize) {
    for _ in 0..times {
        is_done(&server.issue(true).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_certificate_of_a_week_for_the_same_names_is_not_ordered() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::Debian240).start();
    let server = house.serve(&limited(&pebble), &NAMES).await;
    let first = server.wait_for(CertificateState::Valid).await;
    renewed(&server, 4).await;
    let before = house.pem("fullchain.pem");

    let lines = server.issue(true).await;
    assert!(failed(&lines).contains("limit of 5 certificates in 7 days for exactly the names"), "{lines:#?}");
    let status = server.show().await;
    assert_eq!(status.last_error.as_ref().unwrap().step, "limits");
    // A week after the first, and the certificate in use is as good as before.
    let wait = status.next_attempt.unwrap().duration_since(first.not_before.unwrap()).as_secs();
    assert!((-60..=60).contains(&(wait - 7 * 24 * 60 * 60)) || status.next_attempt == status.renewal, "{status:#?}");
    assert_eq!(house.pem("fullchain.pem"), before);
    // As long as it is good, the limit is in nobody's way.
    assert!(matches!(preview(&server).await.last(), Some(Progress::Done { .. })));
    let revoked = server.client.revoke("site", &NewRevocation::default()).await.unwrap();
    is_done(&crate::house::lines(revoked).await);
    assert!(format!("{:?}", preview(&server).await).contains("possible at"));
    server.handle.stop().await;

    let server = house.serve(&limited(&pebble), &NAMES).await;
    assert!(failed(&server.issue(true).await).contains("limit of 5"));
    assert_eq!(orders(&pebble), 5);
    server.handle.stop().await;

    // Other names are another set.
    let server = house.serve(&limited(&pebble), &NAMES[1..]).await;
    is_done(&server.issue(false).await);
    assert_eq!(orders(&pebble), 6);
    server.handle.stop().await;
}

async fn preview(server: &Running) -> Vec<Progress> {
    crate::house::lines(server.client.preview("site").await.unwrap()).await
}
