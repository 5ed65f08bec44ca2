//! `acmezone tsig …`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use serde::Serialize;

use super::Failure;
use super::output::{self, Output};
use super::tsig_clients::{For, Snippet};
use crate::api::{NewTsigKey, TsigKey, TsigKeySource};
use crate::client::Client;
use crate::zone::{Label, Name};

const ALGORITHMS: [&str; 4] = ["hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha1"];

/// The port that clients use if they are told none.
const DNS_PORT: u16 = 53;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key and show its secret
    ///
    /// The key counts at once. It may change the values of the labels given, of every label and challenge name at or
    /// below the names given, and of the labels that the challenge names of the domains given are aliases of. Both sides
    /// have to know a shared secret, so it is kept in the database of the server, which only the server's user can read.
    #[command(after_long_help = "\
Examples:
  acmezone tsig create certbot.example.org --label www
  acmezone tsig create lego --below auth.example.org --algorithm hmac-sha512
  acmezone tsig create customer --domain customer.example")]
    Create {
        /// The name of the key, the same in the client's configuration
        name: Name,
        /// All clients can do hmac-sha256
        #[arg(long, default_value = ALGORITHMS[0], value_parser = PossibleValuesParser::new(ALGORITHMS))]
        algorithm: String,
        /// A registered label; may be repeated
        #[arg(long, value_parser = Label::parse, required_unless_present_any = ["below", "domain"])]
        label: Vec<Label>,
        /// A name at or below which everything may be changed; may be repeated
        #[arg(long, value_name = "NAME")]
        below: Vec<Name>,
        /// A domain whose challenge name is an alias (see `acmezone alias`); may be repeated
        #[arg(long)]
        domain: Vec<Name>,
        /// What deleting all values and adding one in the same message does: spare those of the last ten minutes, as
        /// lego needs it, or take RFC 2136 by the letter
        #[arg(long, default_value = "keep-recent", value_parser = PossibleValuesParser::new(["keep-recent", "rfc"]))]
        replace: String,
    },
    /// List the keys of the configuration and those that were made by `tsig create`
    #[command(after_long_help = "Example:\n  acmezone tsig list")]
    List,
    /// Show a key with its secret, as the configuration of a client if you say which
    #[command(after_long_help = "\
Examples:
  acmezone tsig show certbot.example.org
  acmezone tsig show certbot.example.org --for certbot --server 192.0.2.53")]
    Show {
        /// The name of the key
        name: Name,
        /// Print what this client reads
        #[arg(long = "for", value_name = "CLIENT")]
        client: Option<For>,
        /// Where the client finds this server: an IP address, with port if it is not 53
        #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "client")]
        server: Option<SocketAddr>,
    },
    /// Revoke a key: what is signed with it is refused from now on
    ///
    /// A key of the configuration file goes by taking it out of the file.
    #[command(after_long_help = "Example:\n  acmezone tsig revoke certbot.example.org")]
    Revoke {
        /// The name of the key
        name: Name,
    },
}

impl Command {
    pub(super) async fn run(self, client: &Client, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::Create { name, algorithm, label, below, domain, replace } => {
                let (algorithm, replace) = (Some(algorithm), Some(replace));
                let wanted = NewTsigKey { name, algorithm, labels: label, below, domains: domain, replace };
                let created = client.create_tsig_key(&wanted).await?;
                show_created(&created, out)
            }
            Command::List => {
                let keys = client.tsig_keys().await?;
                if out.json { Ok(out.pretty_json(&keys)?) } else { show_all(&keys, out) }
            }
            Command::Show { name, client: None, .. } => {
                let key = client.tsig_key(&name.to_string()).await?;
                if out.json { Ok(out.pretty_json(&key)?) } else { show(&key, out) }
            }
            Command::Show { name, client: Some(of), server } => {
                let key = client.tsig_key(&name.to_string()).await?;
                show_for(of, &key, server_address(client, server).await?, out)
            }
            Command::Revoke { name } => {
                let revoked = client.revoke_tsig_key(&name.to_string()).await?;
                if out.json {
                    return Ok(out.pretty_json(&revoked)?);
                }
                Ok(out.line(format_args!("revoked {}", revoked.name))?)
            }
        }
    }
}

/// An IP address, or one with its port.
fn address(text: &str) -> Result<SocketAddr, String> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
    alone.or_else(|_| text.parse()).map_err(|_| "it is no IP address, and none with a port".to_owned())
}

/// Where clients find the server: as given, or the first address that it listens on.
async fn server_address(client: &Client, given: Option<SocketAddr>) -> Result<SocketAddr, Failure> {
    if let Some(given) = given {
        return Ok(given);
    }
    let addresses = client.status().await?.dns;
    let public = addresses.iter().find(|address| !address.ip().is_unspecified() && !address.ip().is_loopback());
    let mut address = public.or(addresses.first()).copied();
    if let Some(address) = &mut address
        && (address.ip().is_unspecified() || address.ip().is_loopback())
    {
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        output::note(format_args!(
            "note: the client is told to find the server at {address}; if it runs elsewhere, say --server ADDRESS"
        ));
    }
    address.ok_or_else(|| Failure::Failed("the server listens nowhere: say --server ADDRESS".to_owned()))
}

fn show_created(created: &TsigKey, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return Ok(out.pretty_json(created)?);
    }
    show(created, out)?;
    out.line("")?;
    out.line("The configuration of a client is printed by:")?;
    let clients = For::names().join("|");
    Ok(out.line(format_args!("  acmezone tsig show {} --for {clients}", created.name))?)
}

fn show_for(of: For, key: &TsigKey, server: SocketAddr, out: &mut Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Answer {
        client: &'static str,
        text: String,
    }
    let snippet = Snippet::new(key, server).ok_or_else(|| Failure::Failed("the server told no secret".to_owned()))?;
    let text = snippet.text(of).map_err(Failure::Failed)?;
    if out.json {
        return Ok(out.pretty_json(&Answer { client: of.name(), text })?);
    }
    out.line(text.trim_end())?;
    if let Some(hint) = snippet.hint(of) {
        output::note(format_args!("{hint}"));
    }
    Ok(())
}

fn show_all(keys: &[TsigKey], out: &mut Output) -> Result<(), Failure> {
    let row = |key: &TsigKey| {
        let source = match key.source {
            TsigKeySource::Config => "config".to_owned(),
            TsigKeySource::Store if key.hidden => "store, hidden: the one of the config counts".to_owned(),
            TsigKeySource::Store => "store".to_owned(),
        };
        let created = key.created.map_or_else(|| "–".to_owned(), output::date);
        vec![key.name.to_string(), key.algorithm.clone(), output::list(grants(key)), created, source]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    let none = "There are no keys, and every update over DNS is refused.";
    out.table(&["NAME", "ALGORITHM", "MAY CHANGE", "CREATED", "SOURCE"], &rows, none)?;
    Ok(())
}

fn show(key: &TsigKey, out: &mut Output) -> Result<(), Failure> {
    let mut facts = vec![("name", key.name.to_string()), ("algorithm", key.algorithm.clone())];
    facts.extend(key.secret.as_ref().map(|secret| ("secret", secret.reveal().to_owned())));
    facts.push(("may change", output::list(grants(key))));
    facts.push(("replace", key.replace.clone()));
    match key.created {
        Some(at) => facts.push(("created", output::date_and_distance(at, Timestamp::now()))),
        None => facts.push(("source", "the configuration file".to_owned())),
    }
    out.facts(&facts)?;
    Ok(())
}

/// What a key may change, in words.
fn grants(key: &TsigKey) -> Vec<String> {
    let labels = key.labels.iter().map(Name::to_string);
    let below = key.below.iter().map(|name| format!("all below {name}"));
    let domains = key.domains.iter().map(|domain| format!("the label of {domain}"));
    labels.chain(below).chain(domains).collect()
}
