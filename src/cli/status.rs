//! `acmezone status`

use std::net::SocketAddr;

use jiff::Timestamp;

use super::output::{self, Output};
use super::{Failure, cert};
use crate::client::Client;

pub(super) async fn run(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let status = client.status().await?;
    if out.json {
        return Ok(out.pretty_json(&status)?);
    }
    // The problem has the place in the configuration of each listener that could not be opened.
    let problem = |place: &str| status.api_problem.as_deref().filter(|problem| problem.contains(place));
    let tls = |addresses: &[SocketAddr], place| match (&status.api_waits_for, problem(place)) {
        (Some(name), _) if !addresses.is_empty() => {
            format!("{}: waiting for its certificate, see `acmezone cert show {name}`", output::list(addresses))
        }
        (None, Some(problem)) if !addresses.is_empty() => {
            format!("{}: not open, tried again and again: {problem}", output::list(addresses))
        }
        _ => output::list(addresses),
    };
    let (dns_tls, api) = (tls(&status.dns_tls, "[dns]"), tls(&status.api, "[api]"));
    out.facts(&[
        ("acmezone", format!("{}, started {}", status.version, output::distance(status.started, Timestamp::now()))),
        ("configuration", status.config),
        ("data", status.data_dir),
        ("DNS", output::list(&status.dns)),
        ("DNS over TLS", dns_tls),
        ("update API", api),
        ("admin API", status.admin.to_string()),
        ("zones", status.zones.to_string()),
        ("labels", status.labels.to_string()),
        ("names with values", status.names_with_values.to_string()),
        ("DNS answers limited", status.dns_counters.limited.to_string()),
        ("messages dropped", status.dns_counters.dropped.to_string()),
    ])?;
    if !status.certificates.is_empty() {
        out.line("")?;
        cert::table(&status.certificates, out)?;
    }
    Ok(())
}
