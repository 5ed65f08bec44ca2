//! lego: the newest one of version 4, and Debian's old one.

use crate::stage::{LABEL, NAMES, OURS, Stage, cname, labelled, printed};
use crate::stage::{server_with_label, server_with_made_key, server_with_zone};
use crate::support::{Acmezone, Lego, LegoVersion, PebbleVersion, Tls, TsigKey};

/// What lego keeps of a registration, by domain.
fn fulldomain(lego: &Lego) -> String {
    let stored = std::fs::read_to_string(lego.acme_dns_storage()).expect("lego has stored the account");
    let stored: serde_json::Value = serde_json::from_str(&stored).expect("JSON");
    stored["example.test"]["fulldomain"].as_str().expect("a fulldomain").to_owned()
}

/// lego registers and says which CNAME to make; with the CNAME made, it gets apex and wildcard in one certificate.
pub fn gets_a_wildcard(version: PebbleVersion, server: Acmezone, api: &str, environment: &[(&str, &str)]) -> Acmezone {
    let mut stage = Stage::open(server, version, "");
    let mut lego = Lego::new(&stage.pebble, "acme-dns", stage.unbound.addr()).acme_dns(api).domains(NAMES);
    for (name, value) in environment {
        lego = lego.env(name, value);
    }
    let first = lego.run(&["run"]).expect_failure();
    let fulldomain = fulldomain(&lego);
    assert!(first.output().contains(&fulldomain), "lego says which CNAME it needs");
    stage.delegate(&cname(&fulldomain));
    lego.run(&["run"]).expect_success();
    stage.judge(&lego.certificate_pem("example.test"));
    stage.server
}

#[test]
fn lego_gets_a_wildcard_from_pebble_2_4_0_through_the_acme_dns_api() {
    let server = Acmezone::start(OURS);
    let api = format!("http://{}", server.api);
    gets_a_wildcard(PebbleVersion::Debian240, server, &api, &[]);
}

#[test]
fn lego_gets_a_wildcard_from_pebble_2_10_1_through_the_acme_dns_api() {
    let server = Acmezone::start(OURS);
    // with a slash at the end, from which older clients make `//register`
    let api = format!("http://{}/", server.api);
    gets_a_wildcard(PebbleVersion::V2_10_1, server, &api, &[]);
}

#[test]
fn lego_gets_a_wildcard_through_the_acme_dns_api_over_tls() {
    let tls = Tls::new(&[]);
    let mut server = Acmezone::prepare("");
    let files = format!(
        "tls = {{ certificate = {:?}, private_key = {:?} }}",
        tls.certificate_path().display().to_string(),
        tls.key_path().display().to_string()
    );
    let text = std::fs::read_to_string(server.config()).unwrap();
    let text = text.replace("registration = \"open\"", &format!("registration = \"open\"\n{files}"));
    std::fs::write(server.config(), text + OURS).unwrap();
    server.restart();
    let root = tls.root_path().display().to_string();
    let api = format!("https://localhost:{}", server.api.port());
    gets_a_wildcard(PebbleVersion::V2_10_1, server, &api, &[("SSL_CERT_FILE", &root)]);
}

/// lego's `rfc2136`; what points to the server is made beforehand.
fn gets_a_wildcard_by_rfc2136(stage: &Stage, lego: Lego) {
    let lego = lego.domains(NAMES);
    lego.run(&["run"]).expect_success();
    stage.judge(&lego.certificate_pem("example.test"));
}

#[test]
fn lego_gets_a_wildcard_through_rfc2136_with_a_cname_and_what_the_server_prints_for_it() {
    let server = server_with_made_key(false, ["--label", LABEL]);
    let settings = printed(&server, "lego");
    let stage = Stage::with_cname(server, &labelled());
    let mut lego = Lego::new(&stage.pebble, "rfc2136", stage.unbound.addr());
    for line in settings.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once('=').expect("a variable");
        lego = lego.env(name, value);
    }
    gets_a_wildcard_by_rfc2136(&stage, lego.env("RFC2136_SEQUENCE_INTERVAL", "1"));
}

#[test]
fn lego_gets_a_wildcard_through_rfc2136_in_a_delegated_zone() {
    let key = TsigKey::new("lego").algorithm("hmac-sha1"); // its default
    let stage = Stage::with_delegation(server_with_zone(&key));
    let lego = Lego::new(&stage.pebble, "rfc2136", stage.unbound.addr()).rfc2136(stage.server.dns, &key);
    gets_a_wildcard_by_rfc2136(&stage, lego);
}

#[test]
fn debians_lego_gets_a_wildcard_through_rfc2136_with_a_cname() {
    let key = TsigKey::new("lego");
    let stage = Stage::with_cname(server_with_label(&key), &labelled());
    let lego = Lego::of_version(LegoVersion::Debian491, &stage.pebble, "rfc2136", stage.unbound.addr());
    gets_a_wildcard_by_rfc2136(&stage, lego.rfc2136(stage.server.dns, &key));
}
