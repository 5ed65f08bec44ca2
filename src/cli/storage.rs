//! `acmezone storage …`

use clap::Subcommand;

use super::Failure;
use super::output::{self, Output};
use crate::api::{CreatedStorage, NewStorage, Storage};
use crate::client::Client;
use crate::config::Api;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an HTTP storage for lego and show its address, this once
    ///
    /// lego, Traefik and others with lego inside get credentials for the listed domains from it, so that nothing is
    /// registered and nothing kept on their side. Who has the address can get certificates for these domains.
    #[command(after_long_help = "\
Examples:
  acmezone storage create --domain example.com --domain www.example.com --note web-7
  acmezone storage create --domain example.com --account www.auth.example.org")]
    Create {
        /// A domain to get certificates for, its wildcard included; may be repeated
        #[arg(long = "domain", value_name = "DOMAIN", required = true)]
        domains: Vec<String>,
        /// Bind the domains to the label of this account (user name, label or full domain name), instead of a new account
        /// with a random label for each
        ///
        /// It must have this label alone, and gets no other one as long as the storage is there.
        #[arg(long)]
        account: Option<String>,
        /// What it is for, shown in the list and in the log
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        note: String,
    },
    /// List all HTTP storages, oldest first
    #[command(after_long_help = "Example:\n  acmezone storage list")]
    List,
    /// Revoke an HTTP storage, and the credentials that were got from it
    ///
    /// Accounts and labels that were made for it stay, and so can the CNAME records.
    #[command(after_long_help = "Example:\n  acmezone storage revoke 1f3870be274f")]
    Revoke {
        /// As `storage list` shows it
        id: String,
    },
}

impl Command {
    pub(super) async fn run(self, client: &Client, api: &Api, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::Create { domains, account, note } => {
                let created = client.create_storage(&NewStorage { domains, account, note }).await?;
                if out.json { Ok(out.pretty_json(&created)?) } else { show_created(&created, api, out) }
            }
            Command::List => {
                let storages = client.storages().await?;
                if out.json { Ok(out.pretty_json(&storages)?) } else { show_all(&storages, out) }
            }
            Command::Revoke { id } => {
                let storage = client.revoke_storage(&id).await?;
                if out.json {
                    return Ok(out.pretty_json(&storage)?);
                }
                let Storage { id, credentials, .. } = storage;
                Ok(out.line(format_args!("revoked {id} and the credentials got from it: {credentials}"))?)
            }
        }
    }
}

fn show_created(created: &CreatedStorage, api: &Api, out: &mut Output) -> Result<(), Failure> {
    let CreatedStorage { secret, facts } = created;
    let server = api.base_url().unwrap_or_else(|| "https://<host name of the API>".to_owned());
    out.facts(&[("address", format!("{server}/storage/{secret}")), ("id", facts.id.clone())])?;
    out.line("")?;
    out.line("The address is shown only now. Whoever has it can get certificates for these domains.")?;
    out.line("Put these records into the zones of the domains:")?;
    for stored in &facts.domains {
        out.line(format_args!("  _acme-challenge.{}.  IN  CNAME  {}.", stored.domain, stored.fulldomain))?;
    }
    out.line("and run lego with:")?;
    out.line(format_args!("  ACME_DNS_API_BASE={server}"))?;
    out.line(format_args!("  ACME_DNS_STORAGE_BASE_URL={server}/storage/{secret}"))?;
    Ok(())
}

fn show_all(storages: &[Storage], out: &mut Output) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for storage in storages {
        for stored in &storage.domains {
            rows.push(vec![
                storage.id.clone(),
                stored.domain.to_string(),
                stored.fulldomain.to_string(),
                storage.credentials.to_string(),
                output::date(storage.created),
                storage.note.clone(),
            ]);
        }
    }
    let head = ["ID", "DOMAIN", "CNAME TO", "CREDENTIALS", "CREATED", "NOTE"];
    out.table(&head, &rows, "There are no HTTP storages.")?;
    Ok(())
}
