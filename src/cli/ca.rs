//! `acmezone ca …`

use clap::Subcommand;

use super::Failure;
use super::account::confirmed;
use super::cert::follow;
use super::output::Output;
use crate::client::Client;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
            Command::Rollover { name, yes } => {
                if !yes && !confirmed(&format!("Give the account at {name} a new key, and forget the old one?"))? {
                    return Err(Failure::Failed("the account keeps its key".to_owned()));
                }
                follow(client.roll_over(&name).await?, out).await
            }
        }
    }
}
