//! A host for one test alone, with its own network, resolver and trusted CAs. There name servers can have port 53, where
//! clients look for them, and clients need no option that has them look elsewhere.

use std::any::type_name;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{debian, run};

const INSIDE: &str = "ACMEZONE_TEST_HOST";

/// What is done first on the new host: loopback, and a resolver on it.
const SET_UP: &str = "\
ip link set lo up
echo nameserver 127.0.0.1 >\"$FOLDER/resolv.conf\"
mount --bind \"$FOLDER/resolv.conf\" /etc/resolv.conf
exec \"$@\"";

/// Whether this is the host of its own of the test, which is given by its function. If not, the test is run there, by
/// this same program, and there is nothing left to do.
///
/// Namespaces make the host, with an ordinary user as its root.
#[track_caller]
pub fn is_of_its_own<F: Fn()>(_test: F) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let (_, test) = type_name::<F>().split_once("::").expect("a path");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(debian("/usr/bin/unshare"));
    command.args(["--map-root-user", "--net", "--mount", "/bin/sh", "-ec", SET_UP, "sh"]);
    command.arg(std::env::current_exe().expect("the path of this program")).args(["--exact", test, "--nocapture"]);
    command.env(INSIDE, "1").env("FOLDER", folder.path());
    let finished = run(test, command, Duration::from_secs(180)).expect_success();
    assert!(finished.stdout.contains("1 passed"), "{}", finished.output());
    false
}

/// Has every program on the host trust this CA and no other.
#[track_caller]
pub fn trust(root: &Path) {
    assert!(std::env::var_os(INSIDE).is_some(), "this is no host of its own");
    let mut command = Command::new(debian("/usr/bin/mount"));
    command.arg("--bind").arg(root).arg("/etc/ssl/certs/ca-certificates.crt");
    run("mount", command, Duration::from_secs(10)).expect_success();
}
