//! Private keys and other secrets stay where they belong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use acmezone::api::{CertificateState, Progress};
use acmezone::client::Client;
use acmezone::config::Config;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::ca::Proxy;
use crate::deploy::{Receiver, SECRET, secret_file};
use crate::house::{Ca, House, PATIENCE};
use crate::support::{PebbleVersion, Subprocess, poll_async, run};

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

const HMAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
const PASSWORD: &str = "s3cret/word";

/// Secrets that were seen, in every form in which they might be written, with what they are.
#[derive(Default)]
struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, what: &'static str, text: &str) {
        self.0.push((what, text.as_bytes().to_vec()));
    }

    /// A key in PKCS#8: each line of its PEM, its octets and its private number in both kinds of base64.
    fn add_key(&mut self, what: &'static str, der: &[u8]) {
        // RFC 5958 and 5915: OCTET STRING of 32 after the version of ECPrivateKey.
        let number = der.windows(5).position(|window| window == [2, 1, 1, 4, 32]).expect("a key of P-256") + 5;
        let number = &der[number..number + 32];
        for octets in [der, number] {
            self.0.push((what, octets.to_vec()));
            self.add(what, BASE64_URL_SAFE_NO_PAD.encode(octets).as_str());
            // The first line of its PEM is another one for each key.
            let text = BASE64_STANDARD.encode(octets);
            self.add(what, &text[..text.len().min(64)]);
            let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            self.add(what, &hex);
        }
        // A key's octets as a list, as `Debug` shows them.
        self.add(what, &format!("{:?}", &number[..8]).trim_matches(['[', ']']));
    }

    /// What the store and the files have of keys now.
    fn add_stored(&mut self, house: &House) {
        let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
        let mut query = store.prepare("SELECT kind, body FROM document").unwrap();
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
        for (kind, body) in rows.map(Result::unwrap) {
            let body: Value = serde_json::from_str(&body).unwrap();
            match kind.as_str() {
                "ca-account" => {
                    let key = body["credentials"]["key_pkcs8"].as_str().unwrap();
                    self.add_key("key of the account", &BASE64_URL_SAFE_NO_PAD.decode(key).unwrap());
                }
                "certificate" => {
                    let (_, pem) = body["private_key"].as_str().unwrap().split_once("-----\n").unwrap();
                    let text: String = pem.lines().take_while(|line| !line.starts_with("--")).collect();
                    self.add_key("key of a certificate", &BASE64_STANDARD.decode(text).unwrap());
                }
                _ => assert!(!body.to_string().contains("PRIVATE"), "{kind}"),
            }
        }
    }

    #[track_caller]
    fn are_not_in(&self, place: &str, text: &str) {
        for (what, secret) in &self.0 {
            if let Some(at) = text.as_bytes().windows(secret.len()).position(|window| window == secret) {
                let line = text[..at].lines().count();
                panic!("{place} has the {what} in its line {line}: {}", text.lines().nth(line - 1).unwrap_or_default());
            }
        }
    }
}

/// Every file and folder below this one of which others than its owner have any permission.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut open = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let found = fs::symlink_metadata(entry.path()).unwrap();
        let mode = found.permissions().mode() & 0o7777;
        if !found.is_symlink() && mode & 0o077 != 0 {
            open.push(format!("{mode:o} {}", entry.path().display()));
        }
        if found.is_dir() {
            open.extend(open_to_others(&entry.path()));
        }
    }
    open
}

/// Everything that can be had of the server: commands, in words and as JSON, and what the admin API answers.
async fn all_that_is_told(house: &House, file: &Path) -> String {
    let mut told = String::new();
    let commands = [
        "status",
        "check",
        "cert list",
        "cert show site",
        "cert history site",
        "ca list",
        "ca show pebble",
        "zone list",
        "txt list",
        "tsig list",
    ];
    for command in commands {
        for json in [false, true] {
            let mut acmezone = Command::new(env!("CARGO_BIN_EXE_acmezone"));
            acmezone.args(command.split(' ')).args(json.then_some("--json")).arg("--config").arg(file);
            told += &run("acmezone", acmezone, Duration::from_secs(20)).output();
        }
    }
    let token = fs::read_to_string(house.folder.path().join("data/admin-token")).unwrap();
    let admin = Config::read(file).unwrap().admin.listen;
    for path in ["status", "certificates", "certificates/site", "certificates/site/history", "cas", "cas/pebble"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-H"]).arg(format!("Authorization: Bearer {}", token.trim()));
        curl.arg(format!("http://{admin}/v1/{path}"));
        let answer = run("curl", curl, Duration::from_secs(20)).expect_success().stdout;
        assert!(answer.starts_with(['{', '[']), "{path}: {answer}");
        told += &answer;
    }
    told
}

/// A life of a server whose log tells all that it can, under this umask: nothing secret is in what it tells, and its
/// files are its own.
async fn nothing_secret_is_told(umask: &str) {
    let mut house = House::new();
    let settings = json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": HMAC_KEY } });
    let mut builder = house.pebble(PebbleVersion::V2_10_1);
    for (key, value) in settings.as_object().unwrap() {
        builder = builder.config(key, value.clone());
    }
    let pebble = builder.start();
    let proxy = Proxy::start(&format!("me:{PASSWORD}")).await;
    let (_receiver, url) = Receiver::start().await;
    fs::write(house.folder.path().join("eab.key"), HMAC_KEY).unwrap();
    fs::write(house.folder.path().join("p12.password"), "open sesame\n").unwrap();
    house.tables = proxy.tables(&format!("me:{}", PASSWORD.replace('/', "%2F")));
    house.certificate = format!(
        "combined = true\npkcs12_password_file = \"p12.password\"\nwebhook = {url:?}\nwebhook_secret_file = {:?}\n",
        secret_file(&house)
    );
    let more = "eab = { key_id = \"kid-1\", hmac_key_file = \"eab.key\" }";
    let file = house.configure(&Ca { more, ..Ca::of(&pebble) }, &NAMES);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask $1; exec $0 serve --log-level trace --config $2"]);
    command.arg(env!("CARGO_BIN_EXE_acmezone")).arg(umask).arg(&file);
    let mut server = Subprocess::start("acmezone", command);
    let client = poll_async(PATIENCE, "a certificate", || async {
        let client = Client::new(&Config::read(&file).ok()?).ok()?;
        (client.certificate("site").await.ok()?.state == CertificateState::Valid).then_some(client)
    })
    .await;

    let mut secrets = Secrets::default();
    secrets.add("HMAC key", HMAC_KEY);
    secrets.0.push(("HMAC key", BASE64_URL_SAFE_NO_PAD.decode(HMAC_KEY).unwrap()));
    secrets.add("password of the proxy", PASSWORD);
    secrets.add("password of the proxy", &BASE64_STANDARD.encode(format!("me:{PASSWORD}")));
    secrets.add("secret of the webhook", SECRET);
    secrets.add("password for PKCS#12", "open sesame");
    secrets.add_stored(&house);
    let mut told = all_that_is_told(&house, &file).await;
    for arguments in ["cert renew site", "ca rollover pebble --yes", "cert revoke site --reason superseded --yes"] {
        let mut acmezone = Command::new(env!("CARGO_BIN_EXE_acmezone"));
        acmezone.args(arguments.split(' ')).arg("--config").arg(&file);
        told += &run("acmezone", acmezone, Duration::from_secs(60)).expect_success().output();
        secrets.add_stored(&house);
    }
    told += &all_that_is_told(&house, &file).await;
    assert!(client.certificate("site").await.is_ok());
    let data = house.folder.path().join("data");
    assert!(data.join("acmezone.db-wal").exists() && data.join("certs/.versions/site/1/bundle.p12").exists());
    assert_eq!(open_to_others(&data), [""; 0]);
    server.signal(libc::SIGTERM);
    server.wait(PATIENCE);

    secrets.are_not_in("what commands and the API tell", &told);
    let log = server.log();
    assert!(log.contains("TRACE"), "{log}");
    secrets.are_not_in("the log", &log);
    secrets.are_not_in("the log of the CA", &pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_in_the_log_at_trace_nor_in_any_answer_and_the_files_are_ours_with_umask_0() {
    nothing_secret_is_told("0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_in_the_log_at_trace_nor_in_any_answer_and_the_files_are_ours_with_umask_0377() {
    nothing_secret_is_told("0377").await;
}
