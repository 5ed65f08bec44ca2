//! Private keys and other secrets stay where they belong.

use std::fs;

use acmezone::api::{CertificateState, Progress};

use crate::house::{Ca, House};
use crate::support::PebbleVersion;

const NAMES: [&str; 1] = ["delegated.test"];

/// A line in the middle of a PEM text, which is in the store as it is.
fn line_of(pem: &str) -> String {
    let line = pem.lines().nth(1).expect("a line between BEGIN and END");
    assert_eq!(line.len(), 64);
    line.to_owned()
}

fn holds(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_kept_no_more_is_in_no_file_of_the_store() {
    let mut house = House::new();
    house.tables = "[acme]\nversions = 1\n".into();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let old = line_of(&house.pem("privkey.pem"));
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let new = line_of(&house.pem("privkey.pem"));
    assert_ne!(old, new);

    let file = house.folder.path().join("data/acmezone.db");
    let store = rusqlite::Connection::open(&file).unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: i64 = store.query_row(checkpoint, [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0);
    let octets = |ending: &str| fs::read(file.with_extension(ending)).unwrap();
    assert!(holds(&octets("db"), &new));
    for ending in ["db", "db-wal"] {
        assert!(!holds(&octets(ending), &old), "{ending}");
    }
    server.handle.stop().await;
}
