//! A whole small Internet on loopback: parent zones, a resolver, a CA, and acmezone between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acmezone::api::{CertificateState, CertificateStatus, Progress};
use acmezone::client::{Client, Steps};
use acmezone::config::Config;
use acmezone::server::{Handle, Server};
use tempfile::TempDir;

use crate::support::{Nsd, Pebble, PebbleBuilder, PebbleVersion, Subprocess, Unbound, free_port, poll_async};

/// The beginning of a zone file, with nothing of interest in it.
pub const HEAD: &str = "$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n";

/// What an issuance may take here; it takes less than a second.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct House {
    pub nsd: Nsd,
    pub unbound: Unbound,
    pub folder: TempDir,
    /// More keys for the table of the certificate.
    pub certificate: String,
    /// More tables.
    pub tables: String,
    /// More addresses for DNS, each as `, "address:port"`.
    pub listen: String,
    /// Another resolver than Unbound, for acmezone alone.
    pub resolver: Option<SocketAddr>,
    dns: u16,
    admin: u16,
}

impl House {
    /// `example.test` is the customer's zone; `auth.acme.test` and `_acme-challenge.delegated.test` are ours.
    pub fn new() -> House {
        let nsd = Nsd::start(&[("example.test", HEAD)]);
        let (dns, admin) = (free_port(), free_port());
        let unbound = Unbound::start(&[
            ("example.test", nsd.port()),
            ("auth.acme.test", dns),
            ("_acme-challenge.delegated.test", dns),
        ]);
        House {
            nsd,
            unbound,
            folder: tempfile::tempdir().unwrap(),
            certificate: String::new(),
            tables: String::new(),
            listen: String::new(),
            resolver: None,
            dns,
            admin,
        }
    }

    /// Where acmezone serves DNS.
    pub fn dns(&self) -> u16 {
        self.dns
    }

    pub fn pebble(&self, version: PebbleVersion) -> PebbleBuilder {
        Pebble::builder(version, self.unbound.addr())
    }

    /// A CA that takes its time to validate, up to so many seconds, so that an order is seen under way.
    pub fn slow_pebble(&self, seconds: u8) -> PebbleBuilder {
        let slow = self.pebble(PebbleVersion::V2_10_1).env("PEBBLE_VA_NOSLEEP", "0");
        slow.env("PEBBLE_VA_SLEEPTIME", &seconds.to_string())
    }

    /// Makes the CNAME in `example.test` that a record in master-file form asks for.
    pub fn add_record(&mut self, record: &str) {
        self.nsd.replace(&[("example.test", &format!("{HEAD}{record}\n"))]);
    }

    /// Writes a configuration with one certificate, `site`, for these names.
    pub fn configure(&self, ca: &Ca, names: &[&str]) -> PathBuf {
        let (dns, admin, listen) = (self.dns, self.admin, &self.listen);
        let resolver = self.resolver.unwrap_or(self.unbound.addr());
        let Ca { directory, root, more } = ca;
        let (certificate, tables) = (&self.certificate, &self.tables);
        let text = format!(
            r#"
version = 1
data_dir = "data"
[dns]
listen = ["127.0.0.1:{dns}"{listen}]
[admin]
listen = "127.0.0.1:{admin}"
[resolver]
nameservers = ["{resolver}"]
[[zone]]
origin = "auth.acme.test"
nameservers = ["ns1.acme.test"]
[[zone]]
origin = "_acme-challenge.delegated.test"
nameservers = ["ns1.acme.test"]
[[ca]]
name = "pebble"
directory = "{directory}"
contact = ["mailto:hostmaster@example.test"]
root = "{}"
{more}
[[certificate]]
name = "site"
names = {names:?}
{certificate}
{tables}
"#,
            root.display()
        );
        let file = self.folder.path().join("acmezone.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Whether there is something wrong with a certificate for these names.
    pub fn configure_is_refused(&self, ca: &Ca, names: &[&str]) -> bool {
        Config::read(&self.configure(ca, names)).is_err()
    }

    /// Starts the server in this process.
    pub async fn serve(&self, ca: &Ca, names: &[&str]) -> Running {
        let config = Config::read(&self.configure(ca, names)).unwrap();
        // A program that this process is just starting may hold the sockets of the server before for a moment.
        let handle = poll_async(PATIENCE, "the ports of the server before", || async {
            match Server::start(config.clone()).await {
                Err(error) if error.to_string().contains("in use by another process") => None,
                outcome => Some(outcome.unwrap()),
            }
        });
        Running { handle: handle.await, client: Client::new(&config).unwrap() }
    }

    /// An exported file of the certificate.
    pub fn pem(&self, file: &str) -> String {
        std::fs::read_to_string(self.certificate_folder().join(file)).unwrap()
    }

    pub fn certificate_folder(&self) -> PathBuf {
        self.folder.path().join("data/certs/site")
    }
}

/// Where a CA is, and more keys for its table.
pub struct Ca {
    pub directory: String,
    pub root: PathBuf,
    pub more: &'static str,
}

impl Ca {
    pub fn of(pebble: &Pebble) -> Ca {
        Ca { directory: pebble.directory_url(), root: pebble.root_pem_path(), more: "" }
    }

    /// Nobody listens there.
    pub fn down(root: &Path) -> Ca {
        Ca { directory: format!("https://127.0.0.1:{}/dir", free_port()), root: root.to_owned(), more: "" }
    }
}

pub struct Running {
    pub handle: Handle,
    pub client: Client,
}

impl Running {
    pub async fn show(&self) -> CertificateStatus {
        self.client.certificate("site").await.unwrap()
    }

    pub async fn wait_for(&self, state: CertificateState) -> CertificateStatus {
        poll_async(PATIENCE, &format!("the certificate to be {state:?}"), || async {
            self.client.certificate("site").await.ok().filter(|status| status.state == state)
        })
        .await
    }

    /// Every line of `cert issue` or `cert renew`.
    pub async fn issue(&self, renew: bool) -> Vec<Progress> {
        lines(self.client.issue("site", renew).await.unwrap()).await
    }
}

/// Every line, to the end.
pub async fn lines(mut steps: Steps) -> Vec<Progress> {
    let mut lines = Vec::new();
    while let Some(step) = steps.next().await {
        lines.push(step.unwrap());
    }
    lines
}

/// The server as a process of its own, which can be killed.
pub fn start_binary(file: &Path) -> Subprocess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
    command.arg("serve").arg("--config").arg(file);
    Subprocess::start("acmezone", command)
}

/// How many orders the CA has made.
pub fn orders(pebble: &Pebble) -> usize {
    pebble.log().matches("Added order").count()
}

/// What Unbound has with a TTL of 0 it has until the second is over, and nothing tells from outside that it has it no
/// more.
pub async fn until_forgotten() {
    let past = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_millis();
    tokio::time::sleep(Duration::from_millis(1010 - u64::from(past))).await;
}
