//! The TOML as written: version, unknown keys refused, every problem with its place.
//!
//! Each table has a function that reads it, those that repeat in `zones.rs`, `tsig.rs`, `issuance.rs` and
//! `certificate.rs`, that of the API in `api.rs`; what concerns two tables is compared at the end, in [`compare`] and
//! [`labels_zone`]. A value that is wrong leaves its default behind, so that reading can go on; the result is thrown away
//! as soon as there is one problem.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::api::api;
use super::certificate::{api_certificate, certificates};
use super::issuance::{acme, cas};

use super::listening::{Listening, connections, listen};
use super::rate_limit::rate_limit;
use super::read::{At, Complaint, Reader, Span, Table, listed, text_of, values};
use super::tsig::tsig_keys;
use super::value::{cookie_secret, duration, is_loopback, listen_address, relative, resolver_address};
use super::zones::zones;
use super::{Admin, Api, Config, ConfigError, Dns, Resolver};
use crate::zone::Name;

/// The version of the file's keys and their meaning.
const VERSION: i64 = 1;
/// Relative to the file.
const DATA_DIR: &str = "data";
/// A day, in seconds: the most that a resolver should keep anything of a server whose values change at any time.
const MAX_TTL: u64 = 86_400;
/// The secret that is in use, the one before and the one to come; each costs a hash for a bad cookie.
const MAX_SECRETS: usize = 3;
/// Ten years of 365 days, in seconds.
const MAX_LIFETIME: u64 = 3_650 * 86_400;

pub(super) fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = text_of(path).map_err(|problem| ConfigError { problems: vec![*problem] })?;
    let mut reader = Reader::new(path, &text);
    let config = reader.document().and_then(|document| everything(path, Table::top(&document), &mut reader));
    let problems = reader.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigError { problems }),
    }
}

/// `None` if nothing can be said about the file, for want of the right version.
fn everything(path: &Path, mut top: Table, reader: &mut Reader) -> Option<Config> {
    check_version(&mut top, reader)?;
    let base = &folder_of(path);
    let data_dir = top.string("data_dir", reader, |text| relative(base, text));
    let data_dir = data_dir.map_or_else(|| base.join(DATA_DIR), |at| at.value);

    let dns = dns(&mut top, reader);
    let api = api(&mut top, base, reader);
    let admin = admin(&mut top, reader);
    let (zones, origins) = zones(&mut top, base, reader);
    let resolver = resolver(&mut top, reader);
    let (cas, ca_names) = cas(&mut top, base, reader);
    let acme = acme(&mut top, base, reader);
    let closed = acme.certs.as_ref().is_none_or(|certs| certs.starts_with(&data_dir));
    let mut certificates = certificates(&mut top, base, &ca_names, closed, reader);
    let by_acme = api.acme.as_ref().and_then(|asked| {
        api_certificate(asked, api.hostname.as_ref(), &origins, (&cas, &ca_names), &mut certificates, reader)
    });
    let zone = labels_zone(&api, &origins, reader);
    let tsig_keys = tsig_keys(&mut top, base, zone.as_ref(), &origins, reader);
    top.finish(reader);

    compare(&dns, &api.listen, &admin.listen, reader);
    if !api.encrypted {
        refuse_unencrypted(&dns.tls, reader);
    }
    Some(Config {
        file: path.into(),
        data_dir,
        dns: dns.config,
        api: Api { zone, tls: by_acme.or(api.config.tls), ..api.config },
        admin: admin.config,
        zones,
        tsig_keys,
        resolver,
        acme,
        cas,
        certificates,
    })
}

/// Another version has other keys: what they mean is not guessed.
fn check_version(top: &mut Table, reader: &mut Reader) -> Option<()> {
    top.require("version", "1", reader);
    let version = top.integer("version", reader);
    let Some(At { value, span }) = version.filter(|version| version.value != VERSION) else { return Some(()) };
    let complaint = if value > VERSION {
        Complaint::new(format!("version {value} of the configuration needs a newer acmezone")).help(format!(
            "this is acmezone {}, which reads version {VERSION}: install the acmezone that the file was written for",
            env!("CARGO_PKG_VERSION")
        ))
    } else {
        Complaint::new(format!("there is no version {value} of the configuration"))
            .help(format!("every acmezone up to {} reads `version = {VERSION}`", env!("CARGO_PKG_VERSION")))
    };
    reader.refuse(&span, complaint);
    None
}

fn dns(top: &mut Table, reader: &mut Reader) -> Listening<Dns> {
    let mut dns = Dns::default();
    let defaults = dns.listen.clone();
    let Some(mut table) = top.table("dns", "[dns]", reader) else { return Listening::new(dns, &defaults, None) };
    let listen = listen("listen", &mut table, reader);
    if let Some(listen) = &listen {
        if listen.written == 0 {
            reader.refuse(&listen.span, Complaint::new("a DNS server needs an address to listen on"));
        }
        dns.listen = values(&listen.items);
    }
    let tls = self::listen("tls_listen", &mut table, reader).map(|listen| listen.items).unwrap_or_default();
    dns.tls_listen = values(&tls);
    let mut connections = |key, default| connections(key, default, &mut table, reader);
    dns.tcp_connections = connections("tcp_connections", dns.tcp_connections);
    dns.tcp_connections_per_prefix = connections("tcp_connections_per_prefix", dns.tcp_connections_per_prefix);
    let mut between = |key, least: u64, most: u64| {
        let At { value, span } = table.seconds(key, reader, duration)?;
        if (least..=most).contains(&value) {
            return Some(value);
        }
        let complaint = Complaint::new(format!("`{key}` is from {least} to {most} seconds, not {value}"));
        reader.refuse(&span, complaint);
        None
    };
    let ttl = |seconds: Option<u64>| seconds.and_then(|seconds| u32::try_from(seconds).ok());
    dns.negative_ttl = ttl(between("negative_ttl", 0, MAX_TTL)).unwrap_or(dns.negative_ttl);
    dns.txt_ttl = ttl(between("txt_ttl", 0, MAX_TTL)).unwrap_or(dns.txt_ttl);
    dns.value_lifetime = between("value_lifetime", 60, MAX_LIFETIME).unwrap_or(dns.value_lifetime);
    table.conceal("cookie_secret", |_| true, reader);
    if let Some(secrets) = table.strings("cookie_secret", reader, cookie_secret) {
        reader.distinct(&secrets.items, |_| "this cookie secret".into());
        if secrets.written > MAX_SECRETS {
            let complaint = Complaint::new(format!("there are {} cookie secrets", secrets.written));
            let help = format!("at most {MAX_SECRETS} are of use: the one in use, the one before, the one to come");
            reader.refuse(&secrets.span, complaint.help(help));
        }
        dns.cookie_secret = values(&secrets.items);
    }
    dns.rate_limit = rate_limit(&mut table, reader);
    table.finish(reader);
    let tls = tls.into_iter().map(|at| (at.value, Some(at.span))).collect();
    Listening { tls, ..Listening::new(dns, &defaults, listen.map(|listen| listen.items)) }
}

fn admin(top: &mut Table, reader: &mut Reader) -> Listening<Admin> {
    let mut admin = Admin::default();
    let defaults = [admin.listen];
    let Some(mut table) = top.table("admin", "[admin]", reader) else { return Listening::new(admin, &defaults, None) };
    let written = table.has("listen");
    let listen = table.string("listen", reader, |text| {
        let address = listen_address(text)?;
        if is_loopback(address) {
            return Ok(address);
        }
        Err(Complaint::new(format!("the admin API listens on loopback alone, and {address} is not loopback"))
            .help("write \"127.0.0.1:8054\" or \"[::1]:8054\"; from elsewhere reach it through an SSH tunnel"))
    });
    table.finish(reader);
    admin.listen = listen.as_ref().map_or(admin.listen, |at| at.value);
    Listening::new(admin, &defaults, written.then(|| listen.into_iter().collect()))
}

fn resolver(top: &mut Table, reader: &mut Reader) -> Resolver {
    let Some(mut table) = top.table("resolver", "[resolver]", reader) else { return Resolver::default() };
    let nameservers = table.strings("nameservers", reader, resolver_address);
    let nameservers = nameservers.map(|list| list.items).unwrap_or_default();
    reader.distinct(&nameservers, |address| format!("the resolver {address}"));
    table.finish(reader);
    Resolver { nameservers: values(&nameservers) }
}

/// DNS over TLS without a certificate.
fn refuse_unencrypted(tls: &[(SocketAddr, Option<Span>)], reader: &mut Reader) {
    if let Some((address, Some(span))) = tls.first() {
        let complaint = Complaint::new(format!("DNS over TLS on {address} needs a certificate"));
        let help = "it is that of the API: give [api] `tls = { certificate = \"…\", private_key = \"…\" }` or `tls = \"acme\"`";
        reader.refuse(span, complaint.help(help));
    }
}

/// Ports that two doors cannot share.
fn compare(
    dns: &Listening<Dns>,
    api: &[(SocketAddr, Option<Span>)],
    admin: &[(SocketAddr, Option<Span>)],
    reader: &mut Reader,
) {
    let overlap = |a: SocketAddr, b: SocketAddr| a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    let mut refuse =
        |(a, at): &(SocketAddr, Option<Span>), what: &str, (b, span): &(SocketAddr, Option<Span>), with: &str| {
            let Some(place) = at.as_ref().or(span.as_ref()) else { return };
            let mut complaint = Complaint::new(format!("{what} on {a} and {with} on {b} have the same port"));
            if let (Some(_), Some(other)) = (at, span) {
                complaint = complaint.help(format!("{with} is in line {}", reader.line(other)));
            }
            reader.refuse(place, complaint);
        };
    for admin in admin.iter().filter(|(address, _)| address.port() != 0) {
        // on different addresses it would work, until somebody mistakes one for the other
        if let Some(api) = api.iter().find(|api| api.0.port() == admin.0.port()) {
            refuse(admin, "[admin]", api, "[api]");
        }
    }
    type Named<'a> = (&'static str, &'a (SocketAddr, Option<Span>));
    fn named<'a>(what: &'static str, list: &'a [(SocketAddr, Option<Span>)]) -> Vec<Named<'a>> {
        list.iter().map(|address| (what, address)).collect()
    }
    let udp_and_tcp = named("[dns]", &dns.listen);
    let tls = named("[dns] tls_listen", &dns.tls);
    let doors = [named("[api]", api), named("[admin]", admin)].concat();
    for (doors, others) in [(&doors, &udp_and_tcp), (&doors, &tls), (&tls, &udp_and_tcp)] {
        for (what, door) in doors.iter().filter(|(_, door)| door.0.port() != 0) {
            let same = |(_, other): &&Named<'_>| other.0.port() == door.0.port() && overlap(other.0, door.0);
            if let Some((with, other)) = others.iter().find(same) {
                refuse(door, what, other, with);
            }
        }
    }
}

/// The zone that labels are registered in.
fn labels_zone(api: &Listening<Api>, origins: &[Option<At<Name>>], reader: &mut Reader) -> Option<Name> {
    let is_challenge_name = |name: &Name| crate::zone::proven_domain(name).is_some();
    let mut hosts = origins.iter().flatten().map(|at| &at.value).filter(|name| !is_challenge_name(name));
    // an origin that is wrong may be the one that is meant
    let all_known = origins.iter().all(Option::is_some) && !origins.is_empty();
    if let Some(At { value: zone, span }) = &api.zone {
        if is_challenge_name(zone) {
            let complaint = Complaint::new(format!("labels cannot be registered in the challenge zone {zone}"));
            let help = "its values are at its apex, for one domain alone; name a zone that is a host for CNAME targets";
            reader.refuse(span, complaint.help(help));
        } else if !hosts.any(|host| host == zone) && all_known {
            let complaint = Complaint::new(format!("{zone} is not the origin of a [[zone]] of this file"));
            let known = listed(origins.iter().flatten().map(|at| &at.value).filter(|name| !is_challenge_name(name)));
            let help = if known.is_empty() {
                format!("add a [[zone]] with `origin = \"{zone}\"`")
            } else {
                format!("known zones: {known}")
            };
            reader.refuse(span, complaint.help(help));
        }
        return Some(zone.clone());
    }
    let first = hosts.next().cloned();
    if let (None, true, Some((_, Some(span)))) = (&first, all_known, api.listen.first()) {
        let complaint = Complaint::new("the API is on, but there is no zone to register labels in");
        let help = "add a [[zone]] whose origin does not begin with `_acme-challenge`, or write `listen = []`";
        reader.refuse(span, complaint.help(help));
    }
    first
}

/// The folder that paths of the file are relative to, without links, so that `..` in them means what it says.
fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folder.canonicalize().unwrap_or_else(|_| folder.into())
}
