//! What the CA sends is looked at before it is taken, and counted if it is not.

use std::sync::atomic::{AtomicUsize, Ordering};

use acmezone::api::{CertificateState, Progress};
use serde_json::json;
use x509_parser::pem::Pem;

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, Running, orders};
use crate::support::{Pebble, PebbleVersion, verify_chain};

const NAMES: [&str; 1] = ["delegated.test"];
const END: &str = "-----END CERTIFICATE-----\n";

async fn lines(server: &Running) -> (String, bool) {
    let lines = server.issue(true).await;
    (format!("{lines:#?}"), matches!(lines.last(), Some(Progress::Done { .. })))
}

/// Certificates that the CA's limits count.
fn counted(house: &House, directory: &str) -> String {
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let query = "SELECT json_extract(body, '$.issued') FROM document WHERE kind = 'ca-ledger' AND key = ?1";
    store.query_row(query, [directory], |row| row.get(0)).unwrap()
}

fn issued(pebble: &Pebble) -> usize {
    pebble.log().matches("Issued certificate").count()
}

/// With `pebble` before `other`, which is well.
fn with_another(house: &mut House) -> Pebble {
    let other = house.pebble(PebbleVersion::V2_10_1).start();
    house.certificate = "ca = [\"pebble\", \"other\"]".into();
    let (directory, root) = (other.directory_url(), other.root_pem_path());
    house.tables = format!("[[ca]]\nname = \"other\"\ndirectory = \"{directory}\"\nroot = \"{}\"\n", root.display());
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_refused_is_counted_and_wrong_dates_are_no_other_cas_matter() {
    let mut house = House::new();
    // Over as soon as it begins.
    let profiles = json!({ "default": { "description": "no time", "validityPeriod": 1 } });
    let pebble = house.pebble(PebbleVersion::V2_10_1).config("profiles", profiles).start();
    let other = with_another(&mut house);
    let ca = Ca { more: "limits = \"letsencrypt\"", ..Ca::of(&pebble) };
    let server = house.serve(&ca, &NAMES).await;
    let error = server.wait_for(CertificateState::Failed).await.last_error.unwrap();
    assert_eq!(error.step, "verification");
    let serial = pebble.log().split("Issued certificate serial ").nth(1).unwrap()[..16].to_owned();
    assert!(error.message.contains("is the clock right?") && error.message.contains(&serial), "{}", error.message);
    let counted = counted(&house, &pebble.directory_url());
    assert_eq!(counted.matches(r#""under_way":false"#).count(), 1, "{counted}");
    // Five for a set of names in a week, however they end.
    for _ in 0..5 {
        let (lines, is_done) = lines(&server).await;
        if is_done {
            assert!(lines.contains("to stay within the CA's limit of 5 certificates"), "{lines}");
        }
    }
    assert_eq!((issued(&pebble), issued(&other)), (5, 1));
    server.handle.stop().await;
}

/// Another root's chain, which does not hold together.
fn broken_alternate(path: &str, body: String) -> String {
    match (path.contains("/alternate/"), body.find(END)) {
        (true, Some(end)) => format!("{body}{}", &body[end + END.len()..]),
        _ => body,
    }
}

fn root_name(pebble: &Pebble, number: usize) -> (String, String) {
    let root = pebble.fetch(&pebble.management_url(&format!("/roots/{number}")), &[]).expect_success().stdout;
    let pem = Pem::iter_from_buffer(root.as_bytes()).next().unwrap().unwrap();
    let name = pem.parse_x509().unwrap().subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
    (root, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_does_not_hold_is_passed_over_for_one_that_does_rfc8555_7_4_2() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).env("PEBBLE_ALTERNATE_ROOTS", "1").start();
    let ca = FaultyCa::before(&pebble);
    ca.fail("/certZ", Fault::Rewrite(broken_alternate));
    let (_, name) = root_name(&pebble, 1);
    let more: &'static str = format!("preferred_chain = \"{name}\"").leak();
    let server = house.serve(&Ca { more, ..ca.ca() }, &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);
    let (lines, is_done) = lines(&server).await;
    assert!(is_done && lines.contains(&format!("the chain to `{name}` is not taken")), "{lines}");
    assert_eq!(orders(&pebble), 2);
    server.handle.stop().await;

    // What is offered beside it is also good for a chain that nobody prefers.
    fn broken_default(path: &str, body: String) -> String {
        if path.contains("/alternate/") { body } else { broken_alternate("/alternate/", body) }
    }
    ca.fail("/certZ", Fault::Rewrite(broken_default));
    let server = house.serve(&ca.ca(), &NAMES).await;
    let (lines, is_done) = self::lines(&server).await;
    assert!(is_done, "{lines}");
    verify_chain(&house.pem("fullchain.pem"), &root_name(&pebble, 1).0, &NAMES);
    server.handle.stop().await;
}

fn alone(body: &str) -> String {
    body.find(END).map_or(body, |end| &body[..end + END.len()]).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_its_issuer_is_fetched_again_before_it_is_believed_rfc8555_7_4_2() {
    static SENT: AtomicUsize = AtomicUsize::new(0);
    fn alone_at_first(_: &str, body: String) -> String {
        if SENT.fetch_add(1, Ordering::SeqCst) == 0 { alone(&body) } else { body }
    }
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    ca.fail("/certZ", Fault::Rewrite(alone_at_first));
    let server = house.serve(&ca.ca(), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);

    // A CA whose root issues for servers itself.
    ca.fail("/certZ", Fault::Rewrite(|_, body| alone(&body)));
    let (lines, is_done) = lines(&server).await;
    assert!(is_done && lines.contains("without the one of its issuer"), "{lines}");
    assert_eq!((ca.hits(), orders(&pebble)), (2, 2));
    assert_eq!(house.pem("fullchain.pem"), house.pem("cert.pem"));

    // What is there is not lost for what comes the second time: here the issuer alone, which has another key.
    static AGAIN: AtomicUsize = AtomicUsize::new(0);
    fn something_else_afterwards(_: &str, body: String) -> String {
        if AGAIN.fetch_add(1, Ordering::SeqCst) == 0 { alone(&body) } else { body.replacen(&alone(&body), "", 1) }
    }
    ca.fail("/certZ", Fault::Rewrite(something_else_afterwards));
    let (lines, is_done) = self::lines(&server).await;
    assert!(is_done && lines.contains("without the one of its issuer"), "{lines}");
    assert_eq!((ca.hits(), orders(&pebble)), (2, 3));
    server.handle.stop().await;
}
