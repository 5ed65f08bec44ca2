//! Pebble, Let's Encrypt's CA for tests, in two versions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::certificate::Tls;
use super::ports::free_port;
use super::subprocess::{Finished, Subprocess, run};
use super::tools::{debian, tool};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PebbleVersion {
    /// Debian's. Asks DNS over UDP without EDNS; no profiles, no renewal information.
    Debian240,
    /// Asks DNS over TCP alone; profiles, renewal information, dns-account-01, dns-persist-01.
    V2_10_1,
}

impl PebbleVersion {
    pub const ALL: [PebbleVersion; 2] = [PebbleVersion::Debian240, PebbleVersion::V2_10_1];

    fn program(self) -> PathBuf {
        match self {
            PebbleVersion::Debian240 => debian("/usr/bin/pebble"),
            PebbleVersion::V2_10_1 => tool("pebble"),
        }
    }
}

/// A running CA on loopback ports of its own, with a TLS root of its own. Stopped on drop.
pub struct Pebble {
    port: u16,
    management_port: u16,
    process: Subprocess,
    tls: Tls,
}

/// What is set before the start.
#[derive(Debug, Clone)]
pub struct PebbleBuilder {
    version: PebbleVersion,
    dns: SocketAddr,
    environment: BTreeMap<String, String>,
    configuration: Map<String, Value>,
}

impl Pebble {
    /// Starts a CA that resolves names through `dns`, and waits until it answers.
    #[track_caller]
    pub fn start(version: PebbleVersion, dns: SocketAddr) -> Pebble {
        Self::builder(version, dns).start()
    }

    pub fn builder(version: PebbleVersion, dns: SocketAddr) -> PebbleBuilder {
        let builder = PebbleBuilder { version, dns, environment: BTreeMap::new(), configuration: Map::new() };
        // Clients give up after three rejections in a row: at 5 % that was, as reckoned, one run of all tests in thirty.
        builder.env("PEBBLE_VA_NOSLEEP", "1").nonce_reject(1).authz_reuse(0)
    }

    /// The ACME directory.
    pub fn directory_url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// A page of the management interface: `management_url("/roots/0")`.
    pub fn management_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.management_port)
    }

    /// The root to trust for the CA's HTTPS, which is not the one that it issues under.
    pub fn root_pem_path(&self) -> PathBuf {
        self.tls.root_path()
    }

    /// The root that certificates are issued under; new with every start.
    #[track_caller]
    pub fn issuance_root_pem(&self) -> String {
        self.fetch(&self.management_url("/roots/0"), &[]).expect_success().stdout
    }

    /// Gets a page over HTTPS with curl, given more arguments such as `--data`; a status from 400 on is a failure.
    #[track_caller]
    pub fn fetch(&self, url: &str, arguments: &[&str]) -> Finished {
        run("curl", curl(&self.tls, url, arguments), Duration::from_secs(10))
    }

    /// The group of its processes.
    pub fn group(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged: requests, look-ups, validations.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl PebbleBuilder {
    /// How many of a hundred good nonces it refuses (1 unless set).
    pub fn nonce_reject(self, percent: u8) -> PebbleBuilder {
        self.env("PEBBLE_WFE_NONCEREJECT", &percent.to_string())
    }

    /// How many of a hundred valid authorisations it uses again (none unless set).
    pub fn authz_reuse(self, percent: u8) -> PebbleBuilder {
        self.env("PEBBLE_AUTHZREUSE", &percent.to_string())
    }

    /// Sets a variable of the environment: `env("PEBBLE_ALTERNATE_ROOTS", "1")`.
    pub fn env(mut self, name: &str, value: &str) -> PebbleBuilder {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets a key of the configuration: `config("externalAccountBindingRequired", json!(true))`.
    pub fn config(mut self, key: &str, value: Value) -> PebbleBuilder {
        self.configuration.insert(key.to_owned(), value);
        self
    }

    #[track_caller]
    pub fn start(self) -> Pebble {
        let tls = Tls::new(&["pebble"]);
        let [port, management_port] = [free_port(), free_port()];
        let mut configuration = json!({
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management_port}"),
            "certificate": tls.certificate_path(),
            "privateKey": tls.key_path(),
            // For HTTP-01 and TLS-ALPN-01, which no test uses.
            "httpPort": 1,
            "tlsPort": 1,
        });
        configuration.as_object_mut().expect("made as an object above").extend(self.configuration);
        let file = tls.folder().join("pebble.json");
        std::fs::write(&file, json!({ "pebble": configuration }).to_string()).expect("the folder is ours");

        let mut command = Command::new(self.version.program());
        command.arg("-config").arg(&file).arg("-dnsserver").arg(self.dns.to_string()).envs(self.environment);
        let process = Subprocess::start(&format!("pebble {:?}", self.version), command);
        let mut pebble = Pebble { port, management_port, process, tls };
        let pages = [pebble.directory_url(), pebble.management_url("/roots/0")];
        let patience = Duration::from_secs(5);
        pebble.process.wait_until(Duration::from_secs(20), "its directory and its root certificate", || {
            pages.iter().all(|url| run("curl", curl(&pebble.tls, url, &[]), patience).success()).then_some(())
        });
        pebble
    }
}

fn curl(tls: &Tls, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(debian("/usr/bin/curl"));
    command.args(["--silent", "--show-error", "--fail-with-body", "--noproxy", "*", "--ipv4", "--cacert"]);
    command.arg(tls.root_path()).args(arguments).arg(url);
    command
}
