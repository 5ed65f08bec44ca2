//! certbot with the plugins of others.

use crate::stage::{DOMAIN, NAMES, OURS, Stage, labelled, printed, server_with_made_key, server_with_zone};
use crate::support::{Acmezone, Certbot, TsigKey};

/// The credentials of certbot-dns-rfc2136, which takes the server by its address alone.
fn rfc2136(stage: &Stage, key: &TsigKey, more: &str) -> String {
    format!(
        "dns_rfc2136_server = {}\ndns_rfc2136_port = {}\ndns_rfc2136_name = {}\ndns_rfc2136_secret = {}\n\
         dns_rfc2136_algorithm = {}\n{more}\n",
        stage.server.dns.ip(),
        stage.server.dns.port(),
        key.name,
        key.secret(),
        key.algorithm.to_uppercase(),
    )
}

fn gets_a_wildcard(stage: &Stage, certbot: &Certbot) {
    certbot.certonly(NAMES).expect_success();
    stage.judge(&certbot.certificate_pem("example.test"));
}

#[test]
fn certbot_gets_a_wildcard_through_dns_acmedns() {
    let server = Acmezone::start(OURS);
    let account = server.register();
    let stage = Stage::with_cname(server, &account.fulldomain);
    let certbot = Certbot::new(&stage.pebble);
    let accounts = account.stored("example.test", &stage.api()).to_string();
    let accounts = certbot.file("acmedns.json", 0o600, &accounts).display().to_string();
    // With the slash at the end that its README shows, from which it makes `//update`.
    let credentials = format!("dns_acmedns_api_url = {}/\ndns_acmedns_registration_file = {accounts}\n", stage.api());
    gets_a_wildcard(&stage, &certbot.plugin("dns-acmedns", &credentials));
}

#[test]
fn certbot_gets_a_wildcard_through_dns_rfc2136_in_a_delegated_zone() {
    let key = TsigKey::new("certbot.").algorithm("hmac-sha512");
    let stage = Stage::with_delegation(server_with_zone(&key));
    let credentials = rfc2136(&stage, &key, "");
    gets_a_wildcard(&stage, &Certbot::new(&stage.pebble).plugin("dns-rfc2136", &credentials));
}

#[test]
fn certbot_gets_a_wildcard_through_dns_rfc2136_with_signed_queries() {
    let key = TsigKey::new("certbot.");
    let stage = Stage::with_delegation(server_with_zone(&key));
    let credentials = rfc2136(&stage, &key, "dns_rfc2136_sign_query = true");
    gets_a_wildcard(&stage, &Certbot::new(&stage.pebble).plugin("dns-rfc2136", &credentials));
}

/// It follows no CNAME, and finds the zone of the alias; with the credentials as the server prints them.
#[test]
fn certbot_gets_a_wildcard_through_dns_rfc2136_with_a_cname_and_an_alias() {
    let server = server_with_made_key(true, DOMAIN);
    let credentials = printed(&server, "certbot");
    let stage = Stage::with_cname(server, &labelled());
    gets_a_wildcard(&stage, &Certbot::new(&stage.pebble).plugin("dns-rfc2136", &credentials));
}
