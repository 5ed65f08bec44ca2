//! The lego command line client, unmodified.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::pebble::Pebble;
use super::subprocess::{Finished, run};
use super::tools::{debian, tool};
use super::tsig::TsigKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegoVersion {
    /// Debian's. It has no `acme-dns` provider.
    Debian491,
    V4_35_2,
}

/// A user of lego with a folder of its own: account, certificates and the acme-dns storage stay from run to run.
pub struct Lego {
    program: PathBuf,
    folder: TempDir,
    global: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl Lego {
    /// The newer one, for an account at this CA, with DNS-01 through one of lego's providers: `acme-dns`, `httpreq`,
    /// `rfc2136`, `exec`.
    ///
    /// `resolver` is where lego looks for CNAMEs and zone cuts. Its propagation check is off: it asks the
    /// authoritative servers on port 53.
    pub fn new(pebble: &Pebble, provider: &str, resolver: SocketAddr) -> Lego {
        Lego::of_version(LegoVersion::V4_35_2, pebble, provider, resolver)
    }

    pub fn of_version(version: LegoVersion, pebble: &Pebble, provider: &str, resolver: SocketAddr) -> Lego {
        let no_check = match version {
            LegoVersion::Debian491 => "--dns.disable-cp",
            LegoVersion::V4_35_2 => "--dns.propagation-disable-ans",
        };
        let lego = Lego::with_checks(version, pebble, provider);
        lego.arguments(&["--dns.resolvers", &resolver.to_string(), no_check])
    }

    /// With the system's resolver and the propagation check.
    pub fn with_checks(version: LegoVersion, pebble: &Pebble, provider: &str) -> Lego {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = match version {
            LegoVersion::Debian491 => debian("/usr/bin/lego"),
            LegoVersion::V4_35_2 => tool("lego"),
        };
        let lego = Lego { program, folder, global: Vec::new(), environment: BTreeMap::new() };
        let path = lego.folder.path().display().to_string();
        let root = pebble.root_pem_path().display().to_string();
        lego.arguments(&["--server", &pebble.directory_url(), "--path", &path])
            .arguments(&["--accept-tos", "--email", "someone@example.test", "--dns", provider])
            .env("LEGO_CA_CERTIFICATES", &root)
    }

    /// For the `acme-dns` provider: the API's base URL. Accounts are stored in the user's folder.
    pub fn acme_dns(self, api_base: &str) -> Lego {
        let storage = self.acme_dns_storage().display().to_string();
        self.env("ACME_DNS_API_BASE", api_base).env("ACME_DNS_STORAGE_PATH", &storage)
    }

    /// Where `acme_dns` has lego store its accounts.
    pub fn acme_dns_storage(&self) -> PathBuf {
        self.folder.path().join("acme-dns.json")
    }

    /// For the `rfc2136` provider: the server, and the key that it shares with lego.
    pub fn rfc2136(self, server: SocketAddr, key: &TsigKey) -> Lego {
        self.env("RFC2136_NAMESERVER", &server.to_string())
            .env("RFC2136_TSIG_KEY", &key.name)
            .env("RFC2136_TSIG_SECRET", &key.secret())
            .env("RFC2136_TSIG_ALGORITHM", &format!("{}.", key.algorithm))
            .env("RFC2136_SEQUENCE_INTERVAL", "1")
            .env("RFC2136_POLLING_INTERVAL", "1")
    }

    /// The names to be certified; the first gives the files their name.
    pub fn domains(self, names: &[&str]) -> Lego {
        names.iter().fold(self, |lego, name| lego.arguments(&["--domains", name]))
    }

    /// More arguments before the command: `arguments(&["--key-type", "rsa2048"])`.
    pub fn arguments(mut self, arguments: &[&str]) -> Lego {
        self.global.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Lego {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Runs one command to its end: `run(&["run"])`, `run(&["renew", "--force-cert-domains"])`.
    #[track_caller]
    pub fn run(&self, command_and_arguments: &[&str]) -> Finished {
        let mut command = Command::new(&self.program);
        command.args(&self.global).args(command_and_arguments).envs(&self.environment);
        run("lego", command, Duration::from_secs(120))
    }

    /// Leaf and intermediates of the certificate whose first name this is.
    #[track_caller]
    pub fn certificate_pem(&self, first_name: &str) -> String {
        let name = first_name.replace('*', "_");
        let path = self.folder.path().join("certificates").join(format!("{name}.crt"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
