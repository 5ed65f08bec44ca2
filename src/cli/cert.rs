//! `acmezone cert …`

use clap::Subcommand;
use jiff::Timestamp;

use super::Failure;
use super::output::{self, Output, printable};
use crate::api::{CertificateEvent, CertificateState, CertificateStatus, DeploymentStatus, LastError, Progress};
use crate::client::{Client, Steps};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the configured certificates and their state
    #[command(after_long_help = "Example:\n  acmezone cert list")]
    List,
    /// Show one certificate: dates, files, the last error, records that are missing
    #[command(after_long_help = "Example:\n  acmezone cert show example-org")]
    Show {
        /// Name of the [[certificate]]
        name: String,
    },
    /// Obtain a certificate now and follow each step
    ///
    /// A valid certificate for the configured names is left alone.
    #[command(after_long_help = "Example:\n  acmezone cert issue example-org")]
    Issue {
        /// Name of the [[certificate]]
        name: String,
        /// Order nothing: look at the records, the CAs' limits, and tell what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what has happened to a certificate: what was issued, what failed and why
    #[command(after_long_help = "Example:\n  acmezone cert history example-org")]
    History {
        /// Name of the [[certificate]]
        name: String,
    },
    /// Renew a certificate now, due or not
    #[command(after_long_help = "Example:\n  acmezone cert renew example-org")]
    Renew {
        /// Name of the [[certificate]]
        name: String,
    },
    /// Run the deploy program of a certificate now and follow its output
    #[command(after_long_help = "Example:\n  acmezone cert deploy example-org")]
    Deploy {
        /// Name of the [[certificate]]
        name: String,
    },
}

impl Command {
    pub(super) async fn run(self, client: &Client, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::List => {
                let certificates = client.certificates().await?;
                if out.json { Ok(out.pretty_json(&certificates)?) } else { table(&certificates, out) }
            }
            Command::Show { name } => {
                let certificate = client.certificate(&name).await?;
                if out.json { Ok(out.pretty_json(&certificate)?) } else { show(&certificate, out) }
            }
            Command::Issue { name, dry_run: true } => follow(client.preview(&name).await?, out).await,
            Command::Issue { name, dry_run: false } => follow(client.issue(&name, false).await?, out).await,
            Command::History { name } => {
                let events = client.certificate_history(&name).await?;
                if out.json { Ok(out.pretty_json(&events)?) } else { history(&events, out) }
            }
            Command::Deploy { name } => follow(client.deploy(&name).await?, out).await,
            Command::Renew { name } => follow(client.issue(&name, true).await?, out).await,
        }
    }
}

/// Shows the steps of an order as they happen.
async fn follow(mut steps: Steps, out: &mut Output) -> Result<(), Failure> {
    while let Some(step) = steps.next().await {
        let step = step?;
        if out.json {
            out.json_line(&step)?;
        }
        match step {
            Progress::Step { message } if !out.json => out.line(printable(&message))?,
            Progress::Done { message, path } if !out.json => {
                out.line(printable(&message))?;
                out.line(format_args!("files: {}", printable(&path)))?;
            }
            Progress::Failed { message } => return Err(Failure::Failed(printable(&message))),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn table(certificates: &[CertificateStatus], out: &mut Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let when = |at: Option<Timestamp>| at.map_or_else(|| "–".to_owned(), |at| output::distance(at, now));
    let row = |certificate: &CertificateStatus| {
        vec![
            certificate.name.clone(),
            words(certificate.state).to_owned(),
            when(certificate.not_after),
            when(certificate.next_attempt),
            certificate.cas.join(", "),
            output::list(&certificate.names),
        ]
    };
    let rows: Vec<_> = certificates.iter().map(row).collect();
    let none = "No certificates are configured.";
    out.table(&["CERTIFICATE", "STATE", "EXPIRES", "NEXT ATTEMPT", "CA", "NAMES"], &rows, none)?;
    Ok(())
}

fn show(certificate: &CertificateStatus, out: &mut Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let mut facts = vec![
        ("certificate", certificate.name.clone()),
        ("names", output::list(&certificate.names)),
        ("CA", certificate.cas.join(", ")),
        ("state", words(certificate.state).to_owned()),
    ];
    let date = |at| output::date_and_distance(at, now);
    facts.extend(certificate.not_before.map(|at| ("valid from", date(at))));
    facts.extend(certificate.not_after.map(|at| ("valid until", date(at))));
    facts.extend(certificate.serial.clone().map(|serial| ("serial", serial)));
    facts.extend(certificate.path.clone().map(|path| ("files", path)));
    facts.extend(certificate.next_attempt.map(|at| ("next attempt", date(at))));
    if let Some(error) = &certificate.last_error {
        facts.push(("last error", format!("{}: {}", error.step, error.message)));
        facts.extend(error.explanation.clone().map(|explanation| ("explained", explanation)));
        facts.push(("failed", format!("{} (failures in a row: {})", date(error.at), error.failures)));
    }
    if let Some(deployment) = &certificate.deployment {
        facts.extend(deployment_facts(deployment, now));
    }
    out.facts(&facts)?;
    if !certificate.missing_records.is_empty() {
        out.line("")?;
        out.line("These records have to be made first:")?;
        for record in &certificate.missing_records {
            out.line(format_args!("  {}", printable(record)))?;
        }
    }
    Ok(())
}

fn deployment_facts(deployment: &DeploymentStatus, now: Timestamp) -> Vec<(&'static str, String)> {
    let date = |at| output::date_and_distance(at, now);
    let failed = |error: &LastError| {
        format!("failed {} (failures in a row: {}): {}", date(error.at), error.failures, error.message)
    };
    let mut facts = Vec::new();
    facts.extend(deployment.deployed_at.map(|at| ("deployed", date(at))));
    facts.extend(deployment.last_error.as_ref().map(|error| ("deploy", failed(error))));
    facts.extend(deployment.next_attempt.map(|at| ("next deploy", date(at))));
    facts.extend(deployment.webhook_error.as_ref().map(|error| ("webhook", failed(error))));
    facts
}

fn history(events: &[CertificateEvent], out: &mut Output) -> Result<(), Failure> {
    let row = |event: &CertificateEvent| {
        let mut what: Vec<String> = event.serial.iter().map(|serial| format!("serial {serial}")).collect();
        what.extend(event.not_after.map(|at| format!("valid until {}", output::date(at))));
        what.extend(event.message.clone());
        vec![output::date(event.at), event.event.clone(), event.ca.clone().unwrap_or_default(), what.join(", ")]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    out.table(&["WHEN", "WHAT", "CA", "DETAILS"], &rows, "Nothing has happened yet.")?;
    Ok(())
}

fn words(state: CertificateState) -> &'static str {
    match state {
        CertificateState::Missing => "none yet",
        CertificateState::WaitingForDelegation => "waiting for records",
        CertificateState::Issuing => "being issued",
        CertificateState::Valid => "valid",
        CertificateState::RenewalDue => "renewal due",
        CertificateState::Failed => "failed",
        CertificateState::Expired => "expired",
    }
}
