//! Keys that are made and revoked by command while the server runs (RFC 8945), as nsupdate and dig then see them.

use std::path::PathBuf;

use crate::support::{Acmezone, Finished, Query, Rtype, TsigKey, dig, nsupdate};
use crate::{Via, ZONE, ask, shipped, zone_table};

const CHALLENGE_ZONE: &str = "_acme-challenge.example.net";

fn served() -> Acmezone {
    let tables = [
        zone_table(ZONE, &shipped("auth.example.org.zone")),
        format!("[[zone]]\norigin = \"{CHALLENGE_ZONE}\"\nnameservers = [\"ns1.example.org\"]\n"),
        TsigKey::new("in-the-file").table(&format!("below = [\"{CHALLENGE_ZONE}\"]")),
    ];
    let server = Acmezone::start(&tables.concat());
    server.cli(&["account", "create", "--label", "mine"]).expect_success();
    server
}

/// What `tsig show --for nsupdate` prints, in a file.
fn key_file(server: &Acmezone, name: &str) -> PathBuf {
    let shown = server.cli(&["tsig", "show", name, "--for", "nsupdate"]).expect_success();
    let file = server.folder().join(format!("{name}.key"));
    std::fs::write(&file, shown.stdout).unwrap();
    file
}

fn update(server: &Acmezone, file: &std::path::Path, line: &str) -> Finished {
    nsupdate("nsupdate", server.dns, &["-k", file.to_str().unwrap()], &[line])
}

fn values(server: &Acmezone, name: &str) -> Vec<String> {
    ask(server, Via::Udp, &Query::new(name, Rtype::TXT)).txt_values()
}

#[test]
fn a_key_counts_when_its_command_returns_and_no_more_when_it_is_revoked() {
    let mut server = served();
    let mine = format!("mine.{ZONE}");
    let mut secrets = Vec::new();
    for algorithm in ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"] {
        let name = format!("key-{algorithm}");
        let created = ["tsig", "create", &name, "--algorithm", algorithm, "--label", "mine"];
        let created = server.cli(&created).expect_success().stdout;
        assert!(created.contains(&format!("  acmezone tsig show {name} --for certbot|lego|")), "{created}");
        let file = key_file(&server, &name);
        update(&server, &file, &format!("add {mine}. 60 TXT {algorithm}")).expect_success();
        assert_eq!(values(&server, &mine), [algorithm]);
        let key = std::fs::read_to_string(&file).unwrap();
        let secret = key.split('"').nth(3).expect("a secret").to_owned();
        assert!(created.contains(&secret));
        server.restart();
        update(&server, &file, &format!("del {mine}. TXT")).expect_success();
        server.cli(&["tsig", "revoke", &name]).expect_success();
        let refused = update(&server, &file, &format!("add {mine}. 60 TXT late")).expect_failure();
        assert!(refused.output().contains("BADKEY") || refused.output().contains("bad key"), "{refused:?}");
        assert!(values(&server, &mine).is_empty());
        assert!(!server.log().contains(&secret));
        server.restart();
        update(&server, &file, &format!("add {mine}. 60 TXT late")).expect_failure();
        secrets.push(secret);
    }
    secrets.dedup();
    assert_eq!(secrets.len(), 4);
}

#[test]
fn keys_of_the_file_are_shown_beside_those_of_the_store_and_stay() {
    let server = served();
    server.cli(&["tsig", "create", "made", "--below", ZONE, "--domain", "customer.example"]).expect_success();
    let listed = server.cli(&["tsig", "list"]).expect_success().stdout;
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[1][0], rows[1].last()), ("in-the-file", Some(&"config")), "{listed}");
    assert_eq!((rows[2][0], rows[2].last()), ("made", Some(&"store")), "{listed}");
    assert!(listed.contains("all below auth.example.org, the label of customer.example"), "{listed}");
    assert!(!server.cli(&["tsig", "list", "--json"]).expect_success().stdout.contains("secret"));
    let file = key_file(&server, "in-the-file");
    update(&server, &file, &format!("add {CHALLENGE_ZONE}. 60 TXT x")).expect_success();
    assert_eq!(values(&server, CHALLENGE_ZONE), ["x"]);
    for (command, said) in [
        (&["tsig", "revoke", "in-the-file"][..], "stands in the configuration file"),
        (&["tsig", "create", "in-the-file", "--below", ZONE], "has a [[tsig_key]] of this name"),
        (&["tsig", "create", "made", "--below", ZONE], "revoke it first"),
        (&["tsig", "create", "other", "--label", "nobody"], "the label `nobody` is not registered"),
        (&["tsig", "create", "other", "--below", "example.com"], "in no zone of this server"),
        (&["tsig", "create", "other"], "--label"),
        (&["tsig", "create", "other", "--label", "mine", "--algorithm", "hmac-md5"], "hmac-sha256"),
        (&["tsig", "show", "nobody"], "there is no key nobody"),
        (&["tsig", "revoke", "nobody"], "there is no key nobody"),
    ] {
        let refused = server.cli(command).expect_failure();
        assert!(refused.stderr.contains(said), "{command:?}: {refused:?}");
    }
}

#[test]
fn a_key_file_signs_queries_as_well() {
    let server = served();
    server.cli(&["tsig", "create", "made", "--label", "mine"]).expect_success();
    let file = key_file(&server, "made");
    let shown = dig(server.dns, &["-k", file.to_str().unwrap(), &format!("mine.{ZONE}"), "TXT"]);
    assert!(shown.contains("status: NOERROR") && shown.contains("TSIG PSEUDOSECTION"), "{shown}");
    assert!(!shown.contains("verify"), "{shown}");
}

#[test]
fn every_client_gets_what_it_reads() {
    let server = served();
    server.cli(&["tsig", "create", "made", "--label", "mine", "--algorithm", "hmac-sha512"]).expect_success();
    let json: serde_json::Value =
        serde_json::from_str(&server.cli(&["tsig", "show", "made", "--json"]).expect_success().stdout).unwrap();
    let secret = json["secret"].as_str().unwrap();
    let expected = [
        ("certbot", "dns_rfc2136_server = 192.0.2.53\ndns_rfc2136_port = 53\ndns_rfc2136_name = made.\n"),
        ("certbot", "\ndns_rfc2136_algorithm = HMAC-SHA512\n"),
        ("lego", "\nRFC2136_NAMESERVER=192.0.2.53:53\nRFC2136_TSIG_KEY=made.\n"),
        ("lego", "\nRFC2136_TSIG_ALGORITHM=hmac-sha512.\n"),
        ("cert-manager", "            tsigKeyName: \"made\"\n            tsigAlgorithm: HMACSHA512\n"),
        ("caddy", "\t\t\tkey_alg \"hmac-sha512\"\n"),
        ("caddy", "\t\tdns_challenge_override_domain mine.auth.example.org\n"),
        ("nsupdate", "key \"made\" {\n\talgorithm hmac-sha512;\n\tsecret \""),
        ("uacme", "#   RNDC_KEY_NSUPDATE=/etc/uacme/acmezone.key\n"),
        ("proxmox", "NSUPDATE_SERVER=192.0.2.53\nNSUPDATE_SERVER_PORT=53\nNSUPDATE_KEY="),
    ];
    for (client, part) in expected {
        let shown = ["tsig", "show", "made", "--for", client, "--server", "192.0.2.53"];
        let shown = server.cli(&shown).expect_success().stdout;
        assert!(shown.contains(part), "{shown}");
        assert_eq!(shown.contains(secret), client != "proxmox", "{shown}");
    }
    server.cli(&["tsig", "create", "old", "--label", "mine", "--algorithm", "hmac-sha384"]).expect_success();
    let refused = server.cli(&["tsig", "show", "old", "--for", "cert-manager"]).expect_failure();
    assert!(refused.stderr.contains("cert-manager has no hmac-sha384"), "{refused:?}");
}
