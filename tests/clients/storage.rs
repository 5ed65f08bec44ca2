//! lego with its accounts in an HTTP storage: nothing is registered, and nothing is kept on the client's side.

use crate::stage::{NAMES, OURS, Stage};
use crate::support::{Acmezone, Lego};

/// A storage for the domain that the administrator has just made: its path, its id and the label of the domain.
fn storage(server: &Acmezone, domain: &str) -> (String, String, String) {
    let made = server.cli(&["storage", "create", "--domain", domain, "--json"]).expect_success().stdout;
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let path = format!("/storage/{}", text(&made["secret"]));
    (path, text(&made["id"]), text(&made["domains"][0]["fulldomain"]))
}

#[test]
fn lego_gets_a_wildcard_at_once_with_credentials_from_an_http_storage() {
    let mut server = Acmezone::prepare(OURS);
    let text = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), text.replace("registration = \"open\"", "registration = \"closed\"")).unwrap();
    server.restart();
    let (path, id, fulldomain) = storage(&server, "example.test");
    let stage = Stage::with_cname(server, &fulldomain);
    let lego = Lego::new(&stage.pebble, "acme-dns", stage.unbound.addr())
        .domains(NAMES)
        .env("ACME_DNS_API_BASE", &stage.api())
        .env("ACME_DNS_STORAGE_BASE_URL", &format!("{}{path}", stage.api()));
    lego.run(&["run"]).expect_success();
    stage.judge(&lego.certificate_pem("example.test"));

    let server = &stage.server;
    server.cli(&["storage", "revoke", &id]).expect_success();
    let refused = lego.run(&["renew", "--days", "90000", "--no-random-sleep"]).expect_failure();
    assert!(refused.output().contains("registration_closed"), "{}", refused.output());
    let (log, secret) = (server.log(), path.rsplit('/').next().unwrap());
    assert!(log.contains("credential made") && log.contains("unknown secret"), "{log}");
    assert!(!log.contains(secret), "the secret is in the log");
}
