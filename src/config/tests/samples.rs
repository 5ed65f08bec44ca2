//! The configuration files that acmezone comes with.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::{CERTIFICATE, PRIVATE_KEY, folder, name, read_in};
use crate::account::Replace;
use crate::config::{Acme, Admin, Api, Ca, Certificate, Config, Dns, Registration, Resolver};

const REFERENCE: &str = include_str!("../../../config/reference.toml");
const ZONE: &str = include_str!("../../../zones/auth.example.org.zone");

/// A folder like that of the project, with stand-ins for the files that the reference names.
fn project(text: &str) -> Result<Config, String> {
    let folder = folder();
    let config = folder.path().join("config");
    for below in ["config/acme", "config/tls", "config/tsig", "zones"] {
        fs::create_dir_all(folder.path().join(below)).unwrap();
    }
    fs::write(folder.path().join("zones/auth.example.org.zone"), ZONE).unwrap();
    for pem in ["fullchain.pem", "private-ca.pem"] {
        fs::write(config.join("tls").join(pem), CERTIFICATE).unwrap();
    }
    fs::write(config.join("tls/privkey.pem"), PRIVATE_KEY).unwrap();
    fs::write(config.join("tsig/client.key"), "MDEyMzQ1Njc4OWFiY2RlZg==\n").unwrap();
    for (file, text) in
        [("eab.key", "c2VjcmV0\n"), ("p12.password", "secret\n"), ("webhook.secret", "secret\n"), ("reload", "")]
    {
        fs::write(config.join("acme").join(file), text).unwrap();
    }
    let mut read = read_in(&config, text)?;
    read.data_dir = read.data_dir.strip_prefix(&config).unwrap().into();
    Ok(read)
}

/// The reference with its examples switched on: those stand behind a `#` without a space.
fn whole_reference() -> String {
    let example = |line: &'static str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
    REFERENCE.lines().map(|line| format!("{}\n", example(line))).collect()
}

#[test]
fn the_reference_shows_the_defaults() {
    let reference = project(REFERENCE).unwrap();
    let minimal = "version = 1\n[[zone]]\norigin = \"auth.example.org\"\nfile = \"../zones/auth.example.org.zone\"\n";
    let minimal = project(minimal).unwrap();
    assert_eq!(reference.data_dir, minimal.data_dir);
    assert_eq!((&reference.dns, &minimal.dns), (&Dns::default(), &Dns::default()));
    let api = Api { zone: Some(name("auth.example.org")), ..Api::default() };
    assert_eq!((&reference.api, &minimal.api), (&api, &api));
    assert_eq!((&reference.admin, &minimal.admin), (&Admin::default(), &Admin::default()));
    assert_eq!((&reference.resolver, &minimal.resolver), (&Resolver::default(), &Resolver::default()));
    assert_eq!((&reference.acme, &minimal.acme), (&Acme::default(), &Acme::default()));
    assert_eq!((reference.zones.len(), minimal.zones.len()), (1, 1));
    assert!(reference.cas.is_empty() && reference.certificates.is_empty() && reference.tsig_keys.is_empty());
}

/// Those keys that have a default and stand behind a `#` only because their table does.
#[test]
fn the_examples_of_the_reference_show_the_defaults() {
    let config = project(&whole_reference()).unwrap();
    let certificate = &config.certificates[0];
    let default = Certificate::new(certificate.name.clone(), certificate.names.clone(), certificate.cas.clone());
    assert_eq!((certificate.challenge, certificate.key_type), (default.challenge, default.key_type));
    assert_eq!((certificate.reuse_key, certificate.files.combined), (default.reuse_key, default.files.combined));
    assert_eq!(certificate.deploy_timeout, default.deploy_timeout);
    let ca = Ca::new(config.cas[0].name.clone(), config.cas[0].directory.clone());
    assert_eq!((config.cas[0].agrees_to_terms, config.cas[0].limits), (ca.agrees_to_terms, ca.limits));
}

#[test]
fn the_examples_of_the_reference_are_good() {
    let config = project(&whole_reference()).unwrap();
    assert_eq!((config.zones.len(), config.cas.len(), config.certificates.len()), (2, 2, 1));
    assert!(config.api.tls.is_some() && config.api.hostname.is_some());
    assert!(config.acme.certs.is_some() && config.acme.proxy.is_some());
    let ca = &config.cas[0];
    assert!(ca.root.is_some() && ca.profile.is_some() && ca.preferred_chain.is_some() && ca.eab.is_some());
    assert_eq!(ca.rehearsal.as_ref(), Some(&config.cas[1].name));
    let Certificate { profile, files, deploy, webhook, .. } = &config.certificates[0];
    assert!(profile.is_some() && webhook.is_some() && deploy.len() == 2);
    assert!(files.pkcs12_password_file.is_some() && files.owner.is_some() && files.group.is_some());
    assert_eq!(config.tsig_keys[0].replace, Replace::default());
    assert_eq!(config.tsig_keys[0].grants.len(), 3);
}

/// With a key that nobody knows in each table, the help tells all keys: each of them stands in the reference.
#[test]
fn the_reference_has_every_key() {
    let mut text = "zzzzzzzzzzzz = 1\n".to_owned();
    for line in whole_reference().lines() {
        let inline = line.replace("tls = { ", "tls = { zzzzzzzzzzzz = 1, ");
        text += &inline.replace("eab = { ", "eab = { zzzzzzzzzzzz = 1, ");
        text += if line.starts_with('[') { "\nzzzzzzzzzzzz = 1\n" } else { "\n" };
    }
    let shown = project(&text).unwrap_err();
    let known: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("  = help: known here: ")).collect();
    assert_eq!(known.len(), 16, "{shown}");
    for key in known.iter().flat_map(|line| line.split(", ")).map(|key| key.trim_matches('`')) {
        let written = |line: &str| {
            line.starts_with(&format!("{key} = "))
                || line.contains(&format!(" {key} = "))
                || line == format!("[{key}]")
                || line == format!("[dns.{key}]")
                || line == format!("[api.{key}]")
                || line == format!("[[{key}]]")
        };
        assert!(whole_reference().lines().any(written), "{key} is not in reference.toml");
    }
}

#[test]
fn the_quick_start_stays_on_this_host() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/acmezone.toml");
    let config = Config::read(&file).unwrap();
    let listen = config.dns.listen.iter().chain(&config.api.listen).chain([&config.admin.listen]);
    let listen: Vec<String> = listen.map(SocketAddr::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:5300", "127.0.0.1:8053", "127.0.0.1:8054"]);
    assert_eq!(config.api.registration, Registration::Open);
    assert_eq!(config.zones[0].zone.origin(), &name("auth.example.org"));
    assert!(config.cas.is_empty() && config.certificates.is_empty());
}

/// Whatever half a file says, it is answered with problems or a configuration.
#[test]
fn no_part_of_a_file_ends_in_a_panic() {
    let folder = folder();
    let text: String = whole_reference().lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    for at in (0..text.len()).step_by(3) {
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            let _ = read_in(folder.path(), &text[..at]);
            let _ = read_in(folder.path(), &format!("{}{}", &text[..at], &text[at + 1..]));
        }
    }
    let _ = read_in(folder.path(), &format!("version = {}", "[".repeat(10_000)));
}
