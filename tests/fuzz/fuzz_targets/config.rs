//! A configuration file: every problem of it is shown, at a place that is there.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use acmezone::config::Config;
use acmezone_fuzz::place::assert_inside;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// A folder with the files that the seeds name.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        (
            "good.zone",
            "@ 300 IN SOA ns1.example.net. hostmaster.example.net. 1 4h 1h 2w 300\n@ 300 NS ns1.example.net.\n",
        ),
        ("bad.zone", "@ 300 IN A 192.0.2.256\nwww 300 IN A none ; no address\n"),
        ("cert.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
        ("key.pem", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
    ];
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
});

fuzz_target!(|octets: &[u8]| {
    let file = FOLDER.path().join("acmezone.toml");
    fs::write(&file, octets).expect("the file");
    let error = match Config::read(&file) {
        Ok(config) => {
            assert!(!config.zones.is_empty() && !config.dns.listen.is_empty());
            assert!(config.admin.listen.ip().is_loopback());
            return;
        }
        Err(error) => error,
    };
    assert!(!error.problems.is_empty());
    for problem in &error.problems {
        // another file may be unreadable as a whole, but not this one
        let Some(place) = problem.place else {
            assert_ne!(problem.file, file);
            continue;
        };
        let text = fs::read(&problem.file).expect("a file with a problem");
        let text = String::from_utf8_lossy(&text);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        assert_inside(text, place);
        let written = text.split('\n').nth(place.line - 1).expect("a line").trim_end_matches('\r');
        assert!(shows(&problem.line, written), "{:?} for {written:?}", problem.line);
    }
    let shown = error.to_string();
    assert!(!shown.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')), "{shown:?}");
});

/// Whether the line is shown as it is written, but for secrets, of which each character is a star.
fn shows(shown: &str, written: &str) -> bool {
    let hidden_or_same = |(shown, written): (char, char)| shown == '*' || shown == written;
    shown.chars().count() == written.chars().count() && shown.chars().zip(written.chars()).all(hidden_or_same)
}
