//! Holds the map of the house, `src/lib.rs`: which room may use which, and where each heavy crate lives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Room → rooms it may use. What is not listed here is refused.
const ROOMS: &[(&str, &[&str])] = &[
    ("zone", &[]),
    ("account", &["zone"]),
    ("config", &["zone", "account"]),
    ("store", &["zone", "account"]),
    ("tsig", &["zone", "account"]),
    ("answer", &["zone"]),
    ("resolve", &["zone"]),
    ("api", &["zone"]),
    ("acme", &["zone", "account", "config", "store", "resolve", "api"]),
    ("door", &["zone", "account", "config", "store", "resolve", "api", "acme"]),
    ("listen", &["zone", "account", "answer", "config", "store", "tsig", "door"]),
    ("server", &["zone", "account", "config", "store", "tsig", "answer", "resolve", "api", "acme", "door", "listen"]),
    ("client", &["zone", "config", "api"]),
    ("cli", &["zone", "config", "api", "client", "server"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Heavy crate → the places that may speak of it.
const HOMES: &[(&str, &[&str])] = &[
    ("rusqlite", &["store/sqlite.rs"]),
    ("hickory_server", &["listen/"]),
    ("hickory_proto", &["listen/", "resolve"]),
    ("hickory_resolver", &["resolve"]),
    ("domain::", &["zone/master/", "tsig/", "door/rfc2136/", "answer/tests.rs"]),
    ("instant_acme", &["acme/ca/", "acme/order/", "acme/renewal/", "acme/revoke.rs"]),
    ("rcgen", &["acme/", "listen/tls_files/tests.rs"]),
    ("aws_lc_rs", &["tsig/", "acme/"]),
    ("x509_parser", &["acme/", "listen/tls.rs"]),
    ("p12_keystore", &["acme/export/pkcs12.rs"]),
    ("nix", &["acme/export/access.rs"]),
    ("clap", &["cli/"]),
    ("reqwest", &["client"]),
    ("axum", &["door/", "listen/http.rs", "server.rs"]),
    ("governor", &["door/limits.rs"]),
    ("utoipa", &["door/", "api"]),
    ("libc", &["listen/", "acme/deploy/program.rs"]),
    ("crossbeam_epoch", &["zone/names.rs", "zone/live.rs"]),
];

fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    assert!(files.len() > 30, "the sources were not found");
    files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// Code without comments, so that prose may speak of every room.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn room_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// The rooms that a file names: `crate::room`, also inside `use crate::{a, b}`.
fn rooms_used(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("acmezone::")) {
        let rest = &code[at..];
        let rest = &rest[rest.find("::").unwrap() + 2..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' => word.clear(),
                    _ if depth == 0 && (c.is_alphanumeric() || c == '_') => word.push(c),
                    ':' if depth == 0 && !word.is_empty() => rooms.push(std::mem::take(&mut word)),
                    _ => {}
                }
            }
        } else {
            rooms.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms.retain(|room| ROOMS.iter().any(|(known, _)| known == room));
    rooms
}

#[test]
fn every_room_uses_only_the_rooms_below_it() {
    let mut seen = 0;
    for (file, text) in sources() {
        let room = room_of(&file);
        let (_, allowed) =
            ROOMS.iter().find(|(known, _)| *known == room).unwrap_or_else(|| panic!("{file}: no such room"));
        for used in rooms_used(&code(&text)) {
            seen += 1;
            assert!(used == room || allowed.contains(&used.as_str()), "src/{file}: {room} may not use {used}");
        }
    }
    assert!(seen > 50, "no `use` lines were found");
}

#[test]
fn every_heavy_crate_has_one_home() {
    for (file, text) in sources() {
        let code = code(&text);
        for (krate, homes) in HOMES {
            let name = krate.trim_end_matches("::");
            let spoken_of = code
                .match_indices(&format!("{name}::"))
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
            let at_home = homes.iter().any(|home| file.starts_with(home));
            assert!(!spoken_of || at_home, "src/{file}: {name} lives in {homes:?}");
        }
    }
}

#[test]
fn the_map_names_every_room() {
    let sources = sources();
    let map = &sources["lib.rs"];
    for (room, _) in ROOMS.iter().filter(|(room, _)| !["lib", "main"].contains(room)) {
        assert!(map.contains(&format!("pub mod {room};")), "src/lib.rs: no `pub mod {room};`");
        assert!(map.contains(&format!("| `{room}")), "src/lib.rs: the map has no row for {room}");
    }
    for file in sources.keys() {
        assert!(ROOMS.iter().any(|(room, _)| *room == room_of(file)), "src/{file} is in no room");
    }
}

#[test]
fn files_tell_one_story() {
    for (file, text) in sources() {
        assert!(text.lines().count() <= 600, "src/{file} is longer than 600 lines: where does its story split?");
        let first = text.lines().next().unwrap_or("");
        assert!(first.starts_with("//!"), "src/{file} does not begin with what it is about");
    }
}
