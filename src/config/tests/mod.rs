//! One test for each rule, on what the user gets to see.

mod acme;
mod api;
mod certificate;
mod dns;
mod doors;
mod issuance;
mod names;
mod samples;
mod streams;
mod syntax;
mod tsig;
mod zones;

use std::fs;
use std::path::Path;

use super::Config;
use crate::zone::Name;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

/// A folder with the files that the configurations below name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let soa = "@ 300 IN SOA ns1.example.net. hostmaster.example.net. 1 14400 3600 1209600 300\n";
    let good = format!("{soa}@ 300 IN NS ns1.example.net.\n");
    let files: [(&str, &[u8]); 7] = [
        ("good.zone", good.as_bytes()),
        ("bad.zone", b"@ 300 IN A 192.0.2.256\nwww 300 IN A none ; no address\n"),
        ("latin1.zone", b"; caf\xe9\n"),
        ("empty.zone", b""),
        ("cert.pem", CERTIFICATE.as_bytes()),
        ("key.pem", PRIVATE_KEY.as_bytes()),
        ("broken.pem", b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n"),
    ];
    for (name, octets) in files {
        fs::write(folder.path().join(name), octets).unwrap();
    }
    folder
}

fn read_in(folder: &Path, text: &str) -> Result<Config, String> {
    let file = folder.join("acmezone.toml");
    fs::write(&file, text).unwrap();
    Config::read(&file).map_err(|error| error.to_string().replace(&format!("{}/", folder.display()), ""))
}

fn read(text: &str) -> Result<Config, String> {
    read_in(folder().path(), text)
}

/// All problems as they are shown, without the folder.
fn refused(text: &str) -> String {
    format!("\n{}", read(text).unwrap_err())
}

/// The problems as `line: message (help)`, without what stands in these lines.
fn complaints(text: &str) -> Vec<String> {
    let folder = folder();
    let file = folder.path().join("acmezone.toml");
    fs::write(&file, text).unwrap();
    let problems = Config::read(&file).unwrap_err().problems;
    let shown = problems.iter().map(|problem| {
        let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{}: {}{help}", problem.line_number(), problem.message)
    });
    shown.map(|text| text.replace(&format!("{}/", folder.path().display()), "")).collect()
}

/// A file that would be good without `rest`, which begins in line 6.
fn after_a_zone(rest: &str) -> String {
    format!("version = 1\n\n[[zone]]\norigin = \"auth.example.org\"\nfile = \"good.zone\"\n{rest}")
}

fn whole(text: &str) -> String {
    text.to_owned()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}
