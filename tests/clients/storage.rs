//! lego with its accounts in an HTTP storage: nothing is registered, and nothing is kept on the client's side.

use crate::support::{Acmezone, Lego, Nsd, Pebble, PebbleVersion, Unbound, verify_chain};
use crate::{NAMES, OURS, PARENT};

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
    let nsd = Nsd::start(&[("example.test", &format!("{PARENT}_acme-challenge CNAME {fulldomain}.\n"))]);
    let unbound = Unbound::start(&[("example.test", nsd.port()), ("auth.acme.test", server.dns.port())]);
    let pebble = Pebble::start(PebbleVersion::V2_10_1, unbound.addr());
    let api = format!("http://{}", server.api);
    let lego = Lego::new(&pebble, "acme-dns", unbound.addr())
        .domains(NAMES)
        .env("ACME_DNS_API_BASE", &api)
        .env("ACME_DNS_STORAGE_BASE_URL", &format!("{api}{path}"));
    lego.run(&["run"]).expect_success();
    verify_chain(&lego.certificate_pem("example.test"), &pebble.issuance_root_pem(), NAMES);

    server.cli(&["storage", "revoke", &id]).expect_success();
    let refused = lego.run(&["renew", "--days", "90000", "--no-random-sleep"]).expect_failure();
    assert!(refused.output().contains("registration_closed"), "{}", refused.output());
    let (log, secret) = (server.log(), path.rsplit('/').next().unwrap());
    assert!(log.contains("credential made") && log.contains("unknown secret"), "{log}");
    assert!(!log.contains(secret), "the secret is in the log");
}
