//! What `acmezone account export` writes, given to the real client; and what the server logs of such changes.

use std::time::Duration;

use crate::stage::{LABEL, NAMES, OURS, Stage, labelled};
use crate::support::{Acmezone, Lego, poll};

#[test]
fn lego_issues_with_an_exported_account_and_registers_none() {
    let mut server = Acmezone::prepare(OURS);
    let open = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), open.replace("registration = \"open\"", "registration = \"closed\"")).unwrap();
    server.restart();
    server.cli(&["account", "create", "--label", LABEL]).expect_success();
    let stage = Stage::with_cname(server, &labelled());
    let server = &stage.server;
    let exported =
        server.command(&["account", "export", "--for", "lego", LABEL, "--domain", "*.example.test"]).output().unwrap();
    assert!(exported.status.success(), "{exported:?}");
    let lego = Lego::new(&stage.pebble, "acme-dns", stage.unbound.addr()).acme_dns(&stage.api()).domains(NAMES);
    std::fs::write(lego.acme_dns_storage(), &exported.stdout).unwrap();
    lego.run(&["run"]).expect_success();
    stage.judge(&lego.certificate_pem("example.test"));
    assert_eq!(std::fs::read(lego.acme_dns_storage()).unwrap(), exported.stdout, "lego kept what it was given");
    let log = server.log();
    assert!(!log.contains(" registered ") && log.contains("credential added by the administrator"), "{log}");
}

#[test]
fn every_change_of_an_account_is_logged_with_who_and_what_and_no_secret() {
    let server = Acmezone::start(OURS);
    let created = server.register();
    let id = created.subdomain.as_str();
    let export = format!("--server-url=http://{}", server.api);
    let changes: [(&[&str], &str, &str); 5] = [
        (&["account", "add-label", id, "--label", "mail"], "label added", "name=mail.auth.acme.test"),
        (&["account", "remove-label", "mail"], "label taken away", "name=mail.auth.acme.test"),
        (&["account", "allow-from", id, "127.0.0.0/8"], "allowfrom changed", "127.0.0.0/8"),
        (&["account", "export", "--for", "lego", id, &export], "credential added", "credentials=2"),
        (&["account", "rotate", id], "credentials rotated", "replaced=2"),
    ];
    let mut secrets = vec![created.password.clone()];
    let username = format!("username={}", created.username);
    for (command, what, detail) in changes {
        let output = server.command(&[command, &["--json"]].concat()).output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        secrets.extend(answer["password"].as_str().map(str::to_owned));
        let parts = [" INFO ", what, detail, &username];
        let logged = || server.log().lines().any(|line| parts.iter().all(|part| line.contains(part)));
        poll(Duration::from_secs(5), "the line in the log", || logged().then_some(()));
    }
    assert_eq!(secrets.len(), 3);
    let log = server.log();
    assert!(secrets.iter().all(|secret| !log.contains(secret)), "{log}");
}
