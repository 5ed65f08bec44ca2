//! Holds the documentation to the program: the README's commands run, its examples are good, what it names exists.

mod quick_start;
mod readme;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use acmezone::config::Config;
use readme::{Readme, files, root};
use support::{Finished, run};
use tempfile::TempDir;

/// Runs `acmezone` in the project's folder.
fn acmezone(arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
    command.args(arguments).current_dir(root());
    run("acmezone", command, Duration::from_secs(20))
}

/// A configuration in a folder of its own, with a zone file beside it as in /etc/acmezone.
fn read_config(text: &str) -> Result<Config, String> {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("zones")).unwrap();
    for file in files("zones", "zone") {
        fs::copy(&file, folder.path().join("zones").join(file.file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("acmezone.toml");
    fs::write(&file, text).unwrap();
    Config::read(&file).map_err(|error| error.to_string())
}

/// A zone file with what every zone needs and these records.
fn read_records(origin: &str, records: &str) -> Result<Config, String> {
    let folder = TempDir::new().unwrap();
    let head = "$TTL 1h\n@ IN SOA ns.elsewhere.test. hostmaster.elsewhere.test. ( 1 4h 1h 2w 300 )\n\
                @ IN NS ns.elsewhere.test.\n";
    fs::write(folder.path().join("zone"), format!("{head}{records}")).unwrap();
    let config = folder.path().join("acmezone.toml");
    fs::write(&config, format!("version = 1\n[[zone]]\norigin = \"{origin}\"\nfile = \"zone\"\n")).unwrap();
    Config::read(&config).map_err(|error| error.to_string())
}

#[test]
fn the_readme_is_short() {
    assert!(fs::read_to_string(root().join("README.md")).unwrap().lines().count() <= 350);
}

#[test]
fn every_command_that_the_readme_mentions_exists() {
    let mut seen = 0;
    for command in Readme::read().commands() {
        let words: Vec<&str> = command.split_whitespace().collect();
        let arguments = match words.as_slice() {
            ["acmezone" | "sudo", rest @ ..] if words[0] == "acmezone" || rest.first() == Some(&"acmezone") => {
                &words[if words[0] == "sudo" { 2 } else { 1 }..]
            }
            ["cargo", "run", ..] => &words[words.iter().position(|word| *word == "--").expect("`--`") + 1..],
            _ => continue,
        };
        let arguments: Vec<&str> = arguments.iter().copied().take_while(|word| *word != "&&").collect();
        // One or two words before everything else, as in `serve` and `cert show`.
        let is_noun =
            |word: &&str| ["account", "alias", "cert", "storage", "token", "tsig", "txt", "zone"].contains(word);
        let length = if arguments.first().is_some_and(is_noun) { 2 } else { 1 };
        let name = &arguments[..length.min(arguments.len())];
        let help = acmezone(&[name, &["--help"]].concat()).expect_success().stdout;
        if name != ["--help"] {
            assert!(help.contains(&format!("acmezone {}", name.join(" "))), "`{command}`: {help}");
        }
        for option in arguments.iter().filter(|word| word.starts_with("--")) {
            let is_option = |word: &str| word.trim_end_matches(&[',', ']'][..]) == *option;
            assert!(
                help.split_whitespace().any(is_option),
                "`{command}`: `acmezone {}` has no {option}",
                name.join(" ")
            );
        }
        seen += 1;
    }
    assert!(seen > 10, "the commands were not found");
}

#[test]
fn every_file_that_the_readme_names_exists() {
    let readme = Readme::read();
    let top = |word: &str| {
        ["src/", "config/", "zones/", "tests/"].iter().any(|folder| word.starts_with(folder))
            || word.starts_with("LICENSE-")
            || (word.ends_with(".md") && !word.contains('/'))
    };
    let commands = readme.commands();
    let words = commands.iter().flat_map(|line| line.split_whitespace());
    let named: Vec<&str> = words.map(|word| word.trim_start_matches("./")).filter(|word| top(word)).collect();
    for path in &named {
        assert!(root().join(path).exists(), "README.md names {path}, which does not exist");
    }
    for path in ["config/reference.toml", "tests/run", "tests/demo", "CHANGELOG.md", "LICENSE-MIT"] {
        assert!(named.contains(&path), "{path} is not named, or was not found");
    }
    for link in readme.links() {
        let good = match link.strip_prefix('#') {
            Some(anchor) => readme.anchors().iter().any(|found| found == anchor),
            None => link.starts_with("https://") || root().join(&link).exists(),
        };
        assert!(good, "README.md: the link to {link} leads nowhere");
    }
}

#[test]
fn every_toml_block_is_a_good_configuration() {
    let blocks = Readme::read().blocks();
    let blocks: Vec<_> = blocks.iter().filter(|block| block.language == "toml").collect();
    assert!(blocks.len() >= 2, "the TOML blocks were not found");
    for block in blocks {
        let mut text = block.text.clone();
        if !text.contains("version = ") {
            text.insert_str(0, "version = 1\n");
        }
        if !text.contains("[[zone]]") {
            text += "[[zone]]\norigin = \"auth.example.org\"\nnameservers = [\"ns1.example.org\"]\n";
        }
        if let Err(error) = read_config(&text) {
            panic!("{error}\nin this block of README.md:\n{}", block.text);
        }
    }
}

#[test]
fn every_zone_block_can_be_put_into_its_zone() {
    let blocks = Readme::read().blocks();
    let blocks: Vec<_> = blocks.iter().filter(|block| block.language == "zone").collect();
    assert!(blocks.len() >= 4, "the zone blocks were not found");
    for block in blocks {
        let first = block.text.lines().next().unwrap_or_default();
        let origin = first.strip_prefix("; in the zone ").and_then(|rest| rest.split([' ', ',']).next());
        let origin = origin.unwrap_or_else(|| panic!("`{first}` does not say in which zone"));
        if let Err(error) = read_records(origin, &block.text) {
            panic!("{error}\nin this block of README.md:\n{}", block.text);
        }
    }
}

#[test]
fn the_configuration_files_pass_the_check() {
    for file in files("config", "toml") {
        let checked = acmezone(&["check", "--config", file.to_str().unwrap()]).expect_success();
        assert!(checked.stdout.starts_with("configuration ok: "), "{}: {}", file.display(), checked.stdout);
    }
}

/// What asks a CA in the name of whoever tries acmezone out has to be switched on first.
#[test]
fn the_quick_start_asks_no_certificate_authority() {
    let config = Config::read(&root().join("config/acmezone.toml")).unwrap();
    assert!(config.cas.is_empty() && config.certificates.is_empty());
    let listeners = config.dns.listen.iter().chain(&config.api.listen);
    assert!(listeners.chain([&config.admin.listen]).all(|address| address.ip().is_loopback() && address.port() > 1023));
}

#[test]
fn the_zone_files_can_be_served() {
    for file in files("zones", "zone") {
        let origin = file.file_stem().and_then(|stem| stem.to_str()).unwrap();
        let zone = format!("[[zone]]\norigin = \"{origin}\"\nfile = \"zones/{origin}.zone\"\n");
        let config = read_config(&format!("version = 1\n{zone}")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.zones[0].zone.origin().to_string(), origin);
    }
}

/// The unit runs what the README installs, and reads what it installs.
#[test]
fn the_unit_and_the_readme_agree() {
    let unit = fs::read_to_string(root().join("config/acmezone.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/acmezone serve --config /etc/acmezone/acmezone.toml"));
    let installed =
        |to: &str| Readme::read().commands().iter().any(|line| line.contains("install ") && line.ends_with(to));
    for to in ["/usr/bin/", "/etc/acmezone/acmezone.toml", "/etc/systemd/system/"] {
        assert!(installed(to), "README.md does not install to {to}");
    }
}

#[test]
fn the_changelog_knows_the_version() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(changelog.contains("## [Unreleased]"), "CHANGELOG.md has no [Unreleased]");
    assert!(changelog.contains(version), "CHANGELOG.md does not know version {version}");
}
