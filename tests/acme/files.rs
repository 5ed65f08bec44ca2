//! The key of a certificate, and the files that other programs read.

use std::fs;
use std::process::Command;
use std::time::Duration;

use acmezone::api::Progress;

use crate::house::{Ca, House, PATIENCE, Running};
use crate::support::{PebbleVersion, debian, poll_async, run, verify_chain};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

/// What OpenSSL says.
fn openssl(arguments: &[&str]) -> String {
    let mut command = Command::new(debian("/usr/bin/openssl"));
    command.args(arguments);
    let finished = run("openssl", command, Duration::from_secs(10));
    let told = finished.stdout.clone() + &finished.stderr;
    finished.expect_success();
    told
}

impl House {
    fn file(&self, file: &str) -> String {
        self.certificate_folder().join(file).display().to_string()
    }

    /// The public key of the certificate, which is that of the private key.
    fn public_key(&self) -> String {
        let of_key = openssl(&["pkey", "-in", &self.file("privkey.pem"), "-pubout"]);
        assert_eq!(openssl(&["x509", "-in", &self.file("cert.pem"), "-noout", "-pubkey"]), of_key);
        of_key
    }
}

async fn wait_for_version(server: &Running, house: &House, version: &str) {
    let folder = house.certificate_folder();
    let wanted = format!(".versions/site/{version}");
    let there = || async { fs::read_link(&folder).ok().filter(|found| found.to_str() == Some(&wanted)) };
    poll_async(PATIENCE, &format!("version {version}"), there).await;
    let error = server.show().await.last_error;
    assert!(error.is_none(), "{error:?}");
}

async fn files_for_other_programs(version: PebbleVersion) {
    let mut house = House::new();
    let pebble = house.pebble(version).start();
    let ca = Ca::of(&pebble);
    fs::write(house.folder.path().join("p12.password"), "open sesame\n").unwrap();
    house.certificate = "combined = true\npkcs12_password_file = \"p12.password\"".into();
    let server = house.serve(&ca, &NAMES).await;
    wait_for_version(&server, &house, "1").await;

    let combined = house.pem("combined.pem");
    assert_eq!(combined, house.pem("privkey.pem") + &house.pem("fullchain.pem"));
    let open = |what: &[&str]| {
        let bundle = house.file("bundle.p12");
        openssl(&[&["pkcs12", "-in", &bundle, "-passin", "pass:open sesame"], what].concat())
    };
    let info = open(&["-info", "-noout"]);
    assert_eq!(info.matches("PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256").count(), 2, "{info}");
    assert!(info.contains("MAC: sha256"), "{info}");
    let inside = open(&["-nodes"]);
    assert!(inside.contains("friendlyName: site"), "the name of the key: {inside}");
    let pems = |text: &str, kind: &str| {
        let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----\n"));
        let parts = text.split(&begin).skip(1).filter_map(|part| part.split_once(&end));
        parts.map(|(part, _)| part.to_owned()).collect::<Vec<_>>()
    };
    for kind in ["CERTIFICATE", "PRIVATE KEY"] {
        assert_eq!(pems(&inside, kind), pems(&combined, kind), "{kind}");
    }
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn combined_pem_and_pkcs12_are_what_openssl_reads_from_pebble_2_4() {
    files_for_other_programs(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn combined_pem_and_pkcs12_are_what_openssl_reads_from_pebble_2_10() {
    files_for_other_programs(PebbleVersion::V2_10_1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_of_the_configured_kind_and_stays_where_it_is_to_be_reused() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let (ca, root) = (Ca::of(&pebble), pebble.issuance_root_pem());

    house.certificate = "reuse_key = true".into();
    let server = house.serve(&ca, &NAMES).await;
    wait_for_version(&server, &house, "1").await;
    let (key, serial) = (house.public_key(), server.show().await.serial);
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    wait_for_version(&server, &house, "2").await;
    assert_ne!(server.show().await.serial, serial);
    assert_eq!(house.public_key(), key);
    server.handle.stop().await;

    // Another kind of key is another certificate, and no key to be reused.
    for (version, kind, words) in [("3", "p384", "Public-Key: (384 bit)"), ("4", "rsa2048", "Public-Key: (2048 bit)")] {
        house.certificate = format!("reuse_key = true\nkey_type = \"{kind}\"");
        let server = house.serve(&ca, &NAMES).await;
        wait_for_version(&server, &house, version).await;
        let text = openssl(&["x509", "-in", &house.file("cert.pem"), "-noout", "-text"]);
        assert!(text.contains(words), "{kind}: {text}");
        house.public_key();
        verify_chain(&house.pem("fullchain.pem"), &root, &NAMES);
        server.handle.stop().await;
    }

    // Without `reuse_key` there is a new one.
    house.certificate = "key_type = \"p384\"".into();
    let server = house.serve(&ca, &NAMES).await;
    wait_for_version(&server, &house, "5").await;
    let key = house.public_key();
    server.issue(true).await;
    wait_for_version(&server, &house, "6").await;
    assert_ne!(house.public_key(), key);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_versions_stay_in_folders_and_store_as_are_configured() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::of(&pebble);
    let left = |house: &House| {
        let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
        let mut keys = store.prepare("SELECT key FROM document WHERE kind = 'certificate' ORDER BY key").unwrap();
        let stored: Vec<String> = keys.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let folders = fs::read_dir(house.folder.path().join("data/certs/.versions/site")).unwrap();
        let mut folders: Vec<_> = folders.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        folders.sort();
        assert_eq!(stored, folders.iter().map(|folder| format!("site/{folder}")).collect::<Vec<_>>());
        folders
    };

    house.tables = "[acme]\nversions = 4".into();
    let server = house.serve(&ca, &NAMES).await;
    for version in ["1", "2", "3", "4", "5"] {
        if version != "1" {
            server.issue(true).await;
        }
        wait_for_version(&server, &house, version).await;
    }
    assert_eq!(left(&house), ["2", "3", "4", "5"]);
    server.handle.stop().await;

    house.tables = "[acme]\nversions = 2".into();
    let server = house.serve(&ca, &NAMES).await;
    server.issue(true).await;
    wait_for_version(&server, &house, "6").await;
    assert_eq!(left(&house), ["5", "6"]);
    server.handle.stop().await;
}
