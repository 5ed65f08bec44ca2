//! `[[certificate]]`, also that of the API.

use std::net::IpAddr;
use std::path::Path;

use super::issuance::{known_ca, word};
use super::names::{certified_name, certified_names};
use super::read::{At, Complaint, List, Reader, Span, Table, listed, values};
use super::secret::{Need, secret_source, text_in};
use super::value::{account_name, duration, folder_name, is_loopback, plain_name, relative, unreadable};
use super::{ApiTls, Ca, Certificate, Challenge, Files, KeyType, Webhook};
use crate::zone::Name;

const CHALLENGES: [(&str, Challenge); 3] = [
    ("dns-01", Challenge::Dns01),
    ("dns-account-01", Challenge::DnsAccount01),
    ("dns-persist-01", Challenge::DnsPersist01),
];
const KEY_TYPES: [(&str, KeyType); 5] = [
    ("p256", KeyType::P256),
    ("p384", KeyType::P384),
    ("rsa2048", KeyType::Rsa2048),
    ("rsa3072", KeyType::Rsa3072),
    ("rsa4096", KeyType::Rsa4096),
];
/// The longest `deploy_timeout`, seconds.
const MAX_TIMEOUT: u64 = 3_600;

/// `closed`: the folder of certificates lies where only the server can go.
pub(super) fn certificates(
    top: &mut Table,
    base: &Path,
    cas: &[Option<At<String>>],
    closed: bool,
    reader: &mut Reader,
) -> Vec<Certificate> {
    let mut certificates = Vec::new();
    let mut folders = Vec::new();
    let tables = top.tables("certificate", "[[certificate]]", reader).unwrap_or_default();
    if let (Some(first), []) = (tables.first(), cas) {
        let complaint = Complaint::new("there is a [[certificate]] but no [[ca]] to ask for it");
        reader.refuse(&first.span, complaint.help("add a [[ca]] with `name`, `directory` and `contact`"));
    }
    for mut table in tables {
        table.require("name", "\"example.com\"", reader);
        let name = table.string("name", reader, folder_name);
        let names = certified_names(&mut table, reader);
        let cas = cas_of(&mut table, cas, reader);
        let profile = table.string("profile", reader, plain_name).map(|at| at.value);
        let challenge = table.string("challenge", reader, |text| word(text, "challenges", &CHALLENGES));
        let key_type = table.string("key_type", reader, |text| word(text, "types of keys", &KEY_TYPES));
        let reuse_key = table.boolean("reuse_key", reader).is_some_and(|at| at.value);
        let files = files(&mut table, base, closed, reader);
        let deploy = deploy(&mut table, base, reader);
        let deploy_timeout = deploy_timeout(&mut table, reader);
        let webhook = webhook(&mut table, base, reader);
        if let (Some(name), Some(names), Some(cas)) = (&name, names, cas) {
            certificates.push(Certificate {
                profile,
                challenge: challenge.map(|at| at.value).unwrap_or_default(),
                key_type: key_type.map(|at| at.value).unwrap_or_default(),
                reuse_key,
                files,
                deploy,
                deploy_timeout: deploy_timeout.unwrap_or(Certificate::DEPLOY_TIMEOUT),
                webhook,
                ..Certificate::new(name.value.clone(), values(&names.items), cas)
            });
        }
        folders.extend(name);
        table.finish(reader);
    }
    reader.distinct(&folders, |name| format!("the certificate `{name}`"));
    certificates
}

/// The CAs of a certificate: those that it names, or the only one.
fn cas_of(table: &mut Table, cas: &[Option<At<String>>], reader: &mut Reader) -> Option<Vec<String>> {
    let written = table.string_or_strings("ca", reader);
    match (written, cas) {
        (_, []) => None,
        (Some(List { items, written, span }), cas) => {
            if written == 0 {
                reader.refuse(&span, Complaint::new("a certificate needs a CA"));
            }
            reader.distinct(&items, |name| format!("the CA `{name}`"));
            let unknown = items.iter().filter(|at| !known_ca(&at.value, &at.span, cas, reader)).count();
            (unknown == 0).then(|| values(&items))
        }
        (None, [only]) => only.as_ref().map(|ca| vec![ca.value.clone()]),
        (None, _) => {
            let complaint = Complaint::new("[[certificate]] has no `ca`, and there are several");
            let known = listed(cas.iter().flatten().map(|ca| &ca.value));
            reader.refuse(&table.span, complaint.help(format!("add `ca = \"…\"`; known CAs: {known}")));
            None
        }
    }
}

fn files(table: &mut Table, base: &Path, closed: bool, reader: &mut Reader) -> Files {
    let combined = table.boolean("combined", reader).is_some_and(|at| at.value);
    let pkcs12_password_file = table.string("pkcs12_password_file", reader, |text| {
        let file = relative(base, text)?;
        let text = text_in(&file).map_err(|why| unreadable(&file, &why))?;
        if text.lines().next().is_none_or(str::is_empty) {
            return Err(Complaint::new(format!("`{}` has no password in its first line", file.display())));
        }
        Ok(file)
    });
    let owner = table.string("owner", reader, account_name);
    let group = table.string("group", reader, account_name);
    for (key, at) in [("owner", &owner), ("group", &group)] {
        if let (Some(At { value, span }), true) = (at, closed) {
            let complaint = Complaint::new(format!(
                "`{value}` could not reach the files: nobody but the server gets into `data_dir`"
            ));
            let help = format!("with `{key}`, set [acme] `certs` to a folder outside of `data_dir`");
            reader.refuse(span, complaint.help(help));
        }
    }
    Files {
        combined,
        pkcs12_password_file: pkcs12_password_file.map(|at| at.value),
        owner: owner.map(|at| at.value),
        group: group.map(|at| at.value),
    }
}

/// Program and arguments; they are run as they are, by no shell.
fn deploy(table: &mut Table, base: &Path, reader: &mut Reader) -> Vec<String> {
    let as_list = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(|word| format!("{word:?}")).collect();
        format!("write the program and each argument by itself: `deploy = [{}]`; no shell reads it", words.join(", "))
    };
    if table.is_string("deploy") {
        table.string("deploy", reader, |line| -> Result<(), Complaint> {
            Err(Complaint::new("`deploy` is a list of strings, not a string").help(as_list(line)))
        });
        return Vec::new();
    }
    let Some(list) = table.strings("deploy", reader, |text| {
        if text.contains('\0') {
            return Err(Complaint::new("a program cannot be given the character NUL"));
        }
        Ok(text.to_owned())
    }) else {
        return Vec::new();
    };
    let mut command = values(&list.items);
    let Some(At { value: program, span }) = list.items.first() else { return command };
    let found = relative(base, program).and_then(|file| {
        if !file.is_file() {
            let complaint = Complaint::new(format!("there is no program `{}`", file.display()));
            let in_path = "a program is named by its path, absolute or relative to the folder of this file";
            let line = program.contains(char::is_whitespace);
            return Err(complaint.help(if line { as_list(program) } else { in_path.to_owned() }));
        }
        let text = file.to_str().map(str::to_owned);
        text.ok_or_else(|| Complaint::new(format!("the path `{}` is not UTF-8", file.display())))
    });
    if let (Some(at), Some(first)) = (reader.accept(span.clone(), found), command.first_mut()) {
        *first = at.value;
    }
    command
}

fn deploy_timeout(table: &mut Table, reader: &mut Reader) -> Option<u64> {
    let At { value, span } = table.seconds("deploy_timeout", reader, duration)?;
    if (1..=MAX_TIMEOUT).contains(&value) {
        return Some(value);
    }
    let complaint = Complaint::new(format!("`deploy_timeout` is from 1 to {MAX_TIMEOUT} seconds, not {value}"));
    reader.refuse(&span, complaint);
    None
}

fn webhook(table: &mut Table, base: &Path, reader: &mut Reader) -> Option<Webhook> {
    const SECRET: [&str; 2] = ["webhook_secret_file", "webhook_secret_env"];
    // unknown, but who writes it means the secret itself
    table.conceal("webhook_secret", |_| true, reader);
    table.conceal("webhook", |url| url.contains('@'), reader);
    let url = table.string("webhook", reader, webhook_url);
    if table.has("webhook") {
        let example = ("[[certificate]] with a `webhook`", "webhook.secret", Need::Always);
        let secret = secret_source(table, SECRET, example, |_| Ok(()), base, reader);
        return Some(Webhook { url: url?.value, secret: secret? });
    }
    for key in SECRET {
        let at = table.string(key, reader, |_| Ok(()));
        if let Some(At { span, .. }) = at {
            let complaint = Complaint::new(format!("there is `{key}` but no `webhook`"));
            reader.refuse(&span, complaint.help("add `webhook = \"https://…\"`, or drop the secret"));
        }
    }
    None
}

/// `https://`, or `http://` on this host.
fn webhook_url(text: &str) -> Result<String, Complaint> {
    let refuse = |why: &str| {
        Complaint::new(format!("this is not the URL of a webhook: {why}"))
            .help("write \"https://host/path\"; `http://` is good enough for 127.0.0.1, [::1] and localhost alone")
    };
    let url: http::Uri = text.parse().map_err(|_| refuse("it is no URL"))?;
    let authority = url.authority().ok_or_else(|| refuse("it does not begin with `https://`"))?;
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let here = host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| is_loopback((ip, 0).into()));
    match (url.scheme_str(), here) {
        _ if host.is_empty() => Err(refuse("it has no host")),
        _ if authority.as_str().contains('@') => Err(refuse("it has a user name in it")),
        _ if text.contains('#') => Err(refuse("it has a fragment")),
        (Some("https"), _) | (Some("http"), true) => Ok(text.to_owned()),
        (Some("http"), false) => Err(refuse("what is told over `http://` can be read on the way")),
        _ => Err(refuse("it does not begin with `https://`")),
    }
}

/// `[api] tls = "acme"`: the certificate for the host name of the API, an additional one if none is configured.
/// `asked`: where that is written.
pub(super) fn api_certificate(
    asked: &Span,
    hostname: Option<&At<Name>>,
    origins: &[Option<At<Name>>],
    (cas, ca_names): (&[Ca], &[Option<At<String>>]),
    certificates: &mut Vec<Certificate>,
    reader: &mut Reader,
) -> Option<ApiTls> {
    if ca_names.is_empty() {
        let complaint = Complaint::new("there is no [[ca]] to ask for the certificate of the API");
        reader.refuse(asked, complaint.help("add a [[ca]] with `name`, `directory` and `contact`"));
    }
    let At { value: host, span } = hostname?;
    // an origin that is wrong may be the one that is meant
    let served = origins.iter().any(|origin| origin.as_ref().is_none_or(|origin| host.is_at_or_below(&origin.value)));
    if !served {
        let complaint = Complaint::new(format!("{host} is in no [[zone]] of this file, which `tls = \"acme\"` needs"));
        let known = listed(origins.iter().flatten().map(|at| &at.value));
        let help = format!("its challenge is answered from here; take a name in one of the known zones: {known}");
        reader.refuse(span, complaint.help(help));
    }
    let named = certified_name(&host.to_string()).and_then(|name| folder_name(&name));
    let name = reader.accept(span.clone(), named)?.value;
    if let Some(configured) = certificates.iter().find(|certificate| certificate.names == [name.as_str()]) {
        return Some(ApiTls::Acme { certificate: configured.name.clone() });
    }
    if certificates.iter().any(|certificate| certificate.name == name) {
        let complaint = Complaint::new(format!("the certificate `{name}` is not that of the API: it has other names"));
        let help = format!("give that [[certificate]] another `name`, or `names = [\"{name}\"]`");
        reader.refuse(asked, complaint.help(help));
        return None;
    }
    let rehearsal = |ca: &Ca| cas.iter().any(|other| other.rehearsal.as_ref() == Some(&ca.name));
    let used: Vec<String> = match cas {
        [only] => vec![only.name.clone()],
        cas => cas.iter().filter(|ca| !rehearsal(ca)).map(|ca| ca.name.clone()).collect(),
    };
    certificates.push(Certificate::new(name.clone(), vec![name.clone()], used));
    Some(ApiTls::Acme { certificate: name })
}
