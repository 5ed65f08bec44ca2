//! Tools that send UPDATE messages and are no ACME clients, in the hooks of some: nsupdate, knsupdate.

use std::os::unix::fs::PermissionsExt;
use std::{fs, path::Path};

use crate::stage::{DOMAIN, LABEL, NAMES, Stage, labelled, printed};
use crate::stage::{server_with_label, server_with_made_key, server_with_zone};
use crate::support::{Certbot, Lego, TsigKey};

/// A shell script that sends one UPDATE. Without a `zone` line the tool has to find the zone by itself.
fn script(program: &str, stage: &Stage, key: &TsigKey, lines: &[&str]) -> String {
    let (ip, port) = (stage.server.dns.ip(), stage.server.dns.port());
    let lines = lines.join("\n");
    format!("{program} -y '{}' <<EOF\nserver {ip} {port}\n{lines}\nsend\nEOF", key.argument())
}

/// certbot has all values put in by the one script before it goes on, and taken away by the other when all is over.
fn gets_a_wildcard_by_hooks(stage: &Stage, auth: &str, cleanup: &str) {
    let certbot = Certbot::new(&stage.pebble).hooks(auth, cleanup);
    certbot.certonly(NAMES).expect_success();
    stage.judge(&certbot.certificate_pem("example.test"));
}

#[test]
fn knsupdate_in_hooks_gets_a_wildcard_in_a_delegated_zone() {
    let key = TsigKey::new("knsupdate");
    let stage = Stage::with_delegation(server_with_zone(&key));
    let zone = "zone _acme-challenge.$CERTBOT_DOMAIN.";
    let change = |line: &str| script("knsupdate", &stage, &key, &[zone, line]);
    let auth = change("update add _acme-challenge.$CERTBOT_DOMAIN. 60 TXT \"$CERTBOT_VALIDATION\"");
    let cleanup = change("update delete _acme-challenge.$CERTBOT_DOMAIN. TXT \"$CERTBOT_VALIDATION\"");
    gets_a_wildcard_by_hooks(&stage, &auth, &cleanup);
}

/// What Posh-ACME's RFC2136 tells nsupdate.
#[test]
fn nsupdate_as_posh_acme_runs_it_gets_a_wildcard_in_a_delegated_zone() {
    let key = TsigKey::new("posh-acme");
    let stage = Stage::with_delegation(server_with_zone(&key));
    let (ip, port) = (stage.server.dns.ip(), stage.server.dns.port());
    let change = |what: &str| {
        format!(
            "nsupdate <<EOF\nserver {ip} {port}\nkey {}:{} {}\n\
             update {what} _acme-challenge.$CERTBOT_DOMAIN. 60 TXT \"$CERTBOT_VALIDATION\"\nsend\nanswer\nEOF",
            key.algorithm,
            key.name,
            key.secret()
        )
    };
    gets_a_wildcard_by_hooks(&stage, &change("add"), &change("del"));
}

/// What acme.sh's dns_nsupdate tells nsupdate; it takes all values of the name away, once for each. The key file is as
/// the server prints it.
fn nsupdate_as_acme_sh_runs_it(stage: &Stage, name: &str) {
    let (ip, port) = (stage.server.dns.ip(), stage.server.dns.port());
    let file = stage.server.folder().join("client.key");
    fs::write(&file, printed(&stage.server, "nsupdate")).expect("the folder is ours");
    let file = file.display();
    let change = |line: String| format!("nsupdate -k {file} <<EOF\nserver {ip} {port}\n{line}\nsend\nEOF");
    let auth = change(format!("update add {name}. 60 in txt \"$CERTBOT_VALIDATION\""));
    gets_a_wildcard_by_hooks(stage, &auth, &change(format!("update delete {name}. txt")));
}

#[test]
fn nsupdate_as_acme_sh_runs_it_gets_a_wildcard_with_a_cname_and_an_alias() {
    let stage = Stage::with_cname(server_with_made_key(true, DOMAIN), &labelled());
    nsupdate_as_acme_sh_runs_it(&stage, "_acme-challenge.$CERTBOT_DOMAIN");
}

/// With `--challenge-alias`, and as Proxmox does it with its `alias`: the CNAME leads below the label.
#[test]
fn nsupdate_as_acme_sh_runs_it_gets_a_wildcard_with_a_challenge_alias() {
    let challenge = format!("_acme-challenge.{}", labelled());
    let stage = Stage::with_cname(server_with_made_key(false, ["--label", LABEL]), &challenge);
    nsupdate_as_acme_sh_runs_it(&stage, &challenge);
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
