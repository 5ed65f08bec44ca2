//! `acmezone alias …`

use clap::Subcommand;

use super::Failure;
use super::output::Output;
use crate::api::{Alias, NewAlias};
use crate::client::Client;
use crate::zone::{Name, NameError};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the challenge name of a domain with the values of a label
    ///
    /// Some clients do not follow the CNAME at _acme-challenge.<domain>: certbot-dns-rfc2136 and plain nsupdate look for a
    /// zone of that name and update it. With an alias this server has that zone, and its values are the label's. The
    /// public CNAME to the label is still needed, or a delegation of the name to this server by NS.
    #[command(after_long_help = "Example:\n  acmezone alias add example.com my-label")]
    Add {
        /// The domain, such as example.com
        #[arg(value_parser = domain)]
        domain: Name,
        /// A label that an account owns, alone or as a full domain name
        label: String,
    },
    /// List all aliases
    #[command(after_long_help = "Example:\n  acmezone alias list")]
    List,
    /// Serve the challenge name of a domain no more; the label keeps its values
    #[command(after_long_help = "Example:\n  acmezone alias remove example.com")]
    Remove {
        /// The domain
        domain: String,
    },
}

fn domain(text: &str) -> Result<Name, NameError> {
    Name::parse(text)
}

impl Command {
    pub(super) async fn run(self, client: &Client, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::Add { domain, label } => {
                let alias = client.add_alias(&NewAlias { domain, label }).await?;
                if out.json {
                    return Ok(out.pretty_json(&alias)?);
                }
                out.line(format_args!("{} has the values of {}", alias.zone, alias.fulldomain))?;
                out.line("")?;
                out.line("If it is not there yet, put this record into the zone of the domain:")?;
                out.line(format_args!("  {}.  IN  CNAME  {}.", alias.zone, alias.fulldomain))?;
                Ok(())
            }
            Command::List => {
                let aliases = client.aliases().await?;
                if out.json {
                    return Ok(out.pretty_json(&aliases)?);
                }
                let row = |alias: &Alias| vec![alias.domain.to_string(), alias.fulldomain.to_string()];
                let rows: Vec<_> = aliases.iter().map(row).collect();
                Ok(out.table(&["DOMAIN", "VALUES OF"], &rows, "There are no aliases.")?)
            }
            Command::Remove { domain } => {
                let alias = client.remove_alias(&domain).await?;
                if out.json {
                    return Ok(out.pretty_json(&alias)?);
                }
                Ok(out.line(format_args!("{} is not served any more", alias.zone))?)
            }
        }
    }
}
