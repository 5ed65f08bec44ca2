//! `[acme]` and `[[ca]]`.

use std::path::Path;

use super::proxy::{exception, proxy};
use super::read::{At, Complaint, Reader, Span, Table, listed, nearest, values};
use super::secret::{Need, secret_source};
use super::value::{contact_url, directory_url, holds_certificate, plain_name, relative};
use super::{Acme, Ca, Eab, Limits};

pub(super) fn acme(top: &mut Table, base: &Path, reader: &mut Reader) -> Acme {
    let mut acme = Acme::default();
    let Some(mut table) = top.table("acme", "[acme]", reader) else { return acme };
    acme.orders = table.between("orders", 1, 64, reader).map_or(acme.orders, |orders: u8| orders.into());
    acme.versions = table.between("versions", 1, 100, reader).map_or(acme.versions, |versions: u8| versions.into());
    acme.certs = table.string("certs", reader, |text| relative(base, text)).map(|at| at.value);
    table.conceal("proxy", |url| url.contains('@'), reader);
    acme.proxy = table.string("proxy", reader, proxy).map(|at| at.value);
    let except = table.strings("no_proxy", reader, exception).map(|list| list.items).unwrap_or_default();
    reader.distinct(&except, |host| format!("the host {host}"));
    if let Some(proxy) = &mut acme.proxy {
        proxy.except = values(&except);
    }
    table.finish(reader);
    acme
}

/// The CAs, and the names of all of them, also of those with a problem.
pub(super) fn cas(top: &mut Table, base: &Path, reader: &mut Reader) -> (Vec<Ca>, Vec<Option<At<String>>>) {
    let mut cas = Vec::new();
    let Some(tables) = top.tables("ca", "[[ca]]", reader) else { return (cas, vec![None]) };
    let mut names = Vec::new();
    let mut rehearsals = Vec::new();
    for mut table in tables {
        table.require("name", "\"letsencrypt\"", reader);
        table.require("directory", "\"https://acme-v02.api.letsencrypt.org/directory\"", reader);
        let name = table.string("name", reader, plain_name);
        let directory = table.string("directory", reader, directory_url);
        let contact = table.strings("contact", reader, contact_url).map(|list| list.items).unwrap_or_default();
        reader.distinct(&contact, |url| format!("the contact {url}"));
        let root = table.string("root", reader, |text| {
            let file = relative(base, text)?;
            holds_certificate(&file).map(|()| file)
        });
        let profile = table.string("profile", reader, plain_name);
        let preferred_chain = table.string("preferred_chain", reader, plain_name);
        let eab = eab(&mut table, base, reader);
        let agrees_to_terms = table.boolean("agree_to_terms", reader);
        let limits = table.string("limits", reader, limits);
        let rehearsal = table.string("rehearsal", reader, |text| Ok(text.to_owned()));
        if let (Some(name), Some(directory)) = (&name, directory) {
            let ca = Ca::new(name.value.clone(), directory.value);
            cas.push(Ca {
                contact: values(&contact),
                root: root.map(|at| at.value),
                profile: profile.map(|at| at.value),
                preferred_chain: preferred_chain.map(|at| at.value),
                eab,
                agrees_to_terms: agrees_to_terms.map_or(ca.agrees_to_terms, |at| at.value),
                limits: limits.map_or(ca.limits, |at| at.value),
                rehearsal: rehearsal.as_ref().map(|at| at.value.clone()),
                ..ca
            });
        }
        if let Some(rehearsal) = rehearsal {
            rehearsals.push((name.as_ref().map(|name| name.value.clone()), rehearsal));
        }
        names.push(name);
        table.finish(reader);
    }
    reader.distinct(names.iter().flatten(), |name| format!("the CA `{name}`"));
    check_rehearsals(&rehearsals, &names, reader);
    (cas, names)
}

/// `rehearsals`: the names of CAs that have one, and of the CA that it is.
fn check_rehearsals(rehearsals: &[(Option<String>, At<String>)], names: &[Option<At<String>>], reader: &mut Reader) {
    for (ca, At { value: rehearsal, span }) in rehearsals {
        if ca.as_ref() == Some(rehearsal) {
            let complaint = Complaint::new(format!("`{rehearsal}` cannot be its own rehearsal"));
            reader.refuse(span, complaint.help("name the [[ca]] of its staging directory"));
        } else if known_ca(rehearsal, span, names, reader)
            && rehearsals.iter().any(|(ca, _)| ca.as_ref() == Some(rehearsal))
        {
            let complaint = Complaint::new(format!("the rehearsal `{rehearsal}` has a rehearsal itself"));
            reader.refuse(span, complaint.help(format!("drop the `rehearsal` of `{rehearsal}`")));
        }
    }
}

/// Whether there is a [[ca]] with the name; it is refused if there is none.
pub(super) fn known_ca(name: &str, span: &Span, cas: &[Option<At<String>>], reader: &mut Reader) -> bool {
    let known = cas.iter().flatten().any(|ca| ca.value == name);
    // a CA without a good name may be the one that is meant
    if !known && cas.iter().all(Option::is_some) {
        let complaint = Complaint::new(format!("there is no [[ca]] with the name `{name}`"));
        let all = listed(cas.iter().flatten().map(|ca| &ca.value));
        reader.refuse(span, complaint.help(format!("known CAs: {all}")));
    }
    known
}

fn eab(ca: &mut Table, base: &Path, reader: &mut Reader) -> Option<Eab> {
    let mut table = ca.table("eab", "[ca.eab]", reader)?;
    // unknown, but who writes it means the key itself
    table.conceal("hmac_key", |_| true, reader);
    table.require("key_id", "\"…\"", reader);
    let key_id = table.string("key_id", reader, plain_name);
    let check = |text: &str| {
        let help = "the CA tells the HMAC key in base64url (RFC 4648 section 5), which has `-` and `_` for `+` and `/`";
        Eab::decode(text).map(drop).map_err(|why| Complaint::new(why).help(help))
    };
    let keys = ["hmac_key_file", "hmac_key_env"];
    let hmac_key = secret_source(&mut table, keys, ("`eab`", "eab.key", Need::Once), check, base, reader);
    table.finish(reader);
    Some(Eab { key_id: key_id?.value, hmac_key: hmac_key? })
}

fn limits(text: &str) -> Result<Limits, Complaint> {
    word(text, "limits that are known", &[("letsencrypt", Limits::LetsEncrypt), ("none", Limits::None)])
}

/// One of a few words. `what`: what they all are.
pub(super) fn word<T: Copy>(text: &str, what: &str, words: &[(&'static str, T)]) -> Result<T, Complaint> {
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*meaning);
    }
    let known: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
    let complaint = Complaint::new(format!("`{text}` is none of the {what}"));
    Err(match nearest(text, &known) {
        Some(word) => complaint.help(format!("did you mean \"{word}\"?")),
        None => complaint.help(format!("known here: {}", listed(known.iter()))),
    })
}
