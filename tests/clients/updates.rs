//! Tools that send UPDATE messages and are no ACME clients, in the hooks of some: nsupdate, knsupdate.

use std::os::unix::fs::PermissionsExt;
use std::{fs, path::Path};

use crate::stage::{NAMES, Stage, labelled, server_with_alias, server_with_label, server_with_zone};
use crate::support::{Certbot, Lego, TsigKey};

/// A shell script that sends one UPDATE. Without a `zone` line the tool has to find the zone by itself.
fn script(program: &str, stage: &Stage, key: &TsigKey, lines: &[&str]) -> String {
    let (ip, port) = (stage.server.dns.ip(), stage.server.dns.port());
    let lines = lines.join("\n");
    format!("{program} -y '{}' <<EOF\nserver {ip} {port}\n{lines}\nsend\nEOF", key.argument())
}

/// certbot's hooks, which know the domain alone.
fn hooks_of_certbot(program: &str, stage: &Stage, key: &TsigKey, zone: &[&str]) {
    let add = "update add _acme-challenge.$CERTBOT_DOMAIN. 60 TXT \"$CERTBOT_VALIDATION\"";
    let delete = "update delete _acme-challenge.$CERTBOT_DOMAIN. TXT \"$CERTBOT_VALIDATION\"";
    let [auth, cleanup] = [add, delete].map(|line| script(program, stage, key, &[zone, &[line]].concat()));
    let certbot = Certbot::new(&stage.pebble).hooks(&auth, &cleanup);
    certbot.certonly(NAMES).expect_success();
    stage.judge(&certbot.certificate_pem("example.test"));
}

#[test]
fn nsupdate_in_hooks_of_certbot_gets_a_wildcard_in_a_delegated_zone_that_it_finds() {
    let key = TsigKey::new("nsupdate");
    hooks_of_certbot("nsupdate", &Stage::with_delegation(server_with_zone(&key)), &key, &[]);
}

#[test]
fn nsupdate_in_hooks_of_certbot_gets_a_wildcard_with_a_cname_and_an_alias_that_it_finds() {
    let key = TsigKey::new("nsupdate");
    hooks_of_certbot("nsupdate", &Stage::with_cname(server_with_alias(&key), &labelled()), &key, &[]);
}

#[test]
fn knsupdate_in_hooks_of_certbot_gets_a_wildcard_in_a_delegated_zone() {
    let key = TsigKey::new("knsupdate");
    let zone = "zone _acme-challenge.$CERTBOT_DOMAIN.";
    hooks_of_certbot("knsupdate", &Stage::with_delegation(server_with_zone(&key)), &key, &[zone]);
}

/// lego's `exec`, which has followed the CNAME and gives the name that it leads to.
fn exec_of_lego(program: &str, zone: &[&str]) {
    let key = TsigKey::new("hook");
    let stage = Stage::with_cname(server_with_label(&key), &labelled());
    let folder = tempfile::tempdir().unwrap();
    let hook = folder.path().join("hook");
    let send = |line: &str| script(program, &stage, &key, &[zone, &[line]].concat());
    let (add, delete) = (send("update add $2 60 TXT \"$3\""), send("update delete $2 TXT \"$3\""));
    write_script(&hook, &format!("case $1 in\npresent)\n{add}\n;;\ncleanup)\n{delete}\n;;\nesac"));
    let lego = Lego::new(&stage.pebble, "exec", stage.unbound.addr())
        .domains(NAMES)
        .env("EXEC_PATH", &hook.display().to_string())
        .env("EXEC_SEQUENCE_INTERVAL", "1");
    lego.run(&["run"]).expect_success();
    stage.judge(&lego.certificate_pem("example.test"));
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\nset -e\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn nsupdate_in_the_hook_of_lego_gets_a_wildcard_through_a_cname() {
    exec_of_lego("nsupdate", &[]);
}

#[test]
fn knsupdate_in_the_hook_of_lego_gets_a_wildcard_through_a_cname() {
    exec_of_lego("knsupdate", &["zone auth.acme.test."]);
}
