//! The proxy of `[acme]`, as a URL.

use std::net::IpAddr;

use http::uri::Authority;
use zeroize::Zeroizing;

use super::Proxy;
use super::read::Complaint;
use super::value::host_name;

const EXAMPLE: &str = "\"http://proxy.example.org:3128\", or \"http://user:password@proxy.example.org:3128\"";

/// `http://[user:password@]host:port`. Nothing of it is repeated in the complaint: it may hold a password.
pub(super) fn proxy(text: &str) -> Result<Proxy, Complaint> {
    let refuse =
        |why: &str| Complaint::new(format!("this is not the URL of a proxy: {why}")).help(format!("write {EXAMPLE}"));
    let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("it does not begin with `http://`"))?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(refuse("it does not begin with `http://`")
            .help("the proxy is asked to CONNECT over plain HTTP; what goes through is TLS all the way to the CA"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user_info, host) = match rest.rsplit_once('@') {
        Some((user_info, host)) => (Some(user_info), host),
        None => (None, rest),
    };
    if rest.contains(['/', '?', '#']) {
        return Err(refuse("it has more than a host and a port").help(
            "after the port there is nothing; `/`, `?` and `#` in a password are written as `%2F`, `%3F`, `%23`",
        ));
    }
    let authority: Authority = host.parse().map_err(|_| refuse("what should be a host and a port is none"))?;
    let port = authority.port_u16().filter(|port| *port != 0);
    let port = port.ok_or_else(|| refuse("it has no port from 1 to 65535"))?;
    if authority.host().is_empty() {
        return Err(refuse("it has no host"));
    }
    let credentials = user_info.map(|info| {
        let (user, password) = info.split_once(':').ok_or("it has a user name and no password")?;
        let user = decoded(user).ok_or("its user name has a `%` that is not followed by UTF-8")?;
        let password = decoded(password).ok_or("its password has a `%` that is not followed by UTF-8")?;
        // RFC 7617 section 2
        match () {
            () if user.is_empty() => Err("its user name is empty"),
            () if user.contains(':') => Err("its user name has a `:` in it"),
            () if (user.chars().chain(password.chars())).any(char::is_control) => Err("it has control characters"),
            () => Ok((user.to_string(), password)),
        }
    });
    let credentials = credentials.transpose().map_err(refuse)?;
    Ok(Proxy { url: format!("http://{}:{port}", authority.host()), credentials, except: Vec::new() })
}

/// A host that is reached without the proxy: a name, or an IP address.
pub(super) fn exception(text: &str) -> Result<String, Complaint> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => host_name(text).map(|name| name.to_string().to_ascii_lowercase()).map_err(|complaint| {
            complaint
                .help("write host names, which stand for all names below them too, and IP addresses without a port")
        }),
    }
}

/// Percent-encoded UTF-8 (RFC 3986 section 2.1).
fn decoded(text: &str) -> Option<Zeroizing<String>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        octets.push(u8::try_from(16 * digit(digits[0])? + digit(digits[1])?).ok()?);
        rest = after;
    }
    std::str::from_utf8(&octets).ok().map(|text| Zeroizing::new(text.to_owned()))
}
