//! `acmezone zone …`

use clap::Subcommand;

use super::Failure;
use super::output::{self, Output, printable};
use crate::api::Zone;
use crate::client::Client;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the zones that are served
    #[command(after_long_help = "Example:\n  acmezone zone list")]
    List,
    /// Show one zone with its static records
    #[command(after_long_help = "Example:\n  acmezone zone show auth.example.org")]
    Show {
        /// Origin of the zone
        origin: String,
    },
}

impl Command {
    pub(super) async fn run(self, client: &Client, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::List => {
                let zones = client.zones().await?;
                if out.json { Ok(out.pretty_json(&zones)?) } else { table(&zones, out) }
            }
            Command::Show { origin } => {
                let zone = client.zone(&origin).await?;
                if out.json { Ok(out.pretty_json(&zone)?) } else { show(&zone, out) }
            }
        }
    }
}

fn table(zones: &[Zone], out: &mut Output) -> Result<(), Failure> {
    let row = |zone: &Zone| {
        vec![
            zone.origin.to_string(),
            zone.serial.to_string(),
            zone.static_names.to_string(),
            zone.names_with_values.to_string(),
            if zone.registration { "yes" } else { "no" }.to_owned(),
            zone.file.clone().unwrap_or_else(|| "(nameservers)".to_owned()),
        ]
    };
    let rows: Vec<_> = zones.iter().map(row).collect();
    let head = ["ZONE", "SERIAL", "STATIC NAMES", "NAMES WITH VALUES", "LABELS", "FILE"];
    out.table(&head, &rows, "No zones are configured.")?;
    Ok(())
}

fn show(zone: &Zone, out: &mut Output) -> Result<(), Failure> {
    out.facts(&[
        ("zone", zone.origin.to_string()),
        ("file", zone.file.clone().unwrap_or_else(|| "none, made from its nameservers".to_owned())),
        ("serial", zone.serial.to_string()),
        ("nameservers", output::list(&zone.nameservers)),
        ("labels are registered here", if zone.registration { "yes" } else { "no" }.to_owned()),
        ("names with values", zone.names_with_values.to_string()),
    ])?;
    out.line("")?;
    for record in &zone.records {
        out.line(printable(record))?;
    }
    Ok(())
}
