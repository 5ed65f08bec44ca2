//! What the strings of the file mean: addresses, durations, names, URLs, paths to PEM files. Pure but for the last.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use zeroize::Zeroizing;

use super::CookieSecret;
use super::read::{Complaint, octets_of};
use crate::zone::Name;

/// Longest `name` of a certificate or a CA.
const MAX_LABEL: usize = 100;

/// An address to listen on. Port 0 lets the system choose.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, Complaint> {
    text.parse().map_err(|_| {
        let complaint = Complaint::new(format!("`{text}` is not an IP address with a port"));
        match (text.parse::<IpAddr>(), text.strip_prefix([':', '*']).map(|port| port.trim_start_matches(':'))) {
            (Ok(IpAddr::V4(ip)), _) => complaint.help(format!("add the port, such as \"{ip}:5300\"")),
            (Ok(IpAddr::V6(ip)), _) => complaint.help(format!("add the port, such as \"[{ip}]:5300\"")),
            (_, Some(port)) if port.parse::<u16>().is_ok() => {
                complaint.help(format!("for every address of this host write \"0.0.0.0:{port}\" and \"[::]:{port}\""))
            }
            _ => complaint.help("write \"192.0.2.1:53\" or \"[2001:db8::1]:53\"; host names are not looked up here"),
        }
    })
}

/// A resolver's address; port 53 if none is written.
pub(super) fn resolver_address(text: &str) -> Result<SocketAddr, Complaint> {
    let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
    match address {
        Ok(address) if address.port() == 0 => Err(Complaint::new(format!("`{text}` has port 0, nobody answers there"))),
        Ok(address) => Ok(address),
        Err(_) => Err(Complaint::new(format!("`{text}` is not an IP address"))
            .help("write \"192.0.2.1\", \"192.0.2.1:5353\" or \"[2001:db8::1]:5353\"")),
    }
}

/// A network as CIDR, with no bits beyond its prefix.
pub(super) fn network(text: &str) -> Result<IpNet, Complaint> {
    let refuse = |why: &str| Complaint::new(format!("`{text}` is not a network{why}"));
    let network = text.parse::<IpNet>().map_err(|_| match text.parse::<IpAddr>() {
        Ok(address) => refuse(": it has no length of a prefix").help(format!("write \"{}\"", IpNet::from(address))),
        Err(_) => refuse("").help("write \"192.0.2.0/24\" or \"2001:db8::/56\""),
    })?;
    match network {
        IpNet::V6(mapped) if mapped.addr().to_ipv4_mapped().is_some() => {
            Err(refuse(": it is IPv4 in the form of IPv6").help("write it as IPv4, such as \"192.0.2.0/24\""))
        }
        network if network.trunc() != network => {
            Err(refuse(": it has bits beyond its prefix").help(format!("write \"{}\"", network.trunc())))
        }
        network => Ok(network),
    }
}

/// A network of proxies. One that everybody is in is no boundary.
pub(super) fn proxy_network(text: &str) -> Result<IpNet, Complaint> {
    match network(text)? {
        everybody if everybody.prefix_len() == 0 => {
            Err(Complaint::new(format!("`{text}` would have every client claim any address"))
                .help("name the addresses of the proxies alone, such as \"192.0.2.1/32\""))
        }
        network => Ok(network),
    }
}

/// A secret of 128 bits in hexadecimal. It is not repeated in the complaint.
pub(super) fn cookie_secret(text: &str) -> Result<CookieSecret, Complaint> {
    let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let secret = u128::from_str_radix(text, 16).ok().filter(|_| hex);
    secret.map(|secret| CookieSecret(Zeroizing::new(secret.to_be_bytes()))).ok_or_else(|| {
        Complaint::new("a cookie secret is 32 hexadecimal digits")
            .help("make one with `openssl rand -hex 16`, the same for all servers of the zone")
    })
}

/// Whether only this host reaches the address.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// `90s`, `10m`, `12h`, `7d`; a number alone is seconds.
pub(super) fn duration(text: &str) -> Result<u64, Complaint> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|digits| digits.parse::<u64>().ok());
    number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)).ok_or_else(|| {
        Complaint::new(format!("`{text}` is not a duration"))
            .help("write a whole number and s, m, h or d, such as \"90s\" or \"7d\"")
    })
}

/// The name of a zone or of an `_acme-challenge` node: letters, digits, hyphens, underscores.
pub(super) fn domain_name(text: &str) -> Result<Name, Complaint> {
    name(text, "_", "a domain name")
}

/// A host name (RFC 1123 section 2.1).
pub(super) fn host_name(text: &str) -> Result<Name, Complaint> {
    name(text, "", "a host name")
}

/// A name of letters, digits, hyphens and the characters `also`. `what`: what it is meant to be.
pub(super) fn name(text: &str, also: &str, what: &str) -> Result<Name, Complaint> {
    let refuse = |why: String| Complaint::new(format!("`{text}` is not {what}: {why}"));
    if text.parse::<IpAddr>().is_ok() {
        return Err(refuse("it is an IP address".into()));
    }
    if !text.is_ascii() {
        return Err(refuse("it has letters outside ASCII".into())
            .help("write international labels in their A-label form, which begins with `xn--`"));
    }
    let labels: Vec<&str> = text.strip_suffix('.').unwrap_or(text).split('.').collect();
    for label in &labels {
        let letter = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
        if label.is_empty() {
            return Err(refuse(if text.is_empty() { "it is empty".into() } else { "a label is empty".into() }));
        }
        if let Some(bad) = label.chars().find(|c| !letter(*c) && *c != '-') {
            return Err(refuse(format!("`{bad}` cannot be part of it")));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(refuse(format!("the label `{label}` begins or ends with a hyphen")));
        }
    }
    if labels.last().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(refuse("the last label is a number".into()));
    }
    Name::parse(text).map_err(|error| refuse(error.to_string()))
}

/// The name of a certificate, which is a folder's name too.
pub(super) fn folder_name(text: &str) -> Result<String, Complaint> {
    let letter = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let why = match () {
        () if text.is_empty() => "it is empty",
        () if text.len() > MAX_LABEL => "it has more than 100 characters",
        () if text.starts_with('.') => "it begins with a dot",
        () if !text.chars().all(letter) => "only letters, digits, `.`, `-` and `_` can be part of it",
        () => return Ok(text.to_owned()),
    };
    Err(Complaint::new(format!("`{text}` cannot be the name of a folder: {why}")))
}

/// Some text for people and for the store, on one line.
pub(super) fn plain_name(text: &str) -> Result<String, Complaint> {
    let good = (1..=MAX_LABEL).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control);
    let complaint =
        || Complaint::new("a name has 1 to 100 characters, no white space at its ends and no control characters");
    good.then(|| text.to_owned()).ok_or_else(complaint)
}

/// The name of a user or group of some system; whether it exists is not asked here.
pub(super) fn account_name(text: &str) -> Result<String, Complaint> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || ":/".contains(c);
    let why = match () {
        () if text.is_empty() => "it is empty",
        () if text.len() > MAX_LABEL => "it has more than 100 characters",
        () if text.starts_with('-') => "it begins with a hyphen",
        () if text.contains(odd) => "it has white space, `:`, `/` or a control character in it",
        () if text.bytes().all(|byte| byte.is_ascii_digit()) => "it is a number",
        () => return Ok(text.to_owned()),
    };
    Err(Complaint::new(format!("`{text}` cannot be the name of a user or group: {why}")))
}

/// The URL of an ACME directory (RFC 8555 section 6.1: over HTTPS).
pub(super) fn directory_url(text: &str) -> Result<String, Complaint> {
    let refuse = |why: &str| {
        Complaint::new(format!("`{text}` is not the URL of an ACME directory: {why}"))
            .help("write it as the CA tells, such as \"https://acme-v02.api.letsencrypt.org/directory\"")
    };
    let url: http::Uri = text.parse().map_err(|_| refuse("it is no URL"))?;
    let authority = url.authority().ok_or_else(|| refuse("it does not begin with `https://`"))?;
    match () {
        () if url.scheme_str() != Some("https") => Err(refuse("it does not begin with `https://`")),
        () if authority.host().is_empty() => Err(refuse("it has no host")),
        () if authority.as_str().contains('@') => Err(refuse("it has a user name in it")),
        () => Ok(text.to_owned()),
    }
}

/// `mailto:` and one address, nothing more (RFC 8555 section 7.3).
pub(super) fn contact_url(text: &str) -> Result<String, Complaint> {
    let is_address = |text: &str| {
        let odd = |c: char| !c.is_ascii_graphic() || ",?<>".contains(c);
        let mut parts = text.split('@');
        let named =
            parts.next().is_some_and(|local| !local.is_empty()) && parts.next().is_some_and(|host| !host.is_empty());
        named && parts.next().is_none() && !text.contains(odd)
    };
    let complaint = Complaint::new(format!("`{text}` is not a `mailto:` URL with one address"));
    match text.strip_prefix("mailto:") {
        Some(address) if is_address(address) => Ok(text.to_owned()),
        None if is_address(text) => Err(complaint.help(format!("write \"mailto:{text}\""))),
        _ => Err(complaint.help("write \"mailto:hostmaster@example.org\"")),
    }
}

/// Whether the file holds a certificate in PEM, and nothing broken before it.
pub(super) fn holds_certificate(file: &Path) -> Result<(), Complaint> {
    let first = CertificateDer::pem_slice_iter(&pem_of(file)?).next();
    found(file, first.map(|found| found.map(drop)), "certificate", "CERTIFICATE")
}

/// Whether the file holds a private key in PEM.
pub(super) fn holds_private_key(file: &Path) -> Result<(), Complaint> {
    let first = PrivateKeyDer::pem_slice_iter(&pem_of(file)?).next();
    found(file, first.map(|found| found.map(drop)), "private key", "PRIVATE KEY")
}

fn pem_of(file: &Path) -> Result<Vec<u8>, Complaint> {
    octets_of(file).map_err(|why| unreadable(file, &why))
}

type PemItem = Option<Result<(), rustls::pki_types::pem::Error>>;

fn found(file: &Path, item: PemItem, what: &str, tag: &str) -> Result<(), Complaint> {
    let why = match item {
        Some(Ok(())) => return Ok(()),
        Some(Err(error)) => format!("`{}` is not PEM: {error}", file.display()),
        None => format!("`{}` holds no {what}", file.display()),
    };
    Err(Complaint::new(why).help(format!("a {what} in PEM begins with `-----BEGIN {tag}-----`")))
}

/// A file named in the configuration that cannot be read.
pub(super) fn unreadable(file: &Path, why: &str) -> Complaint {
    Complaint::new(format!("`{}` {why}", file.display()))
        .help("a path is relative to the folder of this configuration file")
}

/// A path of the file, absolute; `folder/..` is left out of it.
pub(super) fn relative(base: &Path, text: &str) -> Result<PathBuf, Complaint> {
    if text.is_empty() {
        return Err(Complaint::new("a path cannot be empty"));
    }
    let mut path = base.to_owned();
    for part in Path::new(text).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    Ok(path)
}
