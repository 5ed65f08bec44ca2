//! lego 5 inside of certbot: certbot-dns-multi. It presents the values of all names before the first is validated, and
//! does not keep lego's own order of one name after the other.

use crate::stage::{NAMES, OURS, Stage, labelled, server_with_label, server_with_zone};
use crate::support::{Acmezone, Certbot, TsigKey};

pub fn gets_a_wildcard(stage: &Stage, certbot: Certbot, provider: &str, settings: &[(&str, &str)]) {
    let mut credentials = format!("dns_multi_provider = {provider}\n");
    for (name, value) in settings {
        credentials += &format!("{name} = \"{value}\"\n");
    }
    let resolver = stage.unbound.addr().to_string();
    let certbot = certbot.plugin("dns-multi", &credentials).arguments(&["--dns-multi-nameservers", &resolver]);
    certbot.certonly(NAMES).expect_success();
    stage.judge(&certbot.certificate_pem("example.test"));
    assert!(!certbot.log().contains("Cleanup of"), "a clean-up failed:\n{}", certbot.log());
}

#[test]
fn certbot_dns_multi_gets_a_wildcard_through_the_acme_dns_api() {
    let server = Acmezone::start(OURS);
    let account = server.register();
    let stage = Stage::with_cname(server, &account.fulldomain);
    let certbot = Certbot::new(&stage.pebble);
    let accounts = account.stored("example.test", &stage.api()).to_string();
    let accounts = certbot.file("acme-dns.json", 0o600, &accounts).display().to_string();
    let api = stage.api();
    let settings = [("ACME_DNS_API_BASE", api.as_str()), ("ACME_DNS_STORAGE_PATH", &accounts)];
    gets_a_wildcard(&stage, certbot, "acme-dns", &settings);
}

fn gets_a_wildcard_by_dnsupdate(stage: &Stage, key: &TsigKey) {
    let (server, secret) = (stage.server.dns.to_string(), key.secret());
    let algorithm = format!("{}.", key.algorithm);
    let settings = [
        ("DNSUPDATE_NAMESERVER", server.as_str()),
        ("DNSUPDATE_TSIG_KEY", &key.name),
        ("DNSUPDATE_TSIG_SECRET", &secret),
        ("DNSUPDATE_TSIG_ALGORITHM", &algorithm),
    ];
    gets_a_wildcard(stage, Certbot::new(&stage.pebble), "dnsupdate", &settings);
}

/// Each value comes as "delete the RRset, then add": by RFC 2136 to the letter, the second would take the first away.
#[test]
fn certbot_dns_multi_gets_a_wildcard_through_dnsupdate_with_a_cname() {
    let key = TsigKey::new("multi");
    let stage = Stage::with_cname(server_with_label(&key), &labelled());
    gets_a_wildcard_by_dnsupdate(&stage, &key);
}

#[test]
fn certbot_dns_multi_gets_a_wildcard_through_dnsupdate_in_a_delegated_zone() {
    let key = TsigKey::new("multi");
    let stage = Stage::with_delegation(server_with_zone(&key));
    gets_a_wildcard_by_dnsupdate(&stage, &key);
}
