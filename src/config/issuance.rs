//! `[[ca]]` and `[[certificate]]`.

use std::path::Path;

use super::read::{At, Complaint, Reader, Table, listed, values};
use super::value::{certified_name, contact_url, directory_url, folder_name, holds_certificate, plain_name, relative};
use super::{Ca, Certificate};

/// What public CAs put into one certificate.
const MAX_NAMES: usize = 100;

/// The CAs, and the names of all of them, also of those with a problem.
pub(super) fn cas(top: &mut Table, base: &Path, reader: &mut Reader) -> (Vec<Ca>, Vec<Option<At<String>>>) {
    let mut cas = Vec::new();
    let Some(tables) = top.tables("ca", "[[ca]]", reader) else { return (cas, vec![None]) };
    let mut names = Vec::new();
    for mut table in tables {
        table.require("name", "\"letsencrypt\"", reader);
        table.require("directory", "\"https://acme-v02.api.letsencrypt.org/directory\"", reader);
        let name = table.string("name", reader, plain_name);
        let directory = table.string("directory", reader, directory_url);
        let contact = table.strings("contact", reader, contact_url).map(|list| list.items).unwrap_or_default();
        let root = table.string("root", reader, |text| {
            let file = relative(base, text)?;
            holds_certificate(&file).map(|()| file)
        });
        let profile = table.string("profile", reader, plain_name);
        reader.distinct(&contact, |url| format!("the contact {url}"));
        if let (Some(name), Some(directory)) = (&name, directory) {
            cas.push(Ca {
                contact: values(&contact),
                root: root.map(|at| at.value),
                profile: profile.map(|at| at.value),
                ..Ca::new(name.value.clone(), directory.value)
            });
        }
        names.push(name);
        table.finish(reader);
    }
    reader.distinct(names.iter().flatten(), |name| format!("the CA `{name}`"));
    (cas, names)
}

pub(super) fn certificates(top: &mut Table, cas: &[Option<At<String>>], reader: &mut Reader) -> Vec<Certificate> {
    let mut certificates = Vec::new();
    let mut folders = Vec::new();
    let tables = top.tables("certificate", "[[certificate]]", reader).unwrap_or_default();
    if let (Some(first), []) = (tables.first(), cas) {
        let complaint = Complaint::new("there is a [[certificate]] but no [[ca]] to ask for it");
        reader.refuse(&first.span, complaint.help("add a [[ca]] with `name`, `directory` and `contact`"));
    }
    for mut table in tables {
        table.require("name", "\"example.com\"", reader);
        table.require("names", "[\"example.com\", \"*.example.com\"]", reader);
        let name = table.string("name", reader, folder_name);
        let names = table.strings("names", reader, certified_name);
        if let Some(names) = &names {
            let complaint = match names.written {
                0 => Some("a certificate needs a name".to_owned()),
                count if count > MAX_NAMES => Some(format!("a certificate has at most {MAX_NAMES} names, not {count}")),
                _ => None,
            };
            if let Some(complaint) = complaint {
                reader.refuse(&names.span, Complaint::new(complaint));
            }
            reader.distinct(&names.items, |name| format!("the name {name}"));
        }
        let ca = ca_of(&mut table, cas, reader);
        if let (Some(name), Some(names), Some(ca)) = (&name, names, ca) {
            certificates.push(Certificate::new(name.value.clone(), values(&names.items), vec![ca]));
        }
        folders.extend(name);
        table.finish(reader);
    }
    reader.distinct(&folders, |name| format!("the certificate `{name}`"));
    certificates
}

/// The CA of a certificate: the one that it names, or the only one.
fn ca_of(table: &mut Table, cas: &[Option<At<String>>], reader: &mut Reader) -> Option<String> {
    let written = table.string("ca", reader, |text| Ok(text.to_owned()));
    let known = || listed(cas.iter().flatten().map(|ca| &ca.value));
    match (written, cas) {
        (_, []) => None,
        (Some(ca), cas) => {
            if cas.iter().flatten().any(|known| known.value == ca.value) {
                return Some(ca.value);
            }
            // a CA without a good name may be the one that is meant
            if cas.iter().all(Option::is_some) {
                let complaint = Complaint::new(format!("there is no [[ca]] with the name `{}`", ca.value));
                reader.refuse(&ca.span, complaint.help(format!("known CAs: {}", known())));
            }
            None
        }
        (None, [only]) if !table.has("ca") => only.as_ref().map(|ca| ca.value.clone()),
        (None, _) if table.has("ca") => None,
        (None, _) => {
            let complaint = Complaint::new("[[certificate]] has no `ca`, and there are several");
            reader.refuse(&table.span, complaint.help(format!("add `ca = \"…\"`; known CAs: {}", known())));
            None
        }
    }
}
