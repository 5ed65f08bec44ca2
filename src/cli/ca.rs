//! `acmezone ca …`

use clap::Subcommand;

use super::Failure;
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
        ("account", ca.account.clone().unwrap_or_else(|| "none yet".into())),
        ("contact", if ca.contact.is_empty() { "none".into() } else { output::list(&ca.contact) }),
    ];
    facts.extend(ca.website.clone().map(|url| ("web site", url)));
    if let Some(url) = &ca.terms_of_service {
        let agreed = if ca.agrees_to_terms { "agreed to" } else { "not agreed to: agree_to_terms = false" };
        facts.push(("terms", format!("{url} ({agreed})")));
    }
    let bound = match (&ca.external_account, ca.external_account_required) {
        (Some(id), _) => format!("key ID {id}"),
        (None, true) => "needed, and none is configured: set `eab` in the [[ca]]".into(),
        (None, false) => "none needed".into(),
    };
    facts.push(("external account", bound));
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
        out.line("These CAA records let no other account issue, and by no other method (one name is enough):")?;
        for record in &ca.caa_records {
            out.line(format_args!("  {}", printable(record)))?;
        }
    }
    Ok(())
}

fn state(ca: &CaStatus) -> &'static str {
    if ca.error.is_some() { "does not answer" } else { "answers" }
}
