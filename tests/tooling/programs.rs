//! Each program starts, does its part, and stops.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::{
    Nsd, Pebble, PebbleVersion, Query, RawDns, Rcode, Reply, Rtype, Unbound, debian, dig, python_tool, run, tool,
    verify_chain,
};

const ZONE: &str = "\
$TTL 1
@   SOA ns hostmaster 1 3600 600 86400 1
@   NS  ns
ns  A   127.0.0.1
_acme-challenge TXT \"first\"
";

#[test]
fn unbound_asks_nsd() {
    let nsd = Nsd::start(&[("example.test", ZONE)]);
    let unbound = Unbound::start(&[("example.test", nsd.port())]);
    let answer = dig(unbound.addr(), &["+short", "_acme-challenge.example.test", "TXT"]);
    assert_eq!(answer, "\"first\"\n");
    let answer = dig(unbound.addr(), &["+short", "+tcp", "_acme-challenge.example.test", "TXT"]);
    assert_eq!(answer, "\"first\"\n");
}

#[test]
fn unbound_caches_nothing_when_nsd_gets_another_zone() {
    let mut nsd = Nsd::start(&[("example.test", ZONE)]);
    let unbound = Unbound::start(&[("example.test", nsd.port()), ("other.test", nsd.port())]);
    let ask = |name| dig(unbound.addr(), &["+short", name, "TXT"]);
    assert_eq!(ask("_acme-challenge.example.test"), "\"first\"\n");
    let other = ZONE.replace("first", "other");
    nsd.replace(&[("example.test", &ZONE.replace("first", "second")), ("other.test", &other)]);
    assert_eq!(ask("_acme-challenge.example.test"), "\"second\"\n");
    assert_eq!(ask("_acme-challenge.other.test"), "\"other\"\n");
}

#[test]
fn unbound_asks_nobody_for_other_names() {
    let nsd = Nsd::start(&[("example.test", ZONE)]);
    let unbound = Unbound::start(&[("example.test", nsd.port())]);
    let query = Query::new("www.example.com", Rtype::A).recursive().bytes();
    let reply = RawDns::new(unbound.addr()).udp(&query);
    assert_eq!(Reply::parse(&reply.expect("a reply")).header_rcode(), Rcode::NXDOMAIN);
}

#[test]
fn pebble_serves_its_directory_in_both_versions() {
    // Nothing is validated, so nobody needs to listen there.
    let dns = ([127, 0, 0, 1], 1).into();
    for version in PebbleVersion::ALL {
        let pebble = Pebble::start(version, dns);
        let directory = pebble.fetch(&pebble.directory_url(), &[]).expect_success().stdout;
        let directory: serde_json::Value = serde_json::from_str(&directory).expect("the directory is JSON");
        assert!(directory["newOrder"].is_string(), "{version:?}: {directory}");
        let has_renewal_info = directory["renewalInfo"].is_string();
        assert_eq!(has_renewal_info, version == PebbleVersion::V2_10_1, "{version:?}: {directory}");
        assert!(pebble.issuance_root_pem().starts_with("-----BEGIN CERTIFICATE-----"));
    }
}

/// What a program says with these arguments.
fn said(program: PathBuf, arguments: &[&str]) -> String {
    let mut command = Command::new(&program);
    command.args(arguments);
    run(&program.display().to_string(), command, Duration::from_secs(20)).expect_success().output()
}

#[test]
fn clients_tell_their_versions() {
    for (program, version) in
        [(tool("lego"), "v4.35.2"), (debian("/usr/bin/lego"), "lego version dev"), (python_tool("certbot"), "5.8.0")]
    {
        let said = said(program, &["--version"]);
        assert!(said.contains(version), "{said}");
    }
}

#[test]
fn certbot_knows_its_plugins() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().display().to_string();
    let folders = ["--config-dir", &path, "--work-dir", &path, "--logs-dir", &path];
    let said = said(python_tool("certbot"), &[&["plugins"], &folders[..]].concat());
    for plugin in ["dns-acmedns", "dns-httpreq", "dns-multi", "dns-rfc2136"] {
        assert!(said.contains(&format!("* {plugin}\n")), "{plugin}: {said}");
    }
}

#[test]
#[should_panic = "openssl verify ended with"]
fn a_chain_under_another_root_is_refused() {
    let [one, other] = [crate::support::Tls::new(&[]), crate::support::Tls::new(&[])];
    let chain = std::fs::read_to_string(one.certificate_path()).unwrap();
    let root = std::fs::read_to_string(other.root_path()).unwrap();
    verify_chain(&chain, &root, &["localhost"]);
}
