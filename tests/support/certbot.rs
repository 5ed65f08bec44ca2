//! certbot, unmodified, with its plugins.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::pebble::Pebble;
use super::subprocess::{Finished, run};
use super::tools::python_tool;

/// A user of certbot with a folder of its own: configuration, account and certificates stay from run to run.
pub struct Certbot {
    folder: TempDir,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl Certbot {
    /// For an account at this CA.
    pub fn new(pebble: &Pebble) -> Certbot {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certbot = Certbot { folder, arguments: Vec::new(), environment: BTreeMap::new() };
        let path = |name: &str| certbot.folder.path().join(name).display().to_string();
        let folders = ["--config-dir", &path("config"), "--work-dir", &path("work"), "--logs-dir", &path("logs")];
        let root = pebble.root_pem_path().display().to_string();
        certbot
            .arguments(&folders)
            .arguments(&["--non-interactive", "--agree-tos", "--no-eff-email", "--email", "someone@example.test"])
            .arguments(&["--server", &pebble.directory_url()])
            .env("REQUESTS_CA_BUNDLE", &root)
    }

    /// With DNS-01 through a plugin, such as `dns-rfc2136`, with its credentials file; there is no wait after it.
    pub fn plugin(self, name: &str, credentials: &str) -> Certbot {
        let file = self.file(&format!("{name}.ini"), 0o600, credentials).display().to_string();
        self.arguments(&["--authenticator", name])
            .arguments(&[&format!("--{name}-credentials"), &file])
            .arguments(&[&format!("--{name}-propagation-seconds"), "0"])
    }

    /// With DNS-01 through shell scripts, which find `CERTBOT_DOMAIN` and `CERTBOT_VALIDATION` in their environment.
    pub fn hooks(self, auth: &str, cleanup: &str) -> Certbot {
        let [auth, cleanup] = [("auth", auth), ("cleanup", cleanup)]
            .map(|(name, text)| self.file(name, 0o700, &format!("#!/bin/sh\nset -e\n{text}\n")).display().to_string());
        self.arguments(&["--manual", "--preferred-challenges", "dns"]).arguments(&[
            "--manual-auth-hook",
            &auth,
            "--manual-cleanup-hook",
            &cleanup,
        ])
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Certbot {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Certbot {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Writes a file into the user's folder.
    pub fn file(&self, name: &str, mode: u32, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("the folder is ours");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("the file is ours");
        path
    }

    /// Gets a certificate for these names.
    #[track_caller]
    pub fn certonly(&self, names: &[&str]) -> Finished {
        let mut command = Command::new(python_tool("certbot"));
        command.arg("certonly").args(&self.arguments).envs(&self.environment);
        names.iter().for_each(|name| {
            command.args(["-d", name]);
        });
        run("certbot", command, Duration::from_secs(120))
    }

    /// Leaf and intermediates of the certificate whose first name this is.
    #[track_caller]
    pub fn certificate_pem(&self, first_name: &str) -> String {
        let path = self.folder.path().join("config/live").join(first_name).join("fullchain.pem");
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Everything certbot has logged, with what it says only there.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("logs/letsencrypt.log")).unwrap_or_default()
    }
}
