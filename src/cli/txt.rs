//! `acmezone txt …`

use clap::Subcommand;
use jiff::Timestamp;

use super::Failure;
use super::output::{self, Output};
use crate::api::TxtName;
use crate::client::Client;

/// Values are text; octets outside printable ASCII are written `\DDD`, a backslash `\\`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List names and their values
    #[command(after_long_help = "\
Examples:
  acmezone txt list
  acmezone txt list www.auth.example.org")]
    List {
        /// Only this name
        name: Option<String>,
    },
    /// Put values in place of all that a name has
    #[command(after_long_help = "Example:\n  acmezone txt set _acme-challenge.example.net first second")]
    Set {
        /// A registered label's name, a challenge zone, or an _acme-challenge name in a zone
        name: String,
        #[arg(required = true)]
        values: Vec<String>,
    },
    /// Add values to a name; one that is there is refreshed
    #[command(after_long_help = "Example:\n  acmezone txt add www.auth.example.org first")]
    Add {
        /// A registered label's name, a challenge zone, or an _acme-challenge name in a zone
        name: String,
        #[arg(required = true)]
        values: Vec<String>,
    },
    /// Remove values of a name, or all of them
    #[command(after_long_help = "\
Examples:
  acmezone txt remove www.auth.example.org first
  acmezone txt remove www.auth.example.org")]
    Remove {
        /// The name
        name: String,
        /// All values if none is given
        values: Vec<String>,
    },
}

impl Command {
    pub(super) async fn run(self, client: &Client, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::List { name: None } => {
                let names = client.names().await?;
                if out.json { Ok(out.pretty_json(&names)?) } else { show(&names, out) }
            }
            Command::List { name: Some(name) } => one(client.name(&name).await?, out),
            Command::Set { name, values } => one(client.replace_values(&name, values).await?, out),
            Command::Add { name, values } => one(client.add_values(&name, values).await?, out),
            Command::Remove { name, values } => {
                let Some((last, others)) = values.split_last() else {
                    return one(client.remove_values(&name, None).await?, out);
                };
                for value in others {
                    client.remove_values(&name, Some(value)).await?;
                }
                one(client.remove_values(&name, Some(last)).await?, out)
            }
        }
    }
}

fn one(name: TxtName, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return Ok(out.pretty_json(&name)?);
    }
    if name.values.is_empty() {
        return Ok(out.line(format_args!("{} has no values.", name.name))?);
    }
    show(&[name], out)
}

fn show(names: &[TxtName], out: &mut Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let rows = names.iter().flat_map(|name| {
        let row = |held: &crate::api::TxtValue| {
            vec![name.name.to_string(), format!("\"{}\"", held.value), output::distance(held.expires, now)]
        };
        name.values.iter().map(row).collect::<Vec<_>>()
    });
    out.table(&["NAME", "VALUE", "EXPIRES"], &rows.collect::<Vec<_>>(), "No name has values.")?;
    Ok(())
}
