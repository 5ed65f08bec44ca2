//! `acmezone status`

use jiff::Timestamp;

use super::output::{self, Output};
use super::{Failure, cert};
use crate::client::Client;

pub(super) async fn run(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let status = client.status().await?;
    if out.json {
        return Ok(out.pretty_json(&status)?);
    }
    out.facts(&[
        ("acmezone", format!("{}, started {}", status.version, output::distance(status.started, Timestamp::now()))),
        ("configuration", status.config),
        ("data", status.data_dir),
        ("DNS", output::list(&status.dns)),
        ("DNS over TLS", output::list(&status.dns_tls)),
        ("update API", output::list(&status.api)),
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
