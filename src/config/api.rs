//! `[api]`.

use std::path::Path;

use super::listening::{Listening, connections, listen};
use super::rate_limit::api_rate_limit;
use super::read::{At, Complaint, Reader, Table, nearest, values};
use super::value::{
    domain_name, holds_certificate, holds_private_key, host_name, is_loopback, proxy_network, relative,
};
use super::{Api, ApiTls, Registration, TlsFiles};

pub(super) fn api(top: &mut Table, base: &Path, reader: &mut Reader) -> Listening<Api> {
    let mut api = Api::default();
    let Some(mut table) = top.table("api", "[api]", reader) else { return Listening::new(api, &[], None) };
    let listen = listen("listen", &mut table, reader).map(|listen| listen.items);
    api.listen = values(listen.as_deref().unwrap_or_default());
    if let Some(at) = table.string("registration", reader, registration) {
        api.registration = at.value;
    }
    let zone = table.string("zone", reader, domain_name);
    let hostname = table.string("hostname", reader, host_name);
    api.hostname = hostname.as_ref().map(|at| at.value.clone());
    let encrypted = table.has("tls");
    let acme = if table.is_string("tls") { table.string("tls", reader, acme) } else { None };
    if let Some(At { span, .. }) = &acme
        && !table.has("hostname")
    {
        let complaint = Complaint::new("`tls = \"acme\"` needs `hostname`, the name that the certificate is for");
        reader.refuse(span, complaint.help("add `hostname = \"api.auth.example.org\"`, a name in a zone of this file"));
    }
    if !table.is_string("tls")
        && let Some(mut tls) = table.table("tls", "[api.tls]", reader)
    {
        api.tls = tls_files(&mut tls, base, reader).map(ApiTls::Files);
        tls.finish(reader);
    }
    let plaintext_written = table.has("allow_plaintext");
    let plaintext = table.boolean("allow_plaintext", reader).map(|at| at.value);
    api.allow_plaintext = plaintext.unwrap_or(false);
    let proxies = table.strings("trusted_proxies", reader, proxy_network);
    if let Some(proxies) = &proxies {
        reader.distinct(&proxies.items, |network| format!("the network {network}"));
        api.trusted_proxies = values(&proxies.items);
    }
    if let Some(at) = table.boolean("proxy_protocol", reader) {
        api.proxy_protocol = at.value;
        if at.value && proxies.is_none_or(|proxies| proxies.written == 0) {
            let complaint =
                Complaint::new("the PROXY protocol is believed from trusted proxies alone, and there are none");
            reader.refuse(&at.span, complaint.help("name them, such as `trusted_proxies = [\"192.0.2.1/32\"]`"));
        }
    }
    let mut connections = |key, default| connections(key, default, &mut table, reader);
    api.connections = connections("connections", api.connections);
    api.connections_per_prefix = connections("connections_per_prefix", api.connections_per_prefix);
    api.rate_limit = api_rate_limit(&mut table, reader);
    table.finish(reader);

    let public = listen.iter().flatten().find(|at| !is_loopback(at.value));
    if let Some(at) = public
        && !encrypted
        // what is written but no truth value was perhaps meant to be true
        && !plaintext.unwrap_or(plaintext_written)
    {
        let complaint = Complaint::new(format!("the API on {} would send credentials in plain text", at.value));
        reader.refuse(
            &at.span,
            complaint.help(
                "give [api] `tls = { certificate = \"…\", private_key = \"…\" }` or `tls = \"acme\"`; or write \
                 `allow_plaintext = true` if a proxy on a trusted network speaks TLS in front of it",
            ),
        );
    }
    let acme = acme.map(|at| at.span);
    Listening { zone, encrypted, hostname, acme, ..Listening::new(api, &[], listen) }
}

fn registration(text: &str) -> Result<Registration, Complaint> {
    match text {
        "closed" => Ok(Registration::Closed),
        "open" => Ok(Registration::Open),
        "token" => Ok(Registration::Token),
        _ => {
            let complaint = Complaint::new(format!("`{text}` is no way to register"));
            Err(match nearest(text, &["closed", "token", "open"]) {
                Some(known) => complaint.help(format!("did you mean \"{known}\"?")),
                None => complaint.help("write \"closed\", \"token\" or \"open\""),
            })
        }
    }
}

fn acme(text: &str) -> Result<(), Complaint> {
    if text == "acme" {
        return Ok(());
    }
    Err(Complaint::new(format!("`{text}` is no way to have a certificate"))
        .help("write \"acme\" for one of the embedded ACME client, or `{ certificate = \"…\", private_key = \"…\" }`"))
}

fn tls_files(table: &mut Table, base: &Path, reader: &mut Reader) -> Option<TlsFiles> {
    table.require("certificate", "\"fullchain.pem\"", reader);
    table.require("private_key", "\"privkey.pem\"", reader);
    let mut checked = |key, check: fn(&Path) -> Result<(), Complaint>| {
        let path = |text: &str| relative(base, text).and_then(|path| check(&path).map(|()| path));
        table.string(key, reader, path).map(|at| at.value)
    };
    let certificate = checked("certificate", holds_certificate);
    let private_key = checked("private_key", holds_private_key);
    Some(TlsFiles { certificate: certificate?, private_key: private_key? })
}
