//! `acmezone check`

use std::path::Path;

use serde::Serialize;

use super::Failure;
use super::output::{self, Output};
use crate::config::{Config, Registration};

/// What a good configuration holds.
#[derive(Serialize)]
struct Summary {
    config: String,
    zones: usize,
    certificates: usize,
    cas: usize,
    dns: Vec<String>,
    api: Vec<String>,
    registration: &'static str,
}

pub(super) fn run(path: &Path, out: &mut Output) -> Result<(), Failure> {
    output::note(format_args!("configuration: {}", path.display()));
    let config = Config::read(path)?;
    crate::server::check(&config).map_err(|error| Failure::Usage(format!("error: {error}")))?;
    let summary = Summary {
        config: config.file.display().to_string(),
        zones: config.zones.len(),
        certificates: config.certificates.len(),
        cas: config.cas.len(),
        dns: config.dns.listen.iter().map(ToString::to_string).collect(),
        api: config.api.listen.iter().map(ToString::to_string).collect(),
        registration: match config.api.registration {
            Registration::Open => "open",
            Registration::Token => "token",
            Registration::Closed => "closed",
        },
    };
    if out.json {
        return Ok(out.pretty_json(&summary)?);
    }
    out.line(summary.sentence())?;
    for warning in config.warnings() {
        output::note(format_args!("warning: {warning}"));
    }
    for unknown in unknowns(&config) {
        output::note(format_args!("not judged: {unknown}"));
    }
    Ok(())
}

impl Summary {
    fn sentence(&self) -> String {
        let api = match self.api.as_slice() {
            [] => "no update API".to_owned(),
            addresses => format!("update API on {}, registration {}", addresses.join(", "), self.registration),
        };
        format!(
            "configuration ok: {}, {}, DNS on {}, {api}",
            counted(self.zones, "zone"),
            counted(self.certificates, "certificate"),
            self.dns.join(", ")
        )
    }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// What only the running server, or the rest of the DNS, can say.
fn unknowns(config: &Config) -> Vec<String> {
    let mut unknowns =
        vec!["whether the addresses are free to listen on (`acmezone serve` says it at once)".to_owned()];
    if !config.data_dir.exists() {
        let folder = config.data_dir.display();
        unknowns.push(format!("whether {folder} can be written to: it does not exist yet, the server makes it"));
    }
    if !config.zones.is_empty() {
        unknowns.push("whether the parent zones delegate to this server: that stands in the DNS, not here".to_owned());
    }
    if !config.certificates.is_empty() {
        unknowns.push("whether the CAs accept the orders (`acmezone cert issue NAME` tries)".to_owned());
    }
    unknowns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_one_sentence() {
        let summary = Summary {
            config: "a.toml".into(),
            zones: 2,
            certificates: 1,
            cas: 1,
            dns: vec!["0.0.0.0:53".into()],
            api: vec!["127.0.0.1:8053".into()],
            registration: "closed",
        };
        assert_eq!(
            summary.sentence(),
            "configuration ok: 2 zones, 1 certificate, DNS on 0.0.0.0:53, update API on 127.0.0.1:8053, registration closed"
        );
        let silent = Summary { api: Vec::new(), ..summary };
        assert!(silent.sentence().ends_with(", no update API"));
    }
}
