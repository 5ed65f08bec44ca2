//! uacme with the script for nsupdate that comes with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::stage::{DOMAIN, NAMES, Stage, cname, labelled, printed, server_with_made_key};
use crate::support::{Finished, PebbleVersion, debian, run};

const SCRIPT: &str = "/usr/share/uacme/nsupdate.sh";

/// A user of uacme on a host of his own: uacme trusts the system's CAs and nothing else, the script asks the system's
/// resolver, and both ask on port 53.
struct Host(TempDir);

impl Host {
    fn new(stage: &Stage) -> Host {
        let host = Host(tempfile::tempdir().unwrap());
        fs::copy(stage.pebble.root_pem_path(), host.path("ca-certificates.crt")).unwrap();
        // Asked with and without the dot at its end.
        host.write("hosts", "127.0.0.1 localhost ns1.acme.test ns1.acme.test.\n");
        // The ports; what is sent stays the same.
        fs::create_dir(host.path("bin")).unwrap();
        let (resolver, ours) = (stage.unbound.port(), stage.server.dns.port());
        host.program(
            "bin/dig",
            &format!(
                "case \" $*\" in *' @'*) exec /usr/bin/dig -p {ours} \"$@\";; esac\n\
                 exec /usr/bin/dig @127.0.0.1 -p {resolver} \"$@\""
            ),
        );
        host.program("bin/nsupdate", &format!("exec /usr/bin/nsupdate -p {ours} \"$@\""));
        // The script asks its user to write the key's file into it. The file is as the server prints it.
        host.write("key", &printed(&stage.server, "uacme"));
        let script = fs::read_to_string(debian(SCRIPT)).unwrap();
        let empty = "\nRNDC_KEY_NSUPDATE=\n";
        assert!(script.contains(empty), "{script}");
        let with_key = format!("\nRNDC_KEY_NSUPDATE={}\n", host.path("key"));
        host.program("nsupdate.sh", script.replace(empty, &with_key).trim_start_matches("#!/bin/sh\n"));
        host
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        self.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(Path::new(&self.path(name)), fs::Permissions::from_mode(0o700)).unwrap();
    }

    /// Runs uacme where these files are the host's, which no other process sees.
    fn uacme(&self, stage: &Stage, arguments: &[&str]) -> Finished {
        let bind = |from: &str, to: &str| format!("mount --bind {} {to}", self.path(from));
        let host = [
            bind("ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt"),
            bind("hosts", "/etc/hosts"),
            format!("PATH={}:$PATH exec uacme \"$@\"", self.path("bin")),
        ];
        let mut command = Command::new(debian("/usr/bin/unshare"));
        command.args(["--mount", "--map-root-user", "/bin/sh", "-ec", &host.join("\n"), "uacme"]);
        command.args(["--yes", "--verbose", "--confdir", &self.path("conf"), "--type", "EC"]);
        command.args(["--acme-url", &stage.pebble.directory_url()]).args(arguments);
        run("uacme", command, Duration::from_secs(60))
    }
}

/// The script finds the server behind the CNAME but updates the challenge name itself, and deletes all that is there.
#[test]
fn uacme_gets_a_wildcard_with_a_cname_and_an_alias() {
    debian("/usr/bin/uacme");
    // The newer Pebble offers dns-persist-01 as well, which has no token: there uacme 1.7.4 gives up.
    let stage = Stage::open(server_with_made_key(true, DOMAIN), PebbleVersion::Debian240, &cname(&labelled()));
    let host = Host::new(&stage);
    host.uacme(&stage, &["new"]).expect_success();
    let script = host.path("nsupdate.sh");
    host.uacme(&stage, &[&["--hook", &script, "issue"], NAMES].concat()).expect_success();
    stage.judge(&fs::read_to_string(host.path("conf/example.test/cert.pem")).unwrap());
}
