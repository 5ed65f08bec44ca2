//! `acmezone cert …`

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use super::Failure;
use super::account::confirmed;
use super::output::{self, Output, printable};
use crate::api::{
    CertificateEvent, CertificateState, CertificateStatus, DeploymentStatus, LastError, NewReissue, NewRevocation,
    Progress, RenewalWindow, RevocationReason, RevokedBy,
};
use crate::client::{Client, Steps};

/// Characters of an error in a table; `cert show` has all of it.
const SHOWN: usize = 60;

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
    /// Put another certificate in the place of the one in use, whatever that is like
    ///
    /// Waits for an order that is under way, and then makes one of its own.
    #[command(
        after_long_help = "Examples:\n  acmezone cert reissue example-org\n  acmezone cert reissue example-org --new-key"
    )]
    Reissue {
        /// Name of the [[certificate]]
        name: String,
        /// With a new key, also if the configuration says reuse_key
        #[arg(long)]
        new_key: bool,
    },
    /// Tell the CA that a certificate is not to be trusted any more
    ///
    /// This cannot be taken back. The files stay as they are until another certificate takes their place: at once with
    /// --reissue, else at the next renewal. With the reason key-compromise, the key is never used again.
    #[command(after_long_help = "\
Examples:
  acmezone cert revoke example-org --reason key-compromise --reissue
  acmezone cert revoke example-org --serial 04a1ff --reason superseded --yes
  acmezone cert revoke example-org --by key")]
    Revoke {
        /// Name of the [[certificate]]
        name: String,
        /// Of an older certificate that is still in the store, hexadecimal, instead of the one in use
        #[arg(long, value_name = "HEX", value_parser = serial)]
        serial: Option<String>,
        /// Why
        #[arg(long, default_value = RevocationReason::Unspecified.word(), value_parser = reason())]
        reason: RevocationReason,
        /// Who signs: the account that it was issued to, or its own key, which works without the account
        #[arg(long, default_value = "account", value_parser = signer())]
        by: RevokedBy,
        /// Obtain another certificate at once, with a new key
        #[arg(long, conflicts_with = "serial")]
        reissue: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
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
            Command::Reissue { name, new_key } => {
                follow(client.reissue(&name, &NewReissue { new_key }).await?, out).await
            }
            Command::Revoke { name, serial, reason, by, reissue, yes } => {
                let mut wanted = NewRevocation { serial, reason, by, reissue };
                if !yes {
                    let shown = match &wanted.serial {
                        Some(serial) => Some(serial.clone()),
                        None => client.certificate(&name).await?.serial,
                    };
                    let which = shown.as_ref().map_or_else(String::new, |serial| format!(" with the serial {serial}"));
                    if !confirmed(&format!("Revoke the certificate of {name}{which} for ever?"))? {
                        return Err(Failure::Failed("nothing was revoked".to_owned()));
                    }
                    // Exactly the one that was asked about; with --reissue it is the one in use.
                    wanted.serial = shown;
                }
                follow(client.revoke(&name, &wanted).await?, out).await
            }
        }
    }
}

fn serial(text: &str) -> Result<String, String> {
    let good =
        text.contains(|c: char| c.is_ascii_hexdigit()) && text.chars().all(|c| c == ':' || c.is_ascii_hexdigit());
    if good { Ok(text.to_owned()) } else { Err("this is no hexadecimal number".to_owned()) }
}

fn reason() -> impl TypedValueParser<Value = RevocationReason> {
    let word =
        |word: String| RevocationReason::ALL.into_iter().find(|reason| reason.word() == word).unwrap_or_default();
    PossibleValuesParser::new(RevocationReason::ALL.map(RevocationReason::word)).map(word)
}

fn signer() -> impl TypedValueParser<Value = RevokedBy> {
    let word = |word: String| if word == "key" { RevokedBy::Key } else { RevokedBy::Account };
    PossibleValuesParser::new(["account", "key"]).map(word)
}

/// Shows the steps of an order as they happen.
pub(super) async fn follow(mut steps: Steps, out: &mut Output) -> Result<(), Failure> {
    while let Some(step) = steps.next().await {
        let step = step?;
        if out.json {
            out.json_line(&step)?;
        }
        match step {
            Progress::Step { message } if !out.json => out.line(printable(&message))?,
            Progress::Done { message, path } if !out.json => {
                out.line(printable(&message))?;
                if !path.is_empty() {
                    out.line(format_args!("files: {}", printable(&path)))?;
                }
            }
            Progress::Failed { message } => return Err(Failure::Failed(printable(&message))),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn table(certificates: &[CertificateStatus], out: &mut Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let row = |certificate: &CertificateStatus| {
        vec![
            certificate.name.clone(),
            words(certificate.state).to_owned(),
            expiry(certificate, now),
            certificate.next_attempt.map_or_else(|| "–".to_owned(), |at| output::date_and_distance(at, now)),
            last_result(certificate),
            certificate.cas.join(", "),
            output::list(&certificate.names),
        ]
    };
    let rows: Vec<_> = certificates.iter().map(row).collect();
    let none = "No certificates are configured.";
    let head = ["CERTIFICATE", "STATE", "EXPIRES", "NEXT ATTEMPT", "LAST RESULT", "CA", "NAMES"];
    out.table(&head, &rows, none)?;
    Ok(())
}

/// The date, and the share of its life that the certificate in use has left.
fn expiry(certificate: &CertificateStatus, now: Timestamp) -> String {
    let (Some(from), Some(to)) = (certificate.not_before, certificate.not_after) else { return "–".to_owned() };
    let (life, left) = (to.as_second() - from.as_second(), to.as_second() - now.as_second());
    match (left * 100).checked_div(life) {
        Some(share) if left > 0 => format!("{} ({share} % left)", output::date(to)),
        _ => format!("{} (expired)", output::date(to)),
    }
}

/// How the last attempt ended, in a few words.
fn last_result(certificate: &CertificateStatus) -> String {
    let most = |text: &str| match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    if let Some(error) = &certificate.last_error {
        return most(&format!("{} failed: {}", error.step, error.message));
    }
    if !certificate.missing_records.is_empty() {
        return "a record is missing".to_owned();
    }
    // What follows an order may have failed too.
    if let Some(deployment) = &certificate.deployment {
        if let Some(error) = &deployment.last_error {
            return most(&format!("deploy failed: {}", error.message));
        }
        if let Some(error) = &deployment.webhook_error {
            return most(&format!("webhook: {}", error.message));
        }
    }
    certificate.issued_at.map_or_else(|| "–".to_owned(), |at| format!("issued {}", output::date(at)))
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
    let share = certificate.not_after.is_some().then(|| ("valid until", expiry(certificate, now)));
    facts.extend(share);
    facts.extend(certificate.issued_by.clone().map(|ca| ("issued by", ca)));
    facts.extend(certificate.serial.clone().map(|serial| ("serial", serial)));
    let revoked = |revoked: crate::api::Revocation| format!("{}, {}", date(revoked.at), revoked.reason);
    facts.extend(certificate.revoked.map(|at| ("revoked", revoked(at))));
    let revoking = |asked: crate::api::Revocation| {
        format!("asked for {}, {}: the CA has not decided yet and is asked again", date(asked.at), asked.reason)
    };
    facts.extend(certificate.revoking.map(|asked| ("revocation", revoking(asked))));
    facts.extend(certificate.path.clone().map(|path| ("files", path)));
    facts.extend(certificate.renewal.map(|at| ("renewal", date(at))));
    let window = |window: RenewalWindow| format!("{} to {}", output::date(window.start), output::date(window.end));
    facts.extend(certificate.renewal_window.map(|suggested| ("CA suggests", window(suggested))));
    facts.extend(certificate.renewal_explanation.clone().map(|url| ("because of", url)));
    facts.extend(certificate.renewal_problem.clone().map(|problem| ("not suggested", problem)));
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
    facts.extend(deployment.running_since.map(|at| ("deploy running", format!("since {}", date(at)))));
    facts.extend(deployment.last_error.as_ref().map(|error| ("deploy", failed(error))));
    facts.extend(deployment.next_attempt.map(|at| ("next deploy", date(at))));
    facts.extend(deployment.webhook_error.as_ref().map(|error| ("webhook", failed(error))));
    let dropped = deployment.dropped_event.as_ref();
    let dropped = dropped.map(|event| format!("{} of {}: {}", event.event, date(event.at), event.reason));
    facts.extend(dropped.map(|words| ("webhook not told", words)));
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
        CertificateState::Revoked => "revoked",
        CertificateState::Failed => "failed",
        CertificateState::Expired => "expired",
    }
}
