//! What `acmezone account export` writes, given to the real client; and what the server logs of such changes.

use std::time::Duration;

use serde_json::json;

use crate::golang;
use crate::stage::{LABEL, NAMES, OURS, Stage, labelled};
use crate::support::{Acmezone, Certbot, Lego, poll};

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

/// A stage with a CNAME to the label, and the files of an exported account for a client, in the order in which they are
/// to be read.
fn exported(client: &str) -> (Stage, Vec<String>) {
    let server = Acmezone::start(OURS);
    server.cli(&["account", "create", "--label", LABEL]).expect_success();
    let answer = server.cli(&["account", "export", "--for", client, LABEL, "--domain", "example.test", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer.expect_success().stdout).unwrap();
    let files = answer["files"].as_array().unwrap();
    let files = files.iter().map(|file| file["content"].as_str().unwrap().to_owned()).collect();
    (Stage::with_cname(server, &labelled()), files)
}

#[test]
fn certbot_gets_a_wildcard_with_the_exported_files_of_dns_acmedns() {
    let (stage, files) = exported("certbot");
    let [registration, ini] = &files[..] else { panic!("{files:?}") };
    let certbot = Certbot::new(&stage.pebble);
    let place = certbot.file("acmedns-registration.json", 0o600, registration).display().to_string();
    let ini = ini.replace("/etc/letsencrypt/acmedns-registration.json", &place);
    assert!(ini.contains(&place), "{ini}");
    let certbot = certbot.plugin("dns-acmedns", &ini);
    certbot.certonly(NAMES).expect_success();
    stage.judge(&certbot.certificate_pem("example.test"));
}

/// The JSON in the Secret; the host is that of the Issuer.
#[test]
fn cert_manager_gets_a_wildcard_with_the_exported_secret() {
    let (stage, files) = exported("cert-manager");
    let (rest, accounts) = files[0].split_once("  acmedns.json: |\n").expect("a block of YAML");
    assert!(rest.contains(&format!("host: \"{}\"", stage.api())), "{rest}");
    let accounts: serde_json::Value = serde_json::from_str(accounts).unwrap();
    let config = json!({ "host": stage.api(), "accounts": accounts });
    golang::gets_a_wildcard(&stage, "cert-manager-acmedns", &config);
}

#[test]
fn every_change_of_an_account_is_logged_with_who_and_what_and_no_secret() {
    let server = Acmezone::start(OURS);
    let created = server.register();
    let id = created.subdomain.as_str();
    let export = format!("--server-url=http://{}", server.api);
    let changes: [(&[&str], &str, &str); 5] = [
        (&["account", "add-label", id, "--label", "mail"], "label added", "name=mail.auth.acme.test"),
        (&["account", "remove-label", "mail", "--yes"], "label taken away", "name=mail.auth.acme.test"),
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
