//! `httpreq` of lego, old and new, and of certbot-lego-httpreq, with an account's credentials as basic authentication.

use crate::multi;
use crate::stage::{NAMES, OURS, Stage};
use crate::support::{Acmezone, Certbot, Lego, LegoVersion, PebbleVersion, Query, RawDns, Registered, Reply, Rtype};

/// A stage with a CNAME to a new account, which serves the challenge name itself too if the client follows no CNAME.
fn registered(alias: bool) -> (Stage, Registered) {
    let server = Acmezone::start(OURS);
    let account = server.register();
    if alias {
        server.cli(&["alias", "add", "example.test", &account.subdomain]).expect_success();
    }
    (Stage::with_cname(server, &account.fulldomain), account)
}

/// Every one of these clients takes its values away.
#[track_caller]
fn assert_no_value_is_left(stage: &Stage, account: &Registered) {
    let answer = RawDns::new(stage.server.dns).udp(&Query::new(&account.fulldomain, Rtype::TXT).bytes());
    assert_eq!(Reply::parse(&answer.expect("an answer")).txt_values(), Vec::<String>::new());
}

fn lego_gets_a_wildcard(version: LegoVersion, path: &str, mode: &str) {
    let (stage, account) = registered(mode == "RAW");
    let lego = Lego::of_version(version, &stage.pebble, "httpreq", stage.unbound.addr())
        .domains(NAMES)
        .env("HTTPREQ_ENDPOINT", &format!("{}{path}", stage.api()))
        .env("HTTPREQ_MODE", mode)
        .env("HTTPREQ_USERNAME", &account.username)
        .env("HTTPREQ_PASSWORD", &account.password)
        .env("HTTPREQ_POLLING_INTERVAL", "1");
    lego.run(&["run"]).expect_success();
    stage.judge(&lego.certificate_pem("example.test"));
    assert_no_value_is_left(&stage, &account);
}

#[test]
fn lego_gets_a_wildcard_through_httpreq() {
    lego_gets_a_wildcard(LegoVersion::V4_35_2, "", "");
}

#[test]
fn lego_gets_a_wildcard_through_httpreq_in_raw_mode_with_an_alias() {
    lego_gets_a_wildcard(LegoVersion::V4_35_2, "/", "RAW");
}

#[test]
fn debians_lego_gets_a_wildcard_through_httpreq() {
    lego_gets_a_wildcard(LegoVersion::Debian491, "/", "");
}

#[test]
fn debians_lego_gets_a_wildcard_through_httpreq_in_raw_mode_with_an_alias() {
    lego_gets_a_wildcard(LegoVersion::Debian491, "", "RAW");
}

#[test]
fn lego_fails_through_httpreq_with_a_wrong_password() {
    let (stage, account) = registered(false);
    let lego = Lego::new(&stage.pebble, "httpreq", stage.unbound.addr())
        .domains(NAMES)
        .env("HTTPREQ_ENDPOINT", &stage.api())
        .env("HTTPREQ_USERNAME", &account.username)
        .env("HTTPREQ_PASSWORD", &"x".repeat(40));
    let said = lego.run(&["run"]).expect_failure().output();
    assert!(said.contains("forbidden"), "lego shows what the server said: {said}");
    assert_no_value_is_left(&stage, &account);
}

/// One credential, two labels, and a name of the customer's for each: four values in one order.
#[test]
fn lego_gets_names_of_two_labels_through_httpreq_with_one_credential() {
    let server = Acmezone::start(OURS);
    let account = server.register();
    server.cli(&["account", "add-label", &account.subdomain, "--label", "second"]).expect_success();
    let targets = [("a", account.fulldomain.as_str()), ("b", "second.auth.acme.test")];
    let lines = targets.map(|(name, target)| format!("_acme-challenge.{name} CNAME {target}."));
    let stage = Stage::open(server, PebbleVersion::V2_10_1, &lines.join("\n"));
    let names = ["a.example.test", "*.a.example.test", "b.example.test", "*.b.example.test"];
    let lego = Lego::new(&stage.pebble, "httpreq", stage.unbound.addr())
        .domains(&names)
        .env("HTTPREQ_ENDPOINT", &stage.api())
        .env("HTTPREQ_USERNAME", &account.username)
        .env("HTTPREQ_PASSWORD", &account.password)
        .env("HTTPREQ_POLLING_INTERVAL", "1");
    lego.run(&["run"]).expect_success();
    stage.judge_for(&lego.certificate_pem(names[0]), &names);
    assert_no_value_is_left(&stage, &account);
}

fn certbot_dns_multi_gets_a_wildcard(mode: &str) {
    let (stage, account) = registered(mode == "RAW");
    let api = stage.api();
    let settings = [
        ("HTTPREQ_ENDPOINT", api.as_str()),
        ("HTTPREQ_MODE", mode),
        ("HTTPREQ_USERNAME", &account.username),
        ("HTTPREQ_PASSWORD", &account.password),
    ];
    multi::gets_a_wildcard(&stage, Certbot::new(&stage.pebble), "httpreq", &settings);
    assert_no_value_is_left(&stage, &account);
}

#[test]
fn certbot_dns_multi_gets_a_wildcard_through_httpreq() {
    certbot_dns_multi_gets_a_wildcard("");
}

#[test]
fn certbot_dns_multi_gets_a_wildcard_through_httpreq_in_raw_mode_with_an_alias() {
    certbot_dns_multi_gets_a_wildcard("RAW");
}

/// It posts a form, and follows no CNAME.
#[test]
fn certbot_lego_httpreq_gets_a_wildcard_with_an_alias() {
    let (stage, account) = registered(true);
    let credentials = format!(
        "dns_httpreq_endpoint = {}\ndns_httpreq_username = {}\ndns_httpreq_password = {}\n",
        stage.api(),
        account.username,
        account.password
    );
    let certbot = Certbot::new(&stage.pebble).plugin("dns-httpreq", &credentials);
    certbot.certonly(NAMES).expect_success();
    stage.judge(&certbot.certificate_pem("example.test"));
    assert_no_value_is_left(&stage, &account);
}
