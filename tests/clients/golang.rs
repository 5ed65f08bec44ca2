//! ACME clients that are Go libraries, by a program of our own around them: what Caddy runs, cert-manager's providers,
//! and goacmedns, old and new.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{NAMES, OURS, Stage, labelled, server_with_label, server_with_zone};
use crate::support::{Acmezone, Finished, Registered, TsigKey, run, tool};

fn clients(arguments: &[&str]) -> Finished {
    let mut command = Command::new(tool("clients"));
    command.args(arguments);
    run("clients", command, Duration::from_secs(60))
}

/// With the stage's resolver, which alone is asked whether a value is there.
#[track_caller]
pub fn gets_a_wildcard(stage: &Stage, client: &str, config: &Value) {
    obtain(stage, client, config, &["-resolver", &stage.unbound.addr().to_string()]);
}

#[track_caller]
pub fn obtain(stage: &Stage, client: &str, config: &Value, more: &[&str]) {
    let (directory, root) = (stage.pebble.directory_url(), stage.pebble.root_pem_path().display().to_string());
    let config = config.to_string();
    let arguments = ["obtain", "-directory", &directory, "-root", &root, "-client", client, "-config", &config];
    let arguments = [&arguments, more, NAMES].concat();
    stage.judge(&clients(&arguments).expect_success().stdout);
}

/// A stage with a CNAME to a new account, and the account.
fn registered() -> (Stage, Registered) {
    let server = Acmezone::start(OURS);
    let account = server.register();
    (Stage::with_cname(server, &account.fulldomain), account)
}

#[test]
fn certmagic_gets_a_wildcard_through_libdns_acmedns() {
    let (stage, account) = registered();
    let Registered { username, password, subdomain, .. } = &account;
    // One account for every name, then an account for each.
    let one = json!({ "username": username, "password": password, "subdomain": subdomain, "server_url": stage.api() });
    gets_a_wildcard(&stage, "certmagic-acmedns", &json!({ "provider": one }));
    let each = json!({ "config": account.stored("example.test", &stage.api()) });
    gets_a_wildcard(&stage, "certmagic-acmedns", &json!({ "provider": each }));
}

pub fn libdns_rfc2136(stage: &Stage, key: &TsigKey, override_domain: &str) -> Value {
    json!({ "override_domain": override_domain, "provider": {
        "key_name": key.name,
        "key_alg": key.algorithm,
        "key": key.secret(),
        "server": stage.server.dns.to_string(),
    }})
}

/// libdns follows no CNAME: Caddy's `dns_challenge_override_domain` says where it leads.
#[test]
fn certmagic_gets_a_wildcard_through_libdns_rfc2136_with_a_cname() {
    let key = TsigKey::new("Caddy");
    let stage = Stage::with_cname(server_with_label(&key), &labelled());
    gets_a_wildcard(&stage, "certmagic-rfc2136", &libdns_rfc2136(&stage, &key, &labelled()));
}

#[test]
fn certmagic_gets_a_wildcard_through_libdns_rfc2136_in_a_delegated_zone() {
    let key = TsigKey::new("Caddy").algorithm("hmac-sha512");
    let stage = Stage::with_delegation(server_with_zone(&key));
    gets_a_wildcard(&stage, "certmagic-rfc2136", &libdns_rfc2136(&stage, &key, ""));
}

#[test]
fn cert_manager_gets_a_wildcard_through_its_acmedns() {
    let (stage, account) = registered();
    let config = json!({ "host": stage.api(), "accounts": account.stored("example.test", &stage.api()) });
    gets_a_wildcard(&stage, "cert-manager-acmedns", &config);
}

pub fn cert_manager_rfc2136(stage: &Stage, key: &TsigKey, cname_strategy: &str) -> Value {
    json!({
        "nameserver": stage.server.dns.to_string(),
        "tsigAlgorithm": key.algorithm.replace('-', "").to_uppercase(),
        "tsigKeyName": key.name,
        "tsigSecret": key.secret(),
        "cnameStrategy": cname_strategy,
    })
}

#[test]
fn cert_manager_gets_a_wildcard_through_its_rfc2136_with_a_cname() {
    let key = TsigKey::new("Cert-Manager");
    let stage = Stage::with_cname(server_with_label(&key), &labelled());
    gets_a_wildcard(&stage, "cert-manager-rfc2136", &cert_manager_rfc2136(&stage, &key, "Follow"));
}

#[test]
fn cert_manager_gets_a_wildcard_through_its_rfc2136_in_a_delegated_zone() {
    let key = TsigKey::new("Cert-Manager").algorithm("hmac-sha512");
    let stage = Stage::with_delegation(server_with_zone(&key));
    gets_a_wildcard(&stage, "cert-manager-rfc2136", &cert_manager_rfc2136(&stage, &key, "None"));
}

/// goacmedns registers, with networks that may update and without, and gets a wildcard with the account.
fn goacmedns(which: &str) {
    let server = Acmezone::start(OURS);
    // As it stands in many a configuration; the old one makes `//register` of it.
    let api = format!("http://{}/", server.api);
    let account = clients(&["register", which, &api]).expect_success().stdout;
    clients(&["register", which, &api, "127.0.0.0/8", "2001:db8::/32"]).expect_success();
    let account: Value = serde_json::from_str(&account).expect("an account");
    assert_eq!(account["server_url"], api);
    let stage = Stage::with_cname(server, account["fulldomain"].as_str().expect("a name"));
    gets_a_wildcard(&stage, &format!("goacmedns-{which}"), &account);
}

#[test]
fn old_goacmedns_registers_and_gets_a_wildcard() {
    goacmedns("cpu");
}

#[test]
fn new_goacmedns_registers_and_gets_a_wildcard() {
    goacmedns("nrdcg");
}
