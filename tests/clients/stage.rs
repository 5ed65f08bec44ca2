//! What every client meets: the customer's zone at another name server, this server, a resolver, and a CA.

use serde_json::json;

use crate::support::{Acmezone, Nsd, Pebble, PebbleVersion, TsigKey, Unbound, verify_chain};

/// What every order is for.
pub const NAMES: &[&str] = &["example.test", "*.example.test"];
/// Our zone with the labels.
pub const OURS: &str = "[[zone]]\norigin = \"auth.acme.test\"\nnameservers = [\"ns1.acme.test\"]\n";
/// The label of an account that the administrator made.
pub const LABEL: &str = "customer";
/// A zone of ours that the customer has delegated.
pub const DELEGATED: &str = "_acme-challenge.example.test";

/// The name of a key that was made by command.
const MADE_KEY: &str = "client.example.test";
/// The grant of a key for the challenge name of the customer's domain.
pub const DOMAIN: [&str; 2] = ["--domain", "example.test"];

/// The customer's zone before anything is delegated.
const PARENT: &str = "$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.3\n";

pub struct Stage {
    pub server: Acmezone,
    nsd: Nsd,
    pub unbound: Unbound,
    pub pebble: Pebble,
}

impl Stage {
    /// With this in the customer's zone.
    #[track_caller]
    pub fn open(server: Acmezone, version: PebbleVersion, delegation: &str) -> Stage {
        let nsd = Nsd::start(&[("example.test", &format!("{PARENT}{delegation}\n"))]);
        let port = server.dns.port();
        let mut stubs = vec![("example.test", nsd.port()), ("auth.acme.test", port)];
        // The resolver follows no delegation by itself.
        stubs.extend(delegation.contains(" NS ").then_some((DELEGATED, port)));
        let unbound = Unbound::start(&stubs);
        let pebble = ca(version, &unbound);
        Stage { server, nsd, unbound, pebble }
    }

    /// All name servers on port 53, found by delegations alone. Only on a host of its own; the server is made with
    /// `server_on_port_53`.
    #[track_caller]
    pub fn on_port_53(server: Acmezone, version: PebbleVersion, delegation: &str) -> Stage {
        let above = format!("{PARENT}ns1 A {}\nauth NS ns1\n", server.dns.ip());
        let zones = [("example.test", format!("{PARENT}{delegation}\n")), ("acme.test", above)];
        let zones = zones.each_ref().map(|(origin, text)| (*origin, text.as_str()));
        let nsd = Nsd::start_with("    ip-address: 127.0.0.3@53", &zones);
        let stubs = [("example.test", nsd.port()), ("acme.test", nsd.port())];
        let unbound = Unbound::start_with(&stubs, &["interface: 127.0.0.1@53"]);
        let pebble = ca(version, &unbound);
        Stage { server, nsd, unbound, pebble }
    }

    /// The customer has made a CNAME.
    #[track_caller]
    pub fn with_cname(server: Acmezone, target: &str) -> Stage {
        Stage::open(server, PebbleVersion::V2_10_1, &cname(target))
    }

    /// The customer has delegated the challenge name itself, to a server with that zone.
    #[track_caller]
    pub fn with_delegation(server: Acmezone) -> Stage {
        Stage::open(server, PebbleVersion::V2_10_1, "_acme-challenge NS ns1.acme.test.")
    }

    /// The customer changes what he has delegated.
    #[track_caller]
    pub fn delegate(&mut self, delegation: &str) {
        self.nsd.replace(&[("example.test", &format!("{PARENT}{delegation}\n"))]);
    }

    pub fn api(&self) -> String {
        format!("http://{}", self.server.api)
    }

    /// Panics unless this is a certificate for both names by the CA.
    #[track_caller]
    pub fn judge(&self, chain_pem: &str) {
        self.judge_for(chain_pem, NAMES);
    }

    /// The same for other names.
    #[track_caller]
    pub fn judge_for(&self, chain_pem: &str, names: &[&str]) {
        verify_chain(chain_pem, &self.pebble.issuance_root_pem(), names);
    }
}

/// A CA that refuses no good nonce: certbot gives up after two.
#[track_caller]
fn ca(version: PebbleVersion, resolver: &Unbound) -> Pebble {
    // Its keys are made at the start: those of this kind at once.
    Pebble::builder(version, resolver.addr()).nonce_reject(0).config("keyAlgorithm", json!("ecdsa")).start()
}

/// The line for the customer's zone.
pub fn cname(target: &str) -> String {
    format!("_acme-challenge CNAME {target}.")
}

/// The name of `LABEL`.
pub fn labelled() -> String {
    format!("{LABEL}.auth.acme.test")
}

/// The table of a key for the configuration that may change the values of `LABEL`.
pub fn key_for_label(key: &TsigKey) -> String {
    key.table(&format!("labels = [\"{LABEL}\"]"))
}

/// A server where the account of `LABEL` exists and the key may change its values.
#[track_caller]
pub fn server_with_label(key: &TsigKey) -> Acmezone {
    let server = Acmezone::start(&(OURS.to_owned() + &key_for_label(key)));
    server.cli(&["account", "create", "--label", LABEL]).expect_success();
    server
}

/// A server with the zone that the customer has delegated, which the key may change.
#[track_caller]
pub fn server_with_zone(key: &TsigKey) -> Acmezone {
    let zone = format!("[[zone]]\norigin = \"{DELEGATED}\"\nnameservers = [\"ns1.acme.test\"]\n");
    Acmezone::start(&(OURS.to_owned() + &zone + &key.table(&format!("below = [\"{DELEGATED}\"]"))))
}

/// A server where the account of `LABEL` exists, and a key made by command with that grant: `["--label", LABEL]`.
///
/// With an alias the customer's challenge name is a zone of its own too, for clients that follow no CNAME.
#[track_caller]
pub fn server_with_made_key(alias: bool, grant: [&str; 2]) -> Acmezone {
    let server = Acmezone::start(OURS);
    server.cli(&["account", "create", "--label", LABEL]).expect_success();
    if alias {
        add_alias(&server);
    }
    make_key(&server, grant);
    server
}

/// Has the server have the customer's challenge name as a zone.
#[track_caller]
pub fn add_alias(server: &Acmezone) {
    server.cli(&["alias", "add", "example.test", LABEL]).expect_success();
}

/// Makes the key that `printed` shows.
#[track_caller]
pub fn make_key(server: &Acmezone, grant: [&str; 2]) {
    server.cli(&["tsig", "create", MADE_KEY, grant[0], grant[1]]).expect_success();
}

/// A server at an address of its own, on port 53, with these tables beside our zone; the account of `LABEL` exists.
#[track_caller]
pub fn server_on_port_53(tables: &str) -> Acmezone {
    let mut server = Acmezone::prepare("");
    server.dns = ([127, 0, 0, 2], 53).into();
    server.configure(&(OURS.to_owned() + tables));
    server.restart();
    server.cli(&["account", "create", "--label", LABEL]).expect_success();
    server
}

/// The key made by command as the server prints it for the configuration of a client.
#[track_caller]
pub fn printed(server: &Acmezone, client: &str) -> String {
    let address = server.dns.to_string();
    server.cli(&["tsig", "show", MADE_KEY, "--for", client, "--server", &address]).expect_success().stdout
}
