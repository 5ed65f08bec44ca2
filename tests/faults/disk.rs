//! A disk that is full, read-only, or not what it should be.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::http::{Answer, request};
use crate::support::{Acmezone, RawDns, Rtype, Subprocess, debian, poll, run};
use crate::{AT_ONCE, ZONE, ask, data_dir, prepared, serial, started, txt, value};

/// `acmezone serve` with a file system of its own for the data folder, which nobody else sees.
fn serve_on_tmpfs(server: &Acmezone, options: &str) -> Command {
    let folder = data_dir(server);
    fs::create_dir(&folder).unwrap();
    let mut command = Command::new(debian("/usr/bin/unshare"));
    // SAFETY: geteuid takes and writes nothing.
    if unsafe { libc::geteuid() } != 0 {
        command.args(["--user", "--map-root-user"]);
    }
    let script = format!("mount -t tmpfs -o {options} tmpfs \"$0\" && exec \"$@\"");
    command.args(["--mount", "sh", "-c", &script]).arg(&folder);
    let serve = server.command(&["serve"]);
    command.arg(serve.get_program()).args(serve.get_args());
    command
}

/// Fills a file system to the last octet; the file to be removed.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        loop {
            match file.write_all(&vec![b'x'; size]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    path
}

#[track_caller]
fn assert_db_error(answer: &Answer) {
    assert_eq!((answer.status, answer.body.as_str()), (503, "{\"error\": \"db_error\"}"));
}

#[test]
fn a_full_disk_refuses_updates_keeps_answering_and_heals_without_a_restart() {
    let mut server = prepared();
    let process = Subprocess::start("acmezone", serve_on_tmpfs(&server, "size=8m"));
    let seen_from_here = format!("/proc/{}/root{}", process.id(), data_dir(&server).display());
    server.run_as(process);

    let account = server.register();
    assert_eq!(server.update(&account, &value(1)).status, 200);
    let filler = fill(Path::new(&seen_from_here));
    // What room there is in blocks that SQLite has already is soon used up.
    let mut accepted = vec![value(1)];
    let refused = poll(Duration::from_secs(20), "a refused update", || {
        let next = value(1 + accepted.len());
        let answer = server.update(&account, &next);
        if answer.status != 200 {
            return Some(answer);
        }
        accepted.push(next);
        accepted.drain(..accepted.len().saturating_sub(64));
        None
    });
    assert_db_error(&refused);
    println!("{} updates went into a full disk", accepted.len() - 1);

    let before = serial(&server);
    for number in 900..910 {
        assert_db_error(&server.update(&account, &value(number)));
        assert_db_error(&request(server.api, "POST", "/register", &[], b""));
        assert_eq!(txt(&server, &account), accepted, "what was acknowledged, and nothing else");
    }
    assert_eq!(serial(&server), before, "the zone is as it was");
    // Reading needs no room.
    let token = fs::read_to_string(Path::new(&seen_from_here).join("admin-token")).unwrap();
    let authorization = format!("Bearer {}", token.trim());
    let answer = request(server.admin, "GET", "/v1/accounts", &[("Authorization", &authorization)], b"");
    assert!(answer.status == 200 && answer.body.contains(&account.username), "{answer:?}");
    assert!(RawDns::new(server.dns).udp(&crate::support::Query::new(ZONE, Rtype::SOA).bytes()).is_some());

    fs::remove_file(filler).unwrap();
    assert_eq!(server.update(&account, &value(1000)).status, 200, "at the first try");
    let other = server.register();
    assert_eq!(server.update(&other, &value(1001)).status, 200);
    assert!(txt(&server, &account).contains(&value(1000)));
    assert_eq!(txt(&server, &other), [value(1001)]);
    assert_eq!(serial(&server), before + 3);
    assert!(server.process().is_running());

    // Enough to reach a checkpoint of the log, which the full disk must not have broken.
    for number in 2000..2300 {
        assert_eq!(server.update(&other, &value(number)).status, 200);
    }
    assert!(!txt(&server, &account).contains(&value(900)));
}

#[test]
fn a_read_only_data_folder_is_named_at_the_start() {
    let server = prepared();
    let finished = run("acmezone", serve_on_tmpfs(&server, "ro"), AT_ONCE).expect_failure();
    assert_eq!(finished.status.code(), Some(1));
    let folder = data_dir(&server).display().to_string();
    assert!(finished.stderr.contains(&format!("cannot use the data folder {folder}")), "{}", finished.stderr);
    assert!(finished.stderr.contains("Read-only file system"), "{}", finished.stderr);
}

#[test]
fn a_file_in_the_place_of_the_data_folder_is_named_and_left_alone() {
    let server = prepared();
    let path = data_dir(&server);
    fs::write(&path, "precious").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let finished = run("acmezone", server.command(&["serve"]), AT_ONCE).expect_failure();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains(&path.display().to_string()), "{}", finished.stderr);
    assert!(finished.stderr.contains("not a folder"), "{}", finished.stderr);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn data_folder_and_files_are_for_the_owner_alone() {
    let mut server = prepared();
    // One that was there before, open to everybody.
    fs::create_dir(data_dir(&server)).unwrap();
    fs::set_permissions(data_dir(&server), Permissions::from_mode(0o755)).unwrap();
    server.restart();
    let account = server.register();
    assert_eq!(server.update(&account, &value(1)).status, 200);
    assert_eq!(fs::metadata(data_dir(&server)).unwrap().mode() & 0o7777, 0o700);
    let mut files = 0;
    for entry in fs::read_dir(data_dir(&server)).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.mode() & 0o7777, expected, "{}", entry.path().display());
        files += 1;
    }
    assert!(files >= 3, "database, lock and token at least");
}

#[test]
fn a_data_folder_is_made_with_the_folders_above_it() {
    let mut server = prepared();
    let text = fs::read_to_string(server.config()).unwrap();
    fs::write(server.config(), text.replace("\"data\"", "\"some/where/data\"")).unwrap();
    server.restart();
    let made = server.folder().join("some/where/data");
    assert_eq!(fs::metadata(made).unwrap().mode() & 0o7777, 0o700);
}

/// The database of a server that has answered; before that there may be none.
fn database(server: &Acmezone) -> PathBuf {
    let mut paths = fs::read_dir(data_dir(server)).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| fs::read(path).unwrap().starts_with(b"SQLite format 3\0")).unwrap()
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let mut server = started();
    let account = server.register();
    server.kill();
    let database = database(&server);
    let open = || rusqlite::Connection::open(&database).unwrap();
    open().pragma_update(None, "user_version", 4711).unwrap();
    let finished = run("acmezone", server.command(&["serve"]), AT_ONCE).expect_failure();
    assert_eq!(finished.status.code(), Some(1));
    for said in [database.display().to_string().as_str(), "4711", "newer"] {
        assert!(finished.stderr.contains(said), "{said} in: {}", finished.stderr);
    }
    let version: i64 = open().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 4711);
    open().pragma_update(None, "user_version", 1).unwrap();
    server.restart();
    assert_eq!(ask(&server, &account.fulldomain, Rtype::TXT).rcode.to_int(), 0);
}

#[test]
fn a_damaged_database_is_refused() {
    let mut server = started();
    server.register();
    server.kill();
    let database = database(&server);
    for side in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{side}", database.display()));
    }
    fs::write(&database, "this is no database, but long enough to be taken for one".repeat(100)).unwrap();
    let finished = run("acmezone", server.command(&["serve"]), AT_ONCE).expect_failure();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains(&database.display().to_string()), "{}", finished.stderr);
}
