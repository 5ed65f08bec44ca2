//! `[[tsig_key]]`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::read::{At, Complaint, Reader, Table, listed, text_of};
use super::value::{domain_name, relative, unreadable};
use crate::account::{Grant, Replace, TsigAlgorithm, TsigGrant, TsigKey, TsigSecret};
use crate::zone::{ACME_CHALLENGE, Label, Name};

/// 128 bits: with less, who has seen one message could find the secret.
const SHORTEST_SECRET: usize = 16;

/// The keys. `zone`: that of the labels. `origins`: those of all zones; `None` for an origin that is wrong.
pub(super) fn tsig_keys(
    top: &mut Table,
    base: &Path,
    zone: Option<&Name>,
    origins: &[Option<At<Name>>],
    reader: &mut Reader,
) -> Vec<TsigKey> {
    let mut keys = Vec::new();
    let mut names = Vec::new();
    for mut table in top.tables("tsig_key", "[[tsig_key]]", reader).unwrap_or_default() {
        table.require("name", "\"client.example.org\"", reader);
        table.require("algorithm", "\"hmac-sha256\"", reader);
        let name = table.string("name", reader, domain_name);
        let algorithm = table.string("algorithm", reader, algorithm).map(|at| at.value);
        let secret = secret(&mut table, base, reader);
        let grants = grants(&mut table, zone, origins, reader);
        let replace = table.string("replace", reader, replace).map(|at| at.value).unwrap_or_default();
        if let (Some(name), Some(algorithm), Some(secret)) = (&name, algorithm, secret) {
            keys.push(TsigKey { name: name.value.clone(), algorithm, secret, grants, replace });
        }
        names.extend(name);
        table.finish(reader);
    }
    reader.distinct(&names, |name| format!("the key {name}"));
    keys
}

fn algorithm(text: &str) -> Result<TsigAlgorithm, Complaint> {
    TsigAlgorithm::parse(text).ok_or_else(|| {
        let known = TsigAlgorithm::ALL.map(TsigAlgorithm::name);
        let text = text.to_ascii_lowercase();
        if text.starts_with("hmac-md5") || text.starts_with("hmac-sha224") {
            return Complaint::new(format!("`{text}` is not available"))
                .help("write \"hmac-sha256\", here and in the client's configuration: all clients can do that");
        }
        Complaint::new(format!("there is no algorithm `{text}`")).help(format!("known here: {}", listed(known.iter())))
    })
}

fn replace(text: &str) -> Result<Replace, Complaint> {
    Replace::parse(text).ok_or_else(|| {
        Complaint::new(format!("`{text}` is no way to replace values"))
            .help("write \"keep-recent\", the default, or \"rfc\"")
    })
}

fn secret(table: &mut Table, base: &Path, reader: &mut Reader) -> Option<TsigSecret> {
    match (table.has("secret"), table.has("secret_file")) {
        (true, true) => {
            let complaint = Complaint::new("[[tsig_key]] has both `secret` and `secret_file`");
            reader.refuse(&table.span, complaint.help("drop one of them"));
        }
        (false, false) => {
            let complaint = Complaint::new("[[tsig_key]] has neither `secret` nor `secret_file`");
            let help = "make one with `openssl rand -base64 32 > client.key` and add `secret_file = \"client.key\"`";
            reader.refuse(&table.span, complaint.help(help));
        }
        _ => {}
    }
    table.conceal("secret", |_| true, reader);
    let written = table.string("secret", reader, |text| secret_of(text, "`secret`"));
    let in_file = table.string("secret_file", reader, |text| {
        let file = relative(base, text)?;
        let text = text_of(&file).map(Zeroizing::new).map_err(|problem| unreadable(&file, &problem.message))?;
        secret_of(text.trim(), &format!("`{}`", file.display()))
    });
    written.or(in_file).map(|at| at.value)
}

/// Reads a secret in base64. It is not repeated in the complaint.
fn secret_of(text: &str, place: &str) -> Result<TsigSecret, Complaint> {
    let help = "make one with `openssl rand -base64 32`, the same for both sides";
    let octets = STANDARD.decode(text).map(Zeroizing::new);
    let octets = octets.map_err(|_| Complaint::new(format!("{place} is not a secret in base64")).help(help))?;
    if octets.len() < SHORTEST_SECRET {
        let complaint = Complaint::new(format!("{place} has {} bits: a secret has at least 128", 8 * octets.len()));
        return Err(complaint.help(help));
    }
    Ok(TsigSecret::new(octets))
}

fn grants(table: &mut Table, zone: Option<&Name>, origins: &[Option<At<Name>>], reader: &mut Reader) -> Vec<TsigGrant> {
    let labels =
        table.strings("labels", reader, |text| Label::parse(text).map_err(|error| Complaint::new(error.to_string())));
    let below = table.strings("below", reader, domain_name);
    let domains = table.strings("domains", reader, challenged_domain);
    // what is written but no list has its own complaint
    let none = |key: &str, written: Option<usize>| written == Some(0) || !table.has(key);
    if none("labels", labels.as_ref().map(|list| list.written))
        && none("below", below.as_ref().map(|list| list.written))
        && none("domains", domains.as_ref().map(|list| list.written))
    {
        let complaint = Complaint::new("[[tsig_key]] may change nothing");
        let help = "add `labels = [\"…\"]`, `domains = [\"…\"]`, or `below = [\"…\"]` for every challenge name at or \
                    below a name";
        reader.refuse(&table.span, complaint.help(help));
    }
    let mut grants = Vec::new();
    if let Some(labels) = labels {
        reader.distinct(&labels.items, |label| format!("the label `{label}`"));
        if let (None, true) = (zone, origins.iter().all(Option::is_some)) {
            reader.refuse(&labels.span, Complaint::new("there is no zone that labels are registered in"));
        }
        let of_zone = |at: At<Label>| Some(TsigGrant::Label(Grant { label: at.value, zone: zone?.clone() }));
        grants.extend(labels.items.into_iter().filter_map(of_zone));
    }
    if let Some(below) = below {
        reader.distinct(&below.items, |name| format!("the name {name}"));
        for At { value: name, span } in below.items {
            let served = origins.iter().flatten().any(|origin| name.is_at_or_below(&origin.value));
            if !served && origins.iter().all(Option::is_some) {
                let complaint = Complaint::new(format!("{name} is in no [[zone]] of this file"));
                let origins = listed(origins.iter().flatten().map(|at| &at.value));
                reader.refuse(&span, complaint.help(format!("known zones: {origins}")));
            }
            grants.push(TsigGrant::Below(name));
        }
    }
    if let Some(domains) = domains {
        reader.distinct(&domains.items, |name| format!("the domain {name}"));
        grants.extend(domains.items.into_iter().map(|at| TsigGrant::Domain(at.value)));
    }
    grants
}

/// A domain by itself, not its challenge name.
fn challenged_domain(text: &str) -> Result<Name, Complaint> {
    let name = domain_name(text)?;
    if name.labels().any(|label| label == ACME_CHALLENGE) {
        let complaint = Complaint::new(format!("`{text}` is a challenge name"));
        return Err(complaint.help("write the domain itself, without `_acme-challenge.`"));
    }
    Ok(name)
}
