//! `acmezone ca …`

use clap::Subcommand;

use super::Failure;
use super::account::confirmed;
use super::cert::follow;
use super::output::{self, Output, printable};
use crate::api::CaStatus;
use crate::client::Client;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the configured CAs, and whether they answer
    #[command(after_long_help = "Example:\n  acmezone ca list")]
    List,
    /// Show one CA: the account, what the CA says of itself, and the CAA records that let it issue
    #[command(after_long_help = "Example:\n  acmezone ca show letsencrypt")]
    Show {
        /// Name of the [[ca]]
        name: String,
    },
    /// Give the account at a CA a new key
    ///
    /// Waits until no order is under way there. The account stays the same, and with it its URL in CAA records and its
    /// certificates. Neither a crash nor a lost answer loses the account: the old key is kept until the CA has the new one.
    #[command(after_long_help = "Example:\n  acmezone ca rollover letsencrypt --yes")]
    Rollover {
        /// Name of the [[ca]]
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Command {
    pub(super) async fn run(self, client: &Client, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::List => {
                let cas = client.cas().await?;
                if out.json { Ok(out.pretty_json(&cas)?) } else { table(&cas, out) }
            }
            Command::Show { name } => {
                let ca = client.ca(&name).await?;
                if out.json { Ok(out.pretty_json(&ca)?) } else { show(&ca, out) }
            }
            Command::Rollover { name, yes } => {
                if !yes && !confirmed(&format!("Give the account at {name} a new key, and forget the old one?"))? {
                    return Err(Failure::Failed("the account keeps its key".to_owned()));
                }
                follow(client.roll_over(&name).await?, out).await
            }
        }
    }
}

fn table(cas: &[CaStatus], out: &mut Output) -> Result<(), Failure> {
    let row = |ca: &CaStatus| {
        vec![
            ca.name.clone(),
            state(ca).to_owned(),
            ca.account.clone().unwrap_or_else(|| "–".into()),
            ca.directory.clone(),
        ]
    };
    let rows: Vec<_> = cas.iter().map(row).collect();
    out.table(&["CA", "STATE", "ACCOUNT", "DIRECTORY"], &rows, "No CAs are configured.")?;
    Ok(())
}

fn show(ca: &CaStatus, out: &mut Output) -> Result<(), Failure> {
    let mut facts = vec![
        ("CA", ca.name.clone()),
        ("directory", ca.directory.clone()),
        ("state", ca.error.clone().unwrap_or_else(|| state(ca).to_owned())),
        ("account", ca.account.clone().unwrap_or_else(|| no_account(ca).into())),
        ("contact", if ca.contact.is_empty() { "none".into() } else { output::list(&ca.contact) }),
    ];
    facts.extend(ca.website.clone().map(|url| ("web site", url)));
    if let Some(url) = &ca.terms_of_service {
        let agreed = if ca.agrees_to_terms { "agreed to" } else { "not agreed to: agree_to_terms = false" };
        facts.push(("terms", format!("{url} ({agreed})")));
    }
    let bound = match (&ca.external_account, ca.external_account_required) {
        (Some(id), _) => Some(format!("key ID {id}")),
        (None, true) => Some("needed, and none is configured: set `eab` in the [[ca]]".into()),
        (None, false) if ca.error.is_none() => Some("none needed".into()),
        (None, false) => None,
    };
    facts.extend(bound.map(|bound| ("external account", bound)));
    if !ca.caa_identities.is_empty() {
        facts.push(("names in CAA records", output::list(&ca.caa_identities)));
    }
    out.facts(&facts)?;
    if !ca.profiles.is_empty() {
        out.line("")?;
        out.line("Profiles:")?;
        for profile in &ca.profiles {
            out.line(format_args!("  {}: {}", printable(&profile.name), printable(&profile.description)))?;
        }
    }
    if !ca.caa_records.is_empty() {
        out.line("")?;
        out.line("These CAA records let no other account issue, and by no other method than your certificates need (one name is enough):")?;
        for record in &ca.caa_records {
            out.line(format_args!("  {}", printable(record)))?;
        }
    }
    Ok(())
}

fn no_account(ca: &CaStatus) -> &'static str {
    if ca.account_being_made { "being made" } else { "none yet" }
}

fn state(ca: &CaStatus) -> &'static str {
    if ca.error.is_some() { "does not answer" } else { "answers" }
}
