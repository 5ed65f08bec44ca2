//! Accounts, chains, profiles and proxies: what CAs differ in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acmezone::api::{CertificateState, LastError, Progress};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use x509_parser::pem::parse_x509_pem;

use crate::faulty::{Fault, FaultyCa};
use crate::house::{Ca, House, lines, orders};
use crate::support::{Pebble, PebbleVersion, free_port, verify_chain};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

/// The next certificate, whatever there is.
async fn issued(house: &House, ca: &Ca) {
    let server = house.serve(ca, &NAMES).await;
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    server.handle.stop().await;
}

/// The error of the first attempt.
async fn refused(house: &House, ca: &Ca) -> LastError {
    let server = house.serve(ca, &NAMES).await;
    server.issue(false).await;
    let error = server.show().await.last_error.expect("there is no certificate");
    server.handle.stop().await;
    error
}

fn with(ca: &Ca, more: impl Into<String>) -> Ca {
    Ca { directory: ca.directory.clone(), root: ca.root.clone(), more: more.into().leak() }
}

fn accounts(pebble: &Pebble) -> usize {
    pebble.log().matches("POST /sign-me-up -> calling handler").count()
}

async fn an_account_is_bound(version: PebbleVersion) {
    let house = House::new();
    let keys = json!({ "kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" });
    let builder = house.pebble(version).config("externalAccountBindingRequired", json!(true));
    let pebble = builder.config("externalAccountMACKeys", keys).start();
    let ca = Ca::of(&pebble);

    let missing = refused(&house, &ca).await;
    assert_eq!(missing.step, "account");
    for words in ["`pebble`", "eab = { key_id", "hmac_key_file"] {
        assert!(missing.message.contains(words), "{}", missing.message);
    }
    assert_eq!(accounts(&pebble), 0, "the CA was asked in vain");

    let bound = with(&ca, r#"eab = { key_id = "kid-1", hmac_key_file = "eab.key" }"#);
    std::fs::write(house.folder.path().join("eab.key"), "AAAAZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nME\n").unwrap();
    let wrong = refused(&house, &bound).await;
    assert!(wrong.message.contains("urn:ietf:params:acme:error:"), "{}", wrong.message);
    assert!(wrong.explanation.is_some_and(|explanation| explanation.contains("What to do:")));

    // With padding or without.
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n";
    std::fs::write(house.folder.path().join("eab.key"), key).unwrap();
    issued(&house, &bound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_bound_to_an_external_one_at_pebble_2_4_rfc8555_7_3_4() {
    an_account_is_bound(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_bound_to_an_external_one_at_pebble_2_10_rfc8555_7_3_4() {
    an_account_is_bound(PebbleVersion::V2_10_1).await;
}

/// Every second good nonce is refused: each time the same request is made again, however often.
async fn nonces_are_refused(version: PebbleVersion) {
    let house = House::new();
    let pebble = house.pebble(version).nonce_reject(50).start();
    for _ in 0..3 {
        issued(&house, &Ca::of(&pebble)).await;
    }
    assert_eq!(orders(&pebble), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_nonces_are_no_failures_at_pebble_2_4_rfc8555_6_5() {
    nonces_are_refused(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_nonces_are_no_failures_at_pebble_2_10_rfc8555_6_5() {
    nonces_are_refused(PebbleVersion::V2_10_1).await;
}

async fn a_chain_is_chosen(version: PebbleVersion) {
    let house = House::new();
    let pebble = house.pebble(version).env("PEBBLE_ALTERNATE_ROOTS", "2").start();
    let ca = Ca::of(&pebble);
    for number in [2, 0, 1] {
        let url = pebble.management_url(&format!("/roots/{number}"));
        let root = pebble.fetch(&url, &[]).expect_success().stdout;
        let (_, pem) = parse_x509_pem(root.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let name = certificate.subject().iter_common_name().next().unwrap().as_str().unwrap();
        issued(&house, &with(&ca, format!("preferred_chain = \"{name}\""))).await;
        verify_chain(&house.pem("fullchain.pem"), &root, &NAMES);
    }
    let server = house.serve(&with(&ca, "preferred_chain = \"No Such Root\""), &NAMES).await;
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    assert!(format!("{lines:?}").contains("no chain to `No Such Root`"), "{lines:#?}");
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_to_the_preferred_root_is_taken_from_pebble_2_4_rfc8555_7_4_2() {
    a_chain_is_chosen(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_to_the_preferred_root_is_taken_from_pebble_2_10_rfc8555_7_4_2() {
    a_chain_is_chosen(PebbleVersion::V2_10_1).await;
}

/// Pebble gives an order without a profile a random one.
#[tokio::test(flavor = "multi_thread")]
async fn the_profile_is_the_one_that_is_configured_or_any() {
    const DAY: i64 = 24 * 60 * 60;
    let house = House::new();
    let profiles = json!({
        "short": { "description": "six days", "validityPeriod": 6 * DAY },
        "long": { "description": "ninety days", "validityPeriod": 90 * DAY },
    });
    let pebble = house.pebble(PebbleVersion::V2_10_1).config("profiles", profiles).start();
    let ca = Ca::of(&pebble);
    for (more, days) in [("profile = \"short\"", vec![6]), ("profile = \"long\"", vec![90]), ("", vec![6, 90])] {
        let server = house.serve(&with(&ca, more), &NAMES).await;
        for _ in 0..2 {
            let lines = server.issue(true).await;
            assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
            let status = server.show().await;
            let life = status.not_after.unwrap().duration_since(status.not_before.unwrap()).as_secs();
            assert!(days.iter().any(|days| (life - days * DAY).abs() <= 60), "{more}: {life} s");
        }
        server.handle.stop().await;
    }
}

/// An HTTP proxy that lets in who knows the password.
pub struct Proxy {
    port: u16,
    pub tunnels: Arc<AtomicUsize>,
    /// Where they led, in their order.
    to: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub async fn start(credentials: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tunnels = Arc::new(AtomicUsize::new(0));
        let to: Arc<Mutex<Vec<String>>> = Arc::default();
        let (counter, led, wanted) =
            (tunnels.clone(), to.clone(), format!("basic {}", BASE64_STANDARD.encode(credentials)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, wanted.clone(), counter.clone(), led.clone()));
            }
        });
        Proxy { port, tunnels, to }
    }

    pub fn tables(&self, credentials: &str) -> String {
        format!("[acme]\nproxy = \"http://{credentials}@127.0.0.1:{}\"\n", self.port)
    }
}

async fn tunnel(
    stream: TcpStream,
    wanted: String,
    counter: Arc<AtomicUsize>,
    led: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut line) = (Vec::new(), String::new());
    while stream.read_line(&mut line).await? > 2 {
        head.push(std::mem::take(&mut line).trim_end().to_owned());
    }
    let is_let_in = head.iter().any(|line| {
        line.to_ascii_lowercase().starts_with("proxy-authorization:")
            && line.ends_with(wanted.trim_start_matches("basic "))
    });
    if !is_let_in {
        return stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    }
    let to = head[0].strip_prefix("CONNECT ").unwrap().strip_suffix(" HTTP/1.1").unwrap();
    led.lock().unwrap().push(to.to_owned());
    let mut to = TcpStream::connect(to.replace("localhost", "127.0.0.1")).await?;
    counter.fetch_add(1, Ordering::SeqCst);
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut stream, &mut to).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn cas_are_reached_through_the_proxy_rfc9110_9_3_6() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let proxy = Proxy::start("me:s3cret/word").await;

    house.tables = proxy.tables("me:wrong");
    let error = refused(&house, &Ca::of(&pebble)).await;
    assert!(error.message.contains("proxy authorization required"), "{}", error.message);
    assert!(error.explanation.is_some_and(|words| words.contains("`proxy` in [acme]")));
    assert_eq!((proxy.tunnels.load(Ordering::SeqCst), accounts(&pebble)), (0, 0));

    house.tables = proxy.tables("me:s3cret%2Fword");
    issued(&house, &Ca::of(&pebble)).await;
    // One connection, or few, for all requests.
    assert!((1..=3).contains(&proxy.tunnels.load(Ordering::SeqCst)), "{}", proxy.tunnels.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_excepted_is_reached_without_the_proxy() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let proxy = Proxy::start("me:s3cret").await;
    let near = pebble.directory_url();
    let far = Ca { directory: near.replace("localhost", "127.0.0.1"), ..Ca::of(&pebble) };
    assert_ne!(near, far.directory);
    house.tables = format!(
        "{}no_proxy = [\"localhost\"]\n[[ca]]\nname = \"near\"\ndirectory = {near:?}\nroot = {:?}\n\
         [[certificate]]\nname = \"near\"\nnames = {NAMES:?}\nca = \"near\"\n",
        proxy.tables("me:s3cret"),
        far.root,
    );
    house.certificate = "ca = \"pebble\"".into();
    let server = house.serve(&far, &NAMES).await;
    for name in ["near", "site"] {
        let lines = lines(server.client.issue(name, true).await.unwrap()).await;
        assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    }
    server.handle.stop().await;
    let to = proxy.to.lock().unwrap().clone();
    assert!(!to.is_empty() && to.iter().all(|to| to.starts_with("127.0.0.1:")), "{to:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_account_is_made_without_agreement_to_the_terms_rfc8555_7_3_3() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::of(&pebble);
    let error = refused(&house, &with(&ca, "agree_to_terms = false")).await;
    assert_eq!(error.step, "account");
    for words in ["terms of service, data:text/plain,Do%20what%20thou%20wilt", "agree_to_terms = false"] {
        assert!(error.message.contains(words), "{}", error.message);
    }
    assert_eq!(accounts(&pebble), 0);
    issued(&house, &ca).await;
    // The account is there: nothing is agreed to any more.
    issued(&house, &with(&ca, "agree_to_terms = false")).await;
}

/// For minutes, and the same order goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_works_on_an_order_is_asked_when_it_said_rfc8555_7_4() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
    let ca = FaultyCa::before(&pebble);
    let body = r#"{"status":"processing","identifiers":[],"authorizations":[],"finalize":"https://localhost/f"}"#;
    let content_type = "application/json";
    ca.fail("/my-order/", Fault::Answer { status: 200, content_type, retry_after: "7200", body });
    let server = house.serve(&ca.ca(), &NAMES).await;
    let failed = server.wait_for(CertificateState::Failed).await;
    let error = failed.last_error.unwrap();
    assert!(error.message.contains("still at work"), "{}", error.message);
    let wait = failed.next_attempt.unwrap().duration_since(error.at).as_secs();
    assert!((7190..=7201).contains(&wait), "{wait}");
    ca.heal();
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    assert_eq!(orders(&pebble), 1);
    server.handle.stop().await;
}

/// Seconds and dates in turn, at authorizations and orders.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_asks_for_patience_gets_it_rfc9110_10_2_3() {
    let house = House::new();
    let patience = json!({ "authz": 1, "order": 1 });
    let pebble = house.pebble(PebbleVersion::V2_10_1).config("retryAfter", patience).start();
    for _ in 0..2 {
        issued(&house, &Ca::of(&pebble)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_explained() {
    let house = House::new();
    let blocked = json!(["delegated.test"]);
    let pebble = house.pebble(PebbleVersion::V2_10_1).config("domainBlocklist", blocked).start();
    let error = refused(&house, &Ca::of(&pebble)).await;
    assert_eq!(
        error.explanation.as_deref(),
        Some(
            "What this means: this CA does not issue for one of the names, whatever is proven. What to do: take the name \
             out, or take another CA."
        )
    );
}

/// Many certificates at once, one look at the directory.
#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_fetched_once_for_all_rfc8555_7_1_1() {
    let mut house = House::new();
    for number in 0..6 {
        let table =
            format!("[[certificate]]\nname = \"more-{number}\"\nnames = [\"delegated.test\"]\nca = \"pebble\"\n");
        house.tables.push_str(&table);
    }
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let fetched = || pebble.log().matches("GET /dir -> calling handler").count();
    let before = fetched();
    assert!(before > 0, "the log has other words: {}", pebble.log());
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let until_all = || async {
        let all = server.client.certificates().await.unwrap();
        all.iter().all(|one| one.state == CertificateState::Valid).then_some(())
    };
    crate::support::poll_async(Duration::from_secs(60), "all certificates", until_all).await;
    assert_eq!(fetched() - before, 1);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cas_are_shown_those_that_are_down_too() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    // Takes connections, and nobody speaks on them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    house.tables = format!(
        "[[ca]]\nname = \"down\"\ndirectory = \"https://127.0.0.1:{}/dir\"\n\
         [[ca]]\nname = \"silent\"\ndirectory = \"https://127.0.0.1:{silent_port}/dir\"\n",
        free_port()
    );
    house.certificate = "ca = \"pebble\"".into();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.wait_for(CertificateState::Valid).await;

    let begun = Instant::now();
    let cas = server.client.cas().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let errors: Vec<_> = cas.iter().map(|ca| (ca.name.as_str(), ca.error.as_deref())).collect();
    let [("pebble", None), ("down", Some(down)), ("silent", Some(silent))] = errors[..] else { panic!("{errors:?}") };
    assert!(down.contains("refused") && silent.contains("within 5 s"), "{down} {silent}");

    let ca = server.client.ca("pebble").await.unwrap();
    let account = ca.account.unwrap();
    assert!(account.starts_with(ca.directory.trim_end_matches("/dir")), "{account}");
    assert_eq!(ca.contact, ["mailto:hostmaster@example.test"]);
    assert_eq!(ca.caa_identities, ["pebble.letsencrypt.org"]);
    assert_eq!(
        ca.caa_records,
        [format!("CAA 0 issue \"pebble.letsencrypt.org; validationmethods=dns-01; accounturi={account}\"")]
    );
    assert_eq!(ca.profiles[0].name, "default");
    assert!(ca.terms_of_service.is_some() && ca.agrees_to_terms && !ca.external_account_required);
    assert!(server.client.ca("nosuch").await.is_err());
    server.handle.stop().await;
}
