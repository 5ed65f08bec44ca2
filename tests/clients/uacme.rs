//! uacme with the script for nsupdate that comes with it, on a host where both are alone: uacme trusts the system's CAs
//! and nothing else, the script asks the system's resolver, and all ask on port 53.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use crate::host::{is_of_its_own, trust};
use crate::stage::{DOMAIN, NAMES, Stage, add_alias, cname, labelled, make_key, printed, server_on_port_53};
use crate::support::{Finished, PebbleVersion, debian, run};

/// The script finds the server behind the CNAME but updates the challenge name itself, and deletes all that is there.
#[test]
fn uacme_gets_a_wildcard_with_a_cname_and_an_alias() {
    if !is_of_its_own(uacme_gets_a_wildcard_with_a_cname_and_an_alias) {
        return;
    }
    let server = server_on_port_53("");
    add_alias(&server);
    make_key(&server, DOMAIN);
    // The newer Pebble offers dns-persist-01 as well, which has no token: there uacme 1.7.4 gives up.
    let stage = Stage::on_port_53(server, PebbleVersion::Debian240, &cname(&labelled()));
    trust(&stage.pebble.root_pem_path());

    // The script asks its user to write the key's file into it. The file is as the server prints it.
    let folder = tempfile::tempdir().unwrap();
    let [key, script, conf] = ["key", "nsupdate.sh", "conf"].map(|name| folder.path().join(name));
    fs::write(&key, printed(&stage.server, "uacme")).unwrap();
    let text = fs::read_to_string(debian("/usr/share/uacme/nsupdate.sh")).unwrap();
    let empty = "\nRNDC_KEY_NSUPDATE=\n";
    assert!(text.contains(empty), "{text}");
    fs::write(&script, text.replace(empty, &format!("\nRNDC_KEY_NSUPDATE={}\n", key.display()))).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();

    let uacme = |arguments: &[&str]| -> Finished {
        let mut command = Command::new(debian("/usr/bin/uacme"));
        command.args(["--yes", "--verbose", "--type", "EC", "--confdir"]).arg(&conf);
        command.args(["--acme-url", &stage.pebble.directory_url()]).args(arguments);
        run("uacme", command, Duration::from_secs(60))
    };
    uacme(&["new"]).expect_success();
    uacme(&[&["--hook", &script.display().to_string(), "issue"], NAMES].concat()).expect_success();
    stage.judge(&fs::read_to_string(conf.join("example.test/cert.pem")).unwrap());
}
