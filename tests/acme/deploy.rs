//! What follows a new certificate: the deploy program and the webhook, with real programs and a real receiver.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acmezone::api::{CertificateState, CertificateStatus, DeploymentStatus, Progress};
use acmezone::client::Client;
use acmezone::config::Config;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::house::{Ca, House, PATIENCE, Running};
use crate::support::{Pebble, PebbleVersion, Subprocess, poll, poll_async, run};

const NAMES: [&str; 1] = ["delegated.test"];

/// A house whose certificate has this script for its deploy program, with `$OUT` for a folder of the test.
fn house(script: &str) -> (House, Pebble) {
    let mut house = House::new();
    let program = house.folder.path().join("deploy");
    let out = house.folder.path().display();
    fs::write(&program, format!("#!/bin/sh\nOUT={out}\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    house.certificate = format!("deploy = [{program:?}, \"two words\", \"$HOME\"]\n");
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    (house, pebble)
}

impl Running {
    async fn deployment(&self) -> DeploymentStatus {
        self.show().await.deployment.expect("something is configured")
    }

    async fn wait_until(&self, what: &str, is: impl Fn(&DeploymentStatus) -> bool) -> CertificateStatus {
        let look = || async { Some(self.show().await).filter(|status| status.deployment.as_ref().is_some_and(&is)) };
        poll_async(PATIENCE, what, look).await
    }

    async fn deployed(&self) -> CertificateStatus {
        self.wait_until("the program to end well", |deployment| deployment.deployed_at.is_some()).await
    }

    async fn deploy(&self) -> Vec<Progress> {
        let mut steps = self.client.deploy("site").await.unwrap();
        let mut lines = Vec::new();
        while let Some(step) = steps.next().await {
            lines.push(step.unwrap());
        }
        lines
    }
}

fn lines_of(progress: &[Progress]) -> Vec<&str> {
    let steps = progress.iter().filter_map(|step| match step {
        Progress::Step { message } => Some(message.as_str()),
        _ => None,
    });
    steps.collect()
}

/// Lets what is stored as waiting for another attempt be due at once.
fn let_wait_be_over(house: &House) {
    let store = rusqlite::Connection::open(house.folder.path().join("data/acmezone.db")).unwrap();
    let body: String =
        store.query_row("SELECT body FROM document WHERE kind = 'deployment'", [], |row| row.get(0)).unwrap();
    let mut state: Value = serde_json::from_str(&body).unwrap();
    let over = |trouble: &mut Value| {
        if trouble.is_object() {
            trouble["next_attempt"] = 1.into();
        }
    };
    over(&mut state["trouble"]);
    state["events"].as_array_mut().unwrap().iter_mut().for_each(|event| over(&mut event["trouble"]));
    let changed = store.execute("UPDATE document SET body = ?1 WHERE kind = 'deployment'", [state.to_string()]);
    assert_eq!(changed, Ok(1));
}

fn is_alive(process: &str) -> bool {
    // A zombie is dead.
    fs::read_to_string(format!("/proc/{}/stat", process.trim()))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

fn written(path: &Path) -> String {
    poll(PATIENCE, &format!("{}", path.display()), || fs::read_to_string(path).ok().filter(|text| text.ends_with('\n')))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_gets_what_is_documented_and_nothing_else() {
    let script = "echo \"arguments=$#:$1:$2\"; echo \"folder=$(pwd -P)\"; env; ls -l /proc/self/fd; cat; cat cert.pem";
    let (house, pebble) = house(script);
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let status = server.deployed().await;
    let progress = server.deploy().await;
    assert!(matches!(progress.last(), Some(Progress::Done { .. })), "{progress:#?}");
    let lines = lines_of(&progress);
    // No shell reads what is configured.
    assert!(lines.contains(&"arguments=2:two words:$HOME"), "{lines:#?}");
    let folder = house.certificate_folder();
    let real = fs::canonicalize(&folder).unwrap();
    assert!(lines.contains(&format!("folder={}", real.display()).as_str()), "{lines:#?}");
    assert!(lines.contains(&"-----BEGIN CERTIFICATE-----"), "{lines:#?}");

    let environment: BTreeMap<&str, &str> = lines.iter().filter_map(|line| line.split_once('=')).collect();
    let file = |name: &str| folder.join(name).display().to_string();
    let expected = [
        ("ACMEZONE_EVENT", "deploy".to_owned()),
        ("ACMEZONE_CERTIFICATE", "site".into()),
        ("ACMEZONE_NAMES", "delegated.test".into()),
        ("ACMEZONE_FOLDER", folder.display().to_string()),
        ("ACMEZONE_PRIVKEY", file("privkey.pem")),
        ("ACMEZONE_CERT", file("cert.pem")),
        ("ACMEZONE_CHAIN", file("chain.pem")),
        ("ACMEZONE_FULLCHAIN", file("fullchain.pem")),
        ("ACMEZONE_SERIAL", status.serial.unwrap()),
        ("ACMEZONE_NOT_AFTER", status.not_after.unwrap().to_string()),
    ];
    for (name, value) in &expected {
        assert_eq!(environment.get(name), Some(&value.as_str()), "{name}");
    }
    let passed_on = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"];
    let of_the_shell = ["PWD", "OLDPWD", "SHLVL", "_", "OUT"];
    for name in environment.keys().filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')) {
        let is_known = expected.iter().any(|(expected, _)| expected == name);
        assert!(is_known || passed_on.contains(name) || of_the_shell.contains(name), "{name} is passed on");
    }

    // The three that it needs and the folder that `ls` reads; what this process got from its own parent is not ours.
    let shown = lines.iter().filter_map(|line| line.split_once(" -> "));
    let mut descriptors: BTreeMap<&str, &str> =
        shown.filter_map(|(before, to)| Some((before.rsplit_once(' ')?.1, to))).collect();
    let handed_down = |number: &str| {
        let file = format!("/proc/{}/fd/{number}", std::os::unix::process::parent_id());
        fs::read_link(file).map(|to| to.display().to_string()).unwrap_or_default()
    };
    descriptors.retain(|number, to| number.len() == 1 || handed_down(number) != *to);
    let numbers: Vec<&str> = descriptors.keys().copied().collect();
    assert_eq!(numbers, ["0", "1", "2", "3"], "{descriptors:#?}");
    assert_eq!(descriptors["0"], "/dev/null");
    assert!(descriptors["1"].starts_with("pipe:") && descriptors["2"].starts_with("pipe:"), "{descriptors:#?}");
    assert!(descriptors["3"].starts_with("/proc/"), "{descriptors:#?}");
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_is_told_and_run_again_and_no_renewal_waits_for_it() {
    let (house, pebble) = house("echo run >> $OUT/runs; echo \"no such service\" >&2; [ -e $OUT/ok ] || exit 3");
    let ca = Ca::of(&pebble);
    let runs = || fs::read_to_string(house.folder.path().join("runs")).unwrap_or_default().lines().count();
    let server = house.serve(&ca, &NAMES).await;
    let status = server.wait_until("a failure", |deployment| deployment.last_error.is_some()).await;
    assert_eq!((status.state, status.last_error.is_none()), (CertificateState::Valid, true));
    let failed = status.deployment.unwrap();
    let error = failed.last_error.unwrap();
    assert!(error.message.ends_with("ended with exit status: 3; its last lines: no such service"), "{}", error.message);
    let wait = failed.next_attempt.unwrap().duration_since(error.at).as_secs();
    assert!((60..=66).contains(&wait), "{wait}");
    assert_eq!((error.failures, runs()), (1, 1));

    // The next version is issued, and the program runs for it too, from the beginning.
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    poll(PATIENCE, "the run for the next version", || (runs() == 2).then_some(()));
    server.wait_until("the second failure", |deployment| deployment.last_error.is_some()).await;
    // A person does not wait.
    let lines = server.deploy().await;
    assert!(matches!(lines.last(), Some(Progress::Failed { message }) if message.contains("exit status: 3")));
    let before = server.deployment().await;
    assert_eq!(before.last_error.as_ref().unwrap().failures, 2);
    server.handle.stop().await;

    let server = house.serve(&ca, &NAMES).await;
    server.wait_for(CertificateState::Valid).await;
    let after = server.deployment().await;
    assert_eq!((after.next_attempt, runs()), (before.next_attempt, 3));
    server.handle.stop().await;

    let_wait_be_over(&house);
    fs::write(house.folder.path().join("ok"), "").unwrap();
    let server = house.serve(&ca, &NAMES).await;
    let deployment = server.deployed().await.deployment.unwrap();
    assert!(deployment.last_error.is_none() && deployment.next_attempt.is_none(), "{deployment:?}");
    assert_eq!(runs(), 4);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_ends_the_program_and_what_it_started() {
    let (mut house, pebble) = house("trap '' TERM; sleep 300 & echo $! > $OUT/child; sleep 300");
    house.certificate += "deploy_timeout = \"1s\"\n";
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let child = written(&house.folder.path().join("child"));
    assert!(is_alive(&child));
    let status = server.wait_until("the deadline", |deployment| deployment.last_error.is_some()).await;
    let error = status.deployment.unwrap().last_error.unwrap().message;
    assert!(error.ends_with("did not end within 1 s and was stopped"), "{error}");
    assert!(!is_alive(&child));
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_program_and_the_next_start_runs_it_again() {
    let (house, pebble) = house("echo $$ >> $OUT/runs; [ -e $OUT/ok ] || sleep 300");
    let ca = Ca::of(&pebble);
    let server = house.serve(&ca, &NAMES).await;
    let program = written(&house.folder.path().join("runs"));
    let begun = Instant::now();
    server.handle.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(!is_alive(&program));

    fs::write(house.folder.path().join("ok"), "").unwrap();
    let server = house.serve(&ca, &NAMES).await;
    let deployment = server.deployed().await.deployment.unwrap();
    assert!(deployment.last_error.is_none(), "{deployment:?}");
    assert_eq!(written(&house.folder.path().join("runs")).lines().count(), 2);
    server.handle.stop().await;
}

/// At least once: the server was killed before it could note that the program had ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_a_kill_came_before_is_run_after_the_next_start() {
    let (house, pebble) = house("echo $$ >> $OUT/runs; [ -e $OUT/ok ] || sleep 30");
    let file = house.configure(&Ca::of(&pebble), &NAMES);
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
        command.arg("serve").arg("--config").arg(&file);
        Subprocess::start("acmezone", command)
    };
    let runs = house.folder.path().join("runs");
    let mut server = start();
    let program = written(&runs);
    server.signal(libc::SIGKILL);
    server.wait(PATIENCE);
    // It outlives the server that was killed.
    assert!(Command::new("kill").arg(program.trim()).status().unwrap().success());
    fs::write(house.folder.path().join("ok"), "").unwrap();
    let mut server = start();
    let config = Config::read(&file).unwrap();
    let deployed = || async {
        let status = Client::new(&config).ok()?.certificate("site").await.ok()?;
        status.deployment?.deployed_at
    };
    poll_async(PATIENCE, "the program to end well", deployed).await;
    assert_eq!(written(&runs).lines().count(), 2);
    server.signal(libc::SIGTERM);
    server.wait(PATIENCE);
    assert!(server.log().contains("deployed"), "{}", server.log());
}

/// Four hang: the fifth says what it waits for, to a person too.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_waits_for_others_says_so_and_those_that_run_say_since_when() {
    let (mut house, pebble) = house("echo run >> $OUT/runs; while [ ! -e $OUT/ok ]; do sleep 0.05; done");
    for name in ["b", "c", "d", "e"] {
        let deploy = &house.certificate;
        house.tables += &format!("[[certificate]]\nname = {name:?}\nnames = {NAMES:?}\n{deploy}");
    }
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let all = || async { server.client.certificates().await.unwrap() };
    let is_running = |status: &CertificateStatus| {
        status.deployment.as_ref().is_some_and(|deployment| deployment.running_since.is_some())
    };
    let waiting = poll_async(PATIENCE, "four that run", || async {
        let all = all().await;
        let (running, mut others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_running);
        let issued = others.iter().all(|other| other.path.is_some());
        (running.len() == 4 && issued).then(|| others.pop()).flatten()
    })
    .await;
    // It takes its turn by itself as soon as its files are there.
    let mut steps = server.client.deploy(&waiting.name).await.unwrap();
    let Some(Ok(Progress::Step { message })) = steps.next().await else { panic!("no step") };
    assert!(message.contains("waiting for a place: 4 programs of other certificates"), "{message}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
    command.args(["cert", "list", "--json", "--config"]).arg(house.folder.path().join("acmezone.toml"));
    let listed = run("acmezone", command, Duration::from_secs(20)).expect_success().stdout;
    assert_eq!(listed.matches("\"running_since\": \"20").count(), 4, "{listed}");
    assert_eq!(written(&house.folder.path().join("runs")).lines().count(), 4);

    fs::write(house.folder.path().join("ok"), "").unwrap();
    let told = crate::house::lines(steps).await;
    assert!(matches!(told.last(), Some(Progress::Done { .. })), "{told:?}");
    poll_async(PATIENCE, "none that runs", || async {
        let all = all().await;
        let deployed = |one: &CertificateStatus| one.deployment.as_ref().is_some_and(|one| one.deployed_at.is_some());
        (!all.iter().any(is_running) && all.iter().all(deployed)).then_some(())
    })
    .await;
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_configured_later_waits_for_the_next_version_or_for_somebody_who_asks() {
    let (mut house, pebble) = house("echo run >> $OUT/runs");
    let ca = Ca::of(&pebble);
    let configured = std::mem::take(&mut house.certificate);
    let server = house.serve(&ca, &NAMES).await;
    let status = server.wait_for(CertificateState::Valid).await;
    assert!(status.deployment.is_none());
    let lines = server.deploy().await;
    assert!(matches!(lines.as_slice(), [Progress::Failed { message }] if message.contains("`deploy`")), "{lines:?}");
    server.handle.stop().await;

    house.certificate = configured;
    let runs = || fs::read_to_string(house.folder.path().join("runs")).unwrap_or_default().lines().count();
    let server = house.serve(&ca, &NAMES).await;
    // At once, whether or not the server has looked at the files since its start.
    let lines = server.deploy().await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:?}");
    assert_eq!(runs(), 1);
    let deployment = server.deployment().await;
    assert!(deployment.next_attempt.is_none(), "{deployment:?}");
    assert!(server.deployment().await.deployed_at.is_some());
    server.issue(true).await;
    poll(PATIENCE, "the run for the next version", || (runs() == 2).then_some(()));
    server.handle.stop().await;
}

// The webhook

pub const SECRET: &str = "a word that nobody guesses";

/// What came in, and what is answered.
#[derive(Clone, Default)]
pub struct Receiver {
    events: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    refuses: Arc<Mutex<bool>>,
}

impl Receiver {
    pub async fn start() -> (Receiver, String) {
        let receiver = Receiver::default();
        let router = axum::Router::new().route("/hook", axum::routing::post(Receiver::take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router.with_state(receiver.clone())).into_future());
        (receiver, url)
    }

    async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
        receiver.events.lock().unwrap().push((headers, String::from_utf8(body.into()).unwrap()));
        if *receiver.refuses.lock().unwrap() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
    }

    /// So many events, each of which is checked.
    pub fn wait_for(&self, count: usize) -> Vec<Value> {
        let enough = || Some(self.events.lock().unwrap().clone()).filter(|events| events.len() >= count);
        let events = poll(PATIENCE, &format!("{count} events"), enough);
        let body = |(headers, body): &(HeaderMap, String)| {
            check_signature(headers, body);
            assert_eq!(headers["content-type"], "application/json");
            assert_eq!(headers["user-agent"], concat!("acmezone/", env!("CARGO_PKG_VERSION")));
            serde_json::from_str(body).unwrap()
        };
        events.iter().map(body).collect()
    }
}

/// HMAC (RFC 2104) by its definition, and not by the library that made the signature.
fn hmac(key: &[u8], text: &[u8]) -> String {
    let padded = |with: u8| -> Vec<u8> { (0..64).map(|place| key.get(place).copied().unwrap_or(0) ^ with).collect() };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn check_signature(headers: &HeaderMap, body: &str) {
    let signature = headers["x-acmezone-signature"].to_str().unwrap();
    let (time, tag) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let age = jiff::Timestamp::now().as_second() - time.parse::<i64>().unwrap();
    assert!((0..=120).contains(&age), "{signature}");
    assert_eq!(tag, hmac(SECRET.as_bytes(), format!("{time}.{body}").as_bytes()));
}

pub fn secret_file(house: &House) -> PathBuf {
    let file = house.folder.path().join("webhook.secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    file
}

pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_told_of_a_certificate_and_of_its_program_signed() {
    let (mut house, pebble) = house("[ -e $OUT/ok ] || exit 1");
    let (receiver, url) = Receiver::start().await;
    house.certificate += &format!("webhook = {url:?}\nwebhook_secret_file = {:?}\n", secret_file(&house));
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let events = receiver.wait_for(2);
    assert_eq!(kinds(&events), ["issued", "deploy-failed"]);
    assert!(events[1]["message"].as_str().unwrap().contains("exit status: 1"), "{events:#?}");
    let status = server.show().await;
    for event in &events {
        assert_eq!(event["certificate"], "site");
        assert_eq!(event["names"], serde_json::json!(NAMES));
        assert_eq!(event["serial"].as_str(), status.serial.as_deref());
        assert_eq!(event["not_after"].as_str().unwrap(), status.not_after.unwrap().to_string());
        assert!(event["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }
    assert_ne!(events[0]["id"], events[1]["id"]);

    // A failure that is known is not told again, its end is.
    server.deploy().await;
    fs::write(house.folder.path().join("ok"), "").unwrap();
    server.deploy().await;
    let events = receiver.wait_for(3);
    assert_eq!(events[2]["event"], "deployed");
    server.wait_until("all to be delivered", |deployment| deployment.undelivered == 0).await;
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_refused_comes_again_with_its_id_after_a_restart() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let (receiver, url) = Receiver::start().await;
    *receiver.refuses.lock().unwrap() = true;
    house.certificate = format!("webhook = {url:?}\nwebhook_secret_file = {:?}\n", secret_file(&house));
    let ca = Ca::of(&pebble);
    let server = house.serve(&ca, &NAMES).await;
    let status = server.wait_until("a refusal", |deployment| deployment.webhook_error.is_some()).await;
    assert_eq!(status.state, CertificateState::Valid);
    let error = status.deployment.unwrap().webhook_error.unwrap().message;
    assert!(error.contains("503") && !error.contains("/hook"), "{error}");
    server.handle.stop().await;

    let_wait_be_over(&house);
    *receiver.refuses.lock().unwrap() = false;
    let server = house.serve(&ca, &NAMES).await;
    let events = receiver.wait_for(2);
    assert_eq!(kinds(&events), ["issued", "issued"]);
    assert_eq!(events[0], events[1]);
    server.wait_until("it to be delivered", |deployment| deployment.undelivered == 0).await;
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_fail_in_a_row_are_told_once() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let (receiver, url) = Receiver::start().await;
    house.certificate = format!("webhook = {url:?}\nwebhook_secret_file = {:?}\n", secret_file(&house));
    let server = house.serve(&Ca::down(&pebble.root_pem_path()), &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    server.issue(false).await;
    server.issue(false).await;
    assert_eq!(server.show().await.last_error.unwrap().failures, 3);
    server.handle.stop().await;

    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.issue(false).await;
    let events = receiver.wait_for(2);
    assert_eq!(kinds(&events), ["failed", "issued"]);
    assert!(events[0]["message"].as_str().unwrap().contains("refused"), "{events:#?}");
    assert_eq!(events[0]["serial"], Value::Null);
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_has_to_make_is_told_once() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let (receiver, url) = Receiver::start().await;
    house.certificate = format!("webhook = {url:?}\nwebhook_secret_file = {:?}\n", secret_file(&house));
    let server = house.serve(&Ca::of(&pebble), &["example.test"]).await;
    let missing = server.wait_for(CertificateState::WaitingForDelegation).await.missing_records;
    server.issue(false).await;
    let events = receiver.wait_for(1);
    assert_eq!(kinds(&events), ["failed"]);
    assert!(events[0]["message"].as_str().unwrap().contains(&missing[0]), "{events:#?}");
    let history = server.client.certificate_history("site").await.unwrap();
    assert_eq!(history.iter().map(|event| event.event.as_str()).collect::<Vec<_>>(), ["failed"]);
    server.wait_until("all to be delivered", |deployment| deployment.undelivered == 0).await;
    assert_eq!(kinds(&receiver.wait_for(1)).len(), 1);
    server.handle.stop().await;
}
