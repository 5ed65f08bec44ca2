//! Clients that make sure by themselves that a value is served, as they do unless told not to: they follow CNAMEs, find
//! zone and name servers through the system's resolver, and ask each of these on port 53.

use crate::golang::{cert_manager_rfc2136, libdns_rfc2136, obtain};
use crate::host::is_of_its_own;
use crate::stage::{NAMES, Stage, cname, key_for_label, labelled, server_on_port_53};
use crate::support::{Lego, LegoVersion, PebbleVersion, TsigKey};

/// A stage with a CNAME to the label, whose values the key may change.
fn stage(key: &TsigKey) -> Stage {
    let server = server_on_port_53(&key_for_label(key));
    Stage::on_port_53(server, PebbleVersion::V2_10_1, &cname(&labelled()))
}

fn lego_gets_a_wildcard(version: LegoVersion) {
    let key = TsigKey::new("lego");
    let stage = stage(&key);
    let lego = Lego::with_checks(version, &stage.pebble, "rfc2136").domains(NAMES).rfc2136(stage.server.dns, &key);
    let said = lego.run(&["run"]).expect_success().output();
    assert!(said.contains("Checking DNS record propagation"), "{said}");
    stage.judge(&lego.certificate_pem("example.test"));
}

#[test]
fn lego_finds_its_values_at_the_name_servers() {
    if is_of_its_own(lego_finds_its_values_at_the_name_servers) {
        lego_gets_a_wildcard(LegoVersion::V4_35_2);
    }
}

#[test]
fn debians_lego_finds_its_values_at_the_name_servers() {
    if is_of_its_own(debians_lego_finds_its_values_at_the_name_servers) {
        lego_gets_a_wildcard(LegoVersion::Debian491);
    }
}

#[test]
fn certmagic_finds_its_values_at_the_name_servers() {
    if is_of_its_own(certmagic_finds_its_values_at_the_name_servers) {
        let key = TsigKey::new("caddy");
        let stage = stage(&key);
        obtain(&stage, "certmagic-rfc2136", &libdns_rfc2136(&stage, &key, &labelled()), &[]);
    }
}

#[test]
fn cert_manager_finds_its_values_at_the_name_servers() {
    if is_of_its_own(cert_manager_finds_its_values_at_the_name_servers) {
        let key = TsigKey::new("cert-manager");
        let stage = stage(&key);
        obtain(&stage, "cert-manager-rfc2136", &cert_manager_rfc2136(&stage, &key, "Follow"), &[]);
    }
}
