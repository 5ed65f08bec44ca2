//! The commands of people as they are typed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::ptr::{null, null_mut};

use acmezone::api::{CertificateState, NewRevocation};
use serde_json::{Value, json};

use crate::house::{Ca, House, PATIENCE, lines};
use crate::support::{PebbleVersion, poll_async};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

pub async fn acmezone(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
    command.arg("--config").arg(file).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// As JSON, one value on each line.
pub fn json_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn file(house: &House) -> PathBuf {
    house.folder.path().join("acmezone.toml")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_tells_what_has_happened_in_order() {
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).config("domainBlocklist", json!(["blocked.test"])).start();
    let nothing = Ca::down(&pebble.root_pem_path());
    let server = house.serve(&nothing, &NAMES).await;
    server.wait_for(CertificateState::Failed).await;
    // As before: no event of its own.
    server.issue(false).await;
    server.handle.stop().await;

    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    server.issue(false).await;
    let first = server.show().await;
    lines(server.client.revoke("site", &NewRevocation { reissue: true, ..NewRevocation::default() }).await.unwrap())
        .await;
    let second = server.show().await;
    assert_ne!(first.serial, second.serial);

    let told = acmezone(&file(&house), &["cert", "history", "site", "--json"]).await;
    assert!(told.status.success(), "{told:?}");
    let events: Vec<Value> = serde_json::from_slice(&told.stdout).unwrap();
    let what: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(what, ["failed", "issued", "revoked", "issued"]);
    assert!(events[0]["message"].as_str().unwrap().contains("refused"), "{events:#?}");
    let serials: Vec<_> = events[1..].iter().map(|event| event["serial"].as_str().map(str::to_owned)).collect();
    assert_eq!(serials, [first.serial.clone(), first.serial, second.serial.clone()]);
    assert!(events.iter().all(|event| event["ca"] == "pebble"), "{events:#?}");
    assert_eq!(events[3]["not_after"].as_str().unwrap(), second.not_after.unwrap().to_string());
    assert!(events.windows(2).all(|pair| pair[0]["at"].as_str() <= pair[1]["at"].as_str()), "{events:#?}");

    let told = acmezone(&file(&house), &["cert", "history", "site"]).await;
    let lines: Vec<&str> = text(&told.stdout).lines().collect();
    let at = |word: &str| lines.iter().position(|line| line.contains(word)).unwrap_or_else(|| panic!("{told:?}"));
    assert!(at("failed") < at("issued") && at("issued") < at("revoked"), "{told:?}");
    assert!(at(&second.serial.unwrap()) > at("revoked"), "{told:?}");

    let told = acmezone(&file(&house), &["cert", "history", "nosuch"]).await;
    assert!(!told.status.success() && text(&told.stderr).contains("nosuch"), "{told:?}");
    server.handle.stop().await;
}

/// How a command ended, and what it wrote.
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Told {
    fn of(output: Output) -> Told {
        let Output { status, stdout, stderr } = output;
        let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Told { code: status.code().unwrap(), out, err }
    }

    #[track_caller]
    fn out(self, code: i32, words: &[&str]) -> Told {
        let Told { code: ended, out, err } = &self;
        let has = words.iter().all(|words| out.contains(words));
        assert!(*ended == code && has && err.is_empty() == (code == 0), "exit code {ended}\n{out}\n{err}");
        self
    }

    /// The same for one that has put a question.
    #[track_caller]
    fn out_after_question(self, words: &[&str]) {
        assert!(self.code == 0 && words.iter().all(|words| self.out.contains(words)), "{}\n{}", self.out, self.err);
    }

    #[track_caller]
    fn err(self, code: i32, words: &str) -> Told {
        let Told { code: ended, out, err } = &self;
        assert!(*ended == code && err.contains(words), "exit code {ended}\n{out}\n{err}");
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.err))
    }

    fn json_error(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.err))
    }

    /// The cells of the line that begins with this word.
    #[track_caller]
    fn row(&self, word: &str) -> Vec<String> {
        let line = self.out.lines().find(|line| line.split("  ").next() == Some(word)).expect(&self.out);
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    }
}

/// A person at a terminal, who does something between reading the question and answering it.
async fn answered(file: &Path, line: &str, answer: &str, meanwhile: impl AsyncFnOnce()) -> Told {
    let (mut master, mut slave) = (0, 0);
    // SAFETY: both places are ours, and the rest may be null.
    assert_eq!(unsafe { libc::openpty(&mut master, &mut slave, null_mut(), null(), null()) }, 0);
    // SAFETY: nobody else has these descriptors.
    let (mut master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
    command.arg("--config").arg(file).args(line.split(' ')).stdin(slave).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut question = Vec::new();
    let mut stderr = child.stderr.take().unwrap();
    while !question.ends_with(b"[y/N] ") {
        let mut octet = [0];
        assert_eq!(stderr.read(&mut octet).unwrap(), 1, "no question, but {}", text(&question));
        question.push(octet[0]);
    }
    meanwhile().await;
    writeln!(master, "{answer}").unwrap();
    let mut told = Told::of(tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap());
    told.err = String::from_utf8(question).unwrap();
    stderr.read_to_string(&mut told.err).unwrap();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_type_is_answered_in_their_words_and_for_programs_as_json() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let down = Ca::down(&pebble.root_pem_path());
    let ok = house.folder.path().join("ok");
    house.certificate =
        format!("ca = \"pebble\"\ndeploy = [\"/bin/sh\", \"-c\", \"echo reloading; test -e {}\"]\n", ok.display());
    house.tables = format!(
        "[[ca]]\nname = \"down\"\ndirectory = \"{}\"\nroot = \"{}\"\n\
         [[certificate]]\nname = \"waiting\"\nca = \"pebble\"\nchallenge = \"dns-account-01\"\nnames = [\"www.example.test\"]\n\
         [[certificate]]\nname = \"failing\"\nca = \"down\"\nnames = [\"delegated.test\"]\n",
        down.directory,
        down.root.display(),
    );
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    poll_async(PATIENCE, "all to be in their states", || async {
        let all = server.client.certificates().await.ok()?;
        let deployed = all[0].deployment.as_ref()?.last_error.is_some();
        (deployed && !all[1].missing_records.is_empty() && all[2].last_error.is_some()).then_some(())
    })
    .await;
    let file = file(&house);
    let run = async |line: &str| Told::of(acmezone(&file, &line.split(' ').collect::<Vec<_>>()).await);
    let date = |at: jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let site = server.show().await;
    let (serial, expiry) = (site.serial.unwrap(), date(site.not_after.unwrap()));

    // The list: date and share of life, the next renewal, and what went wrong last, whatever that was.
    let list = run("cert list").await.out(0, &["EXPIRES", "NEXT ATTEMPT", "LAST RESULT"]);
    let row = list.row("site");
    assert!(row[1] == "valid" && row[2].starts_with(&expiry) && row[2].ends_with(" % left)"), "{row:?}");
    assert!(row[3].starts_with(&date(site.renewal.unwrap())) && row[3].contains("(in "), "{row:?}");
    assert!(row[4].starts_with("deploy failed: /bin/sh ended with exit status: 1"), "{row:?}");
    assert_eq!(list.row("waiting")[1..3], ["waiting for records", "–"]);
    assert_eq!(list.row("waiting")[4], "a record is missing");
    assert!(list.row("failing")[4].contains(" failed: "), "{}", list.out);
    assert!(run("status").await.out(0, &["update API:"]).out.contains(&list.row("site")[4]));
    let json = run("cert list --json").await.json();
    assert_eq!((&json[0]["serial"], &json[1]["state"]), (&serial.clone().into(), &"waiting-for-delegation".into()));

    run("cert show site").await.out(0, &[&format!("serial:        {serial}"), "deploy:        failed", "in a row: 1"]);
    run("cert show waiting").await.out(0, &["These records have to be made first:\n  _"]);
    run("cert show failing").await.out(0, &["last error:", "explained:     What this means"]);
    assert_eq!(run("cert show site --json").await.json()["not_after"], site.not_after.unwrap().to_string());

    // What is unknown.
    for noun in
        ["cert show", "cert issue", "cert history", "cert renew", "cert reissue", "cert deploy", "cert issue --dry-run"]
    {
        run(&format!("{noun} nosuch"))
            .await
            .err(1, "error: the configuration has no [[certificate]] with the name `nosuch`");
    }
    run("cert revoke nosuch --yes").await.err(1, "no [[certificate]] with the name `nosuch`");
    run("ca show nosuch").await.err(1, "error: the configuration has no [[ca]] with the name `nosuch`");
    let told = run("cert show nosuch --json").await;
    let message = "the configuration has no [[certificate]] with the name `nosuch`";
    assert_eq!((told.code, told.out.as_str()), (1, ""));
    assert_eq!(told.json_error(), json!({ "error": "not_found", "message": message }));

    // Nothing to do, and orders.
    run("cert issue site").await.out(0, &["nothing to do", "\nfiles: "]);
    run("cert issue site --dry-run").await.out(0, &["nothing would be ordered; renewal at "]);
    run("cert issue waiting").await.err(1, "error: make this record first: _");
    let told = run("cert renew failing --json").await;
    let last: Value = serde_json::from_str(told.out.lines().last().unwrap()).unwrap();
    assert_eq!((told.code, &last["event"], &last["message"]), (1, &json!("failed"), &told.json_error()["message"]));
    run("cert renew site")
        .await
        .out(0, &["ordered *.delegated.test, delegated.test at pebble", "certificate issued, valid until"]);
    let key = house.pem("privkey.pem");
    let told = run("cert reissue site --new-key --json").await;
    assert!(
        told.out.lines().last().unwrap().starts_with(r#"{"event":"done","message":"certificate issued"#),
        "{}",
        told.out
    );
    assert_ne!(house.pem("privkey.pem"), key);

    // The program.
    run("cert deploy site").await.out(1, &["reloading\n"]).err(1, "error: /bin/sh ended with exit status: 1");
    std::fs::write(&ok, "").unwrap();
    run("cert deploy site").await.out(0, &["reloading\ndeployed, the certificate is valid until "]);
    run("cert deploy waiting").await.err(1, "error: the certificate waiting has no `deploy` program");
    assert!(run("cert list").await.row("site")[4].starts_with("issued 20"));

    let told = run("cert history site").await.out(0, &["WHEN", "issued         pebble  serial", "deploy-failed"]);
    assert_eq!(told.out.lines().last().unwrap().split("  ").nth(1), Some("deployed"), "{}", told.out);
    assert_eq!(run("cert history site --json").await.json()[0]["serial"], serial);

    // CAs.
    let told = run("ca list").await.out(0, &["CA ", "ACCOUNT"]);
    let account = told.row("pebble")[2].clone();
    assert_eq!(
        (told.row("pebble")[1].as_str(), &told.row("down")[1..3]),
        ("answers", &["does not answer".into(), "–".into()][..])
    );
    let told = run("ca show pebble").await.out(0, &[&account, "external account:      none needed"]);
    let methods = "validationmethods=dns-01,dns-account-01";
    let record = format!("  CAA 0 issue \"pebble.letsencrypt.org; {methods}; accounturi={account}\"");
    assert_eq!(told.out.lines().last(), Some(record.as_str()));
    assert!(
        !run("ca show down").await.out(0, &["state:      the CA cannot be reached", "none yet"]).out.contains("needed")
    );
    assert_eq!(run("ca show pebble --json").await.json()["account"], account);
    assert_eq!(run("ca list --json").await.json()[1]["name"], "down");

    // Revocation.
    run("cert revoke site").await.err(2, "error: nobody is here to be asked: say --yes");
    let told = run("cert revoke site --json").await.err(2, "");
    assert_eq!(told.json_error()["error"], "usage");
    run("cert revoke site --yes --reason nonsense").await.err(2, "[possible values: unspecified, key-compromise, ");
    run("cert revoke waiting --yes").await.err(1, "error: `waiting` has no certificate yet");
    run("cert revoke site --serial 4711 --yes").await.err(1, &format!("has the serial 4711; there are "));
    let told = answered(&file, "cert revoke site", "", async || ()).await.err(1, "error: nothing was revoked");
    let shown = server.show().await.serial.unwrap();
    assert!(
        told.err.starts_with(&format!("Revoke the certificate of site with the serial {shown} for ever? ")),
        "{}",
        told.err
    );
    // A renewal that comes before the answer: another certificate is in use than the one that was asked about.
    let renew = async || drop(server.issue(true).await);
    let told = answered(&file, "cert revoke site --reissue", "y", renew).await;
    told.err(1, &format!("with the serial {shown} is not in use"));
    assert!(server.show().await.revoked.is_none());
    let told = answered(&file, "cert revoke site --reason superseded", "y", async || ()).await;
    told.out_after_question(&["is revoked (superseded)", "`acmezone cert reissue site`"]);
    assert_eq!(run("cert list").await.row("site")[1], "revoked");
    run("cert show site").await.out(0, &["revoked:", ", superseded"]);
    run("cert revoke site --yes --reissue").await.out(0, &["was revoked before", "certificate issued, valid until"]);
    server.handle.stop().await;

    run("cert list").await.err(1, "Is `acmezone serve` running");
    assert_eq!(run("cert list --json").await.json_error()["error"], "not_running");
}
