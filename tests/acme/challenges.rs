//! Methods beside dns-01: dns-account-01 and dns-persist-01, as Pebble has them.

use acmezone::api::{CertificateState, Progress};
use acmezone::client::Client;
use acmezone::config::Config;

use crate::faulty::{Fault, FaultyCa, When};
use crate::house::{Ca, House, PATIENCE, Running, orders, start_binary, until_forgotten};
use crate::support::{Pebble, PebbleVersion, Unbound, poll_async, verify_chain};

const BOTH: [&str; 2] = ["*.example.test", "example.test"];
const DELEGATED: [&str; 2] = ["*.delegated.test", "delegated.test"];
const ACCOUNT: &str = "dns-account-01";
const PERSIST: &str = "dns-persist-01";

fn house(challenge: &str) -> House {
    let mut house = House::new();
    house.certificate = format!("challenge = \"{challenge}\"");
    house
}

/// Lets this CA and this method alone issue.
fn caa(challenge: &str) -> String {
    format!("@ CAA 0 issue \"pebble.letsencrypt.org; validationmethods={challenge}\"")
}

/// The record that is asked for.
async fn missing(server: &Running) -> String {
    let waiting = server.wait_for(CertificateState::WaitingForDelegation).await;
    let [record] = waiting.missing_records.try_into().expect("one record");
    record
}

/// What is said while a certificate is issued; no value is left.
async fn issued(server: &Running, pebble: &Pebble, house: &House, names: &[&str]) -> Vec<String> {
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), names);
    let values = server.client.names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "values are left: {values:?}");
    steps(lines)
}

fn steps(lines: Vec<Progress>) -> Vec<String> {
    let step = |line| match line {
        Progress::Step { message } | Progress::Failed { message } | Progress::Done { message, .. } => message,
    };
    lines.into_iter().map(step).collect()
}

async fn preview(server: &Running) -> Vec<String> {
    let mut told = server.client.preview("site").await.unwrap();
    let mut lines = Vec::new();
    while let Some(line) = told.next().await {
        lines.push(line.unwrap());
    }
    steps(lines)
}

#[track_caller]
fn tells(lines: &[String], words: &str) {
    assert!(lines.iter().any(|line| line.contains(words)), "`{words}` is not in {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_account_01_by_cname_at_the_accounts_own_name_dns_account_label_3_1() {
    let mut house = house(ACCOUNT);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &BOTH).await;
    let record = missing(&server).await;
    let (name, target) = record.split_once(". IN CNAME ").expect(&record);
    let label = name.strip_suffix("._acme-challenge.example.test").expect(name);
    assert!(label.len() == 17 && label.starts_with('_') && target.ends_with(".auth.acme.test."), "{record}");
    tells(&preview(&server).await, &format!("example.test: make this record first: {record}"));
    assert_eq!(orders(&pebble), 0);

    house.add_record(&format!("{record}\n{}", caa(ACCOUNT)));
    tells(&preview(&server).await, &format!("the value would be put at {name}"));
    let lines = issued(&server, &pebble, &house, &BOTH).await;
    tells(&lines, &format!("{name} is seen by the resolver"));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_account_01_in_a_delegated_zone_dns_account_label_3_1() {
    let house = house(ACCOUNT);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &DELEGATED).await;
    server.wait_for(CertificateState::Valid).await;
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &DELEGATED);
    let lines = steps(server.issue(true).await);
    let at = lines.iter().find_map(|line| line.strip_prefix("published a value at _")).expect("a value");
    let label = at.strip_suffix("._acme-challenge.delegated.test").expect(at);
    assert_eq!(label.len(), 16);
    server.handle.stop().await;
}

/// The record that is named is added as it is; nothing is published.
#[tokio::test(flavor = "multi_thread")]
async fn dns_persist_01_by_a_record_made_by_hand_once_dns_persist_01() {
    let mut house = house(PERSIST);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &BOTH).await;
    let record = missing(&server).await;
    let begin = "_validation-persist.example.test. IN TXT \"pebble.letsencrypt.org; accounturi=https://localhost:";
    assert!(record.starts_with(begin) && record.contains("; policy=wildcard\" ; or in its place "), "{record}");
    tells(&preview(&server).await, &format!("make this record first: {record}"));
    assert_eq!(orders(&pebble), 0);

    // That of somebody else does not do, and is told.
    house.add_record("_validation-persist TXT \"pebble.letsencrypt.org; accounturi=https://localhost/other\"");
    until_forgotten().await;
    tells(&preview(&server).await, "and has [\"pebble.letsencrypt.org; accounturi=https://localhost/other\"]");

    house.add_record(&format!("{record}\n{}", caa(PERSIST)));
    until_forgotten().await;
    tells(&preview(&server).await, "_validation-persist.example.test has the record already: ");
    let lines = issued(&server, &pebble, &house, &BOTH).await;
    tells(&lines, "_validation-persist.example.test has the record already: ");
    assert!(!lines.iter().any(|line| line.contains("published")), "{lines:#?}");
    // Good for the next one too.
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_persist_01_through_a_cname_is_there_for_the_time_of_the_order_dns_persist_01() {
    let mut house = house(PERSIST);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &BOTH).await;
    let record = missing(&server).await;
    let (_, cname) = record.split_once(" ; or in its place ").expect(&record);
    assert!(cname.starts_with("_validation-persist.example.test. IN CNAME "), "{cname}");
    house.add_record(cname);
    until_forgotten().await;
    let lines = issued(&server, &pebble, &house, &BOTH).await;
    let published = lines.iter().filter(|line| line.starts_with("published a value at ")).count();
    assert_eq!(published, 1, "one record for the domain and its wildcard: {lines:#?}");
    tells(&lines, "_validation-persist.example.test is seen by the resolver");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_persist_01_in_a_delegated_zone_dns_persist_01() {
    let mut house = house(PERSIST);
    let origin = "_validation-persist.delegated.test";
    house.unbound = Unbound::start(&[(origin, house.dns())]);
    house.tables = format!("[[zone]]\norigin = \"{origin}\"\nnameservers = [\"ns1.acme.test\"]");
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &DELEGATED).await;
    server.wait_for(CertificateState::Valid).await;
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &DELEGATED);
    let lines = steps(server.issue(true).await);
    tells(&lines, &format!("published a value at {origin}"));
    server.handle.stop().await;
}

/// Puts Pebble's directory, with `meta` changed, before it.
fn with_meta(pebble: &Pebble, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> FaultyCa {
    let ca = FaultyCa::before(pebble);
    let directory = pebble.fetch(&pebble.directory_url(), &[]).expect_success().stdout;
    let (front, behind) = (ca.ca().directory, pebble.directory_url());
    let directory = directory.replace(behind.trim_end_matches("/dir"), front.trim_end_matches("/dir"));
    let mut directory: serde_json::Value = serde_json::from_str(&directory).unwrap();
    change(directory["meta"].as_object_mut().unwrap());
    let (content_type, body) = ("application/json", directory.to_string().leak());
    ca.fail("/dir", Fault::Answer { status: 200, content_type, retry_after: "", body });
    ca
}

/// Only the challenge tells by which name the CA goes.
#[tokio::test(flavor = "multi_thread")]
async fn dns_persist_01_of_a_ca_that_tells_its_name_in_the_challenge_alone_dns_persist_01() {
    let mut house = house(PERSIST);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = with_meta(&pebble, |meta| drop(meta.remove("caaIdentities").unwrap()));
    let server = house.serve(&ca.ca(), &BOTH).await;
    let record = missing(&server).await;
    assert_eq!(orders(&pebble), 1);
    tells(&preview(&server).await, "pebble: would go on with the order https://");
    house.add_record(&record);
    until_forgotten().await;
    issued(&server, &pebble, &house, &BOTH).await;
    assert_eq!(orders(&pebble), 1, "the order waited for the record");
    server.handle.stop().await;
}

/// Pebble does not take such records yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_a_prefix_for_hashes_gets_records_without_the_account_dns_persist_02() {
    let mut house = house(PERSIST);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = with_meta(&pebble, |meta| {
        meta.insert("accountHashPrefix".into(), "https://ca.test/hash/".into());
        meta.insert("issuerDomainNames".into(), serde_json::json!(["first.test", "second.test"]));
    });
    let server = house.serve(&ca.ca(), &["example.test"]).await;
    let record = missing(&server).await;
    let begin = "_validation-persist.example.test. IN TXT \"first.test; accounturi=https://ca.test/hash/sha-256/";
    let (hash, _) = record.strip_prefix(begin).expect(&record).split_once('"').unwrap();
    assert_eq!(hash.len(), 43, "{record}");

    // It stays good when the account's key, which is in the hash, is another one.
    house.add_record(&record);
    until_forgotten().await;
    tells(&preview(&server).await, "_validation-persist.example.test has the record already: ");
    let told = steps(crate::house::lines(server.client.roll_over("pebble").await.unwrap()).await);
    assert!(told.last().unwrap().ends_with("which were made by hand for site"), "{told:?}");
    tells(&preview(&server).await, "_validation-persist.example.test has the record already: ");
    assert_eq!(orders(&pebble), 0);
    server.handle.stop().await;
}

/// In a zone of ours, whose name needs no CNAME; killed while the values are in the DNS.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_method_are_gone_after_a_kill() {
    for challenge in [ACCOUNT, PERSIST] {
        let house = house(challenge);
        let pebble = house.pebble(PebbleVersion::V2_10_1).nonce_reject(0).start();
        let ca = FaultyCa::before(&pebble);
        let file = house.configure(&ca.ca(), &["host.auth.acme.test"]);
        let config = Config::read(&file).unwrap();
        let mut killed = String::new();
        for request in 3.. {
            let sprung = ca.trap(request, When::Before);
            let server = start_binary(&file);
            killed = sprung.await.unwrap();
            server.signal(libc::SIGKILL);
            drop(server);
            if killed.starts_with("/chalZ/") {
                break;
            }
            std::fs::remove_dir_all(house.folder.path().join("data")).unwrap();
        }
        assert!(killed.starts_with("/chalZ/"));

        let before = orders(&pebble);
        let server = start_binary(&file);
        is_valid(&config).await;
        let values = Client::new(&config).unwrap().names().await.unwrap();
        assert!(values.iter().all(|name| name.values.is_empty()), "values are left: {values:?}");
        assert_eq!(orders(&pebble), before, "the same order goes on: {}", server.log());
    }
}

async fn is_valid(config: &Config) {
    // The token is a new one after each start.
    let client = || Client::new(config).ok();
    poll_async(PATIENCE, "the certificate", || async {
        client()?.certificate("site").await.ok().filter(|status| status.state == CertificateState::Valid)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_without_the_method_is_told_with_what_it_offers_and_the_order_is_given_up() {
    for challenge in [ACCOUNT, PERSIST] {
        let mut house = house(challenge);
        let pebble = house.pebble(PebbleVersion::Debian240).start();
        let server = house.serve(&Ca::of(&pebble), &["delegated.test"]).await;
        let status = server.wait_for(CertificateState::Failed).await;
        let error = status.last_error.unwrap();
        assert_eq!(error.step, "order");
        let (told, offered) = error.message.split_once(" for delegated.test, but ").expect(&error.message);
        assert_eq!(told, format!("the CA does not offer {challenge}"));
        for method in ["dns-01", "http-01", "tls-alpn-01"] {
            assert!(offered.contains(method), "{offered}");
        }
        assert_eq!((orders(&pebble), status.missing_records.len()), (1, 0));
        // There is no order to go on with.
        tells(&preview(&server).await, "pebble: would order delegated.test with the account ");
        server.handle.stop().await;

        house.certificate.clear();
        let server = house.serve(&Ca::of(&pebble), &["delegated.test"]).await;
        issued(&server, &pebble, &house, &["delegated.test"]).await;
        server.handle.stop().await;
    }
}
