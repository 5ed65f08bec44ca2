//! Unmodified ACME clients get wildcard certificates through acmezone's doors, from a real CA that validates through a
//! real resolver.

#[path = "../support/mod.rs"]
mod support;

mod httpreq;

use support::{Acmezone, Lego, Nsd, Pebble, PebbleVersion, Tls, TsigKey, Unbound, verify_chain};

/// The customer's zone before anything is delegated.
const PARENT: &str = "$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n";
const OURS: &str = "[[zone]]\norigin = \"auth.acme.test\"\nnameservers = [\"ns1.acme.test\"]\n";
const NAMES: &[&str] = &["example.test", "*.example.test"];

/// What lego keeps of a registration, by domain.
fn fulldomain(lego: &Lego) -> String {
    let stored = std::fs::read_to_string(lego.acme_dns_storage()).expect("lego has stored the account");
    let stored: serde_json::Value = serde_json::from_str(&stored).expect("JSON");
    stored["example.test"]["fulldomain"].as_str().expect("a fulldomain").to_owned()
}

/// lego registers and says which CNAME to make; with the CNAME made, it gets apex and wildcard in one certificate.
fn lego_gets_a_wildcard(version: PebbleVersion, server: &Acmezone, api: &str, environment: &[(&str, &str)]) {
    let mut nsd = Nsd::start(&[("example.test", PARENT)]);
    let unbound = Unbound::start(&[("example.test", nsd.port()), ("auth.acme.test", server.dns.port())]);
    let pebble = Pebble::start(version, unbound.addr());
    let mut lego = Lego::new(&pebble, "acme-dns", unbound.addr()).acme_dns(api).domains(NAMES);
    for (name, value) in environment {
        lego = lego.env(name, value);
    }
    let first = lego.run(&["run"]).expect_failure();
    let fulldomain = fulldomain(&lego);
    assert!(first.output().contains(&fulldomain), "lego says which CNAME it needs");
    nsd.replace(&[("example.test", &format!("{PARENT}_acme-challenge CNAME {fulldomain}.\n"))]);
    lego.run(&["run"]).expect_success();
    verify_chain(&lego.certificate_pem("example.test"), &pebble.issuance_root_pem(), NAMES);
}

#[test]
fn lego_gets_a_wildcard_from_pebble_2_4_0_through_the_acme_dns_api() {
    let server = Acmezone::start(OURS);
    lego_gets_a_wildcard(PebbleVersion::Debian240, &server, &format!("http://{}", server.api), &[]);
}

#[test]
fn lego_gets_a_wildcard_from_pebble_2_10_1_through_the_acme_dns_api() {
    let server = Acmezone::start(OURS);
    // with a slash at the end, from which older clients make `//register`
    lego_gets_a_wildcard(PebbleVersion::V2_10_1, &server, &format!("http://{}/", server.api), &[]);
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
    lego_gets_a_wildcard(PebbleVersion::V2_10_1, &server, &api, &[("SSL_CERT_FILE", &root)]);
}

/// lego's `rfc2136` at this CA, for both names; what points to the server is made beforehand.
fn lego_gets_a_wildcard_by_rfc2136(server: &Acmezone, key: &TsigKey, delegation: &str, zones: &[&str]) {
    let nsd = Nsd::start(&[("example.test", &format!("{PARENT}{delegation}\n"))]);
    let ours = zones.iter().map(|zone| (*zone, server.dns.port()));
    let stubs: Vec<_> = [("example.test", nsd.port())].into_iter().chain(ours).collect();
    let unbound = Unbound::start(&stubs);
    let pebble = Pebble::start(PebbleVersion::V2_10_1, unbound.addr());
    Lego::new(&pebble, "rfc2136", unbound.addr())
        .domains(NAMES)
        .env("RFC2136_NAMESERVER", &server.dns.to_string())
        .env("RFC2136_TSIG_KEY", &key.name)
        .env("RFC2136_TSIG_SECRET", &key.secret())
        .env("RFC2136_TSIG_ALGORITHM", &format!("{}.", key.algorithm))
        .env("RFC2136_SEQUENCE_INTERVAL", "1")
        .env("RFC2136_POLLING_INTERVAL", "1")
        .run(&["run"])
        .expect_success();
}

#[test]
fn lego_gets_a_wildcard_through_rfc2136_with_a_cname() {
    let key = TsigKey::new("lego");
    let server = Acmezone::start(&(OURS.to_owned() + &key.table("labels = [\"customer\"]")));
    server.cli(&["account", "create", "--label", "customer"]).expect_success();
    let delegation = "_acme-challenge CNAME customer.auth.acme.test.";
    lego_gets_a_wildcard_by_rfc2136(&server, &key, delegation, &["auth.acme.test"]);
}

#[test]
fn lego_gets_a_wildcard_through_rfc2136_in_a_delegated_zone() {
    const ZONE: &str = "_acme-challenge.example.test";
    let key = TsigKey::new("lego").algorithm("hmac-sha1"); // its default
    let zone = format!("[[zone]]\norigin = \"{ZONE}\"\nnameservers = [\"ns1.acme.test\"]\n");
    let server = Acmezone::start(&(OURS.to_owned() + &zone + &key.table(&format!("below = [\"{ZONE}\"]"))));
    lego_gets_a_wildcard_by_rfc2136(&server, &key, "_acme-challenge NS ns1.acme.test.", &[ZONE]);
}
