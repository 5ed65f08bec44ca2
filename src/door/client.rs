//! Which address a request counts for: that of the socket, or behind proxies the one that they saw.
//!
//! `X-Forwarded-For` is what a client claims, and to its right what each proxy adds. Only what a trusted proxy has added
//! can be believed, so the list is read from its end, up to the first address that is no trusted proxy: whatever stands
//! to the left of it was written by that stranger.

use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use ipnet::IpNet;

use super::guard::refused;

/// The header that proxies add the address of their client to.
pub(super) const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that a request counts for, in `allowfrom`, in logs and in rate limits. [`Front`](super::Front) finds it
/// out; a handler takes it as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<ClientAddress, Response> {
        // Without the front nobody can say which address counts.
        let internal = || refused(StatusCode::INTERNAL_SERVER_ERROR, "internal");
        parts.extensions.get().copied().ok_or_else(internal)
    }
}

/// Networks whose word about the client is believed.
#[derive(Clone, Debug, Default)]
pub(super) struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client of a request that came from `peer`: the right-most address of the header that is no trusted proxy. If
    /// all are, the left-most; if something there is no address, the last proxy before it.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
        let mut elements = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|octet| *octet == b','));
        while self.contain(client) {
            let Some(Some(address)) = elements.next().map(address) else { break };
            client = address;
        }
        client
    }
}

/// `192.0.2.1`, `192.0.2.1:1234`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:1234`.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    /// The client of a request from `peer` with these header lines, behind 10.0.0.0/8, ::1 and 2001:db8:f::/48.
    fn client(peer: &str, lines: &[&str]) -> String {
        let networks = ["10.0.0.0/8", "::1/128", "2001:db8:f::/48"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        TrustedProxies(networks.into()).client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_counts() {
        for (lines, expected) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["10.1.1.1, 203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1,203.0.113.9 ,10.0.0.2,\t10.0.0.3"], "203.0.113.9"),
            (&["198.51.100.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            (&["203.0.113.9, 10.0.0.2", "2001:db8:f::7"], "203.0.113.9"),
        ] {
            assert_eq!(client("10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn if_all_are_proxies_the_left_most_counts() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.9, 10.0.0.8", "10.0.0.7"]), "10.0.0.9");
    }

    #[test]
    fn a_peer_that_is_no_proxy_is_not_believed() {
        assert_eq!(client("192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
        assert_eq!(client("::2", &["10.0.0.1"]), "::2");
    }

    #[test]
    fn nothing_to_the_left_of_what_is_no_address_counts() {
        let bad =
            ["unknown", "", " ", "_hidden", "10.0.0", "10.0.0.1:99999", "[::1", "::1]", "[10.0.0.1]x", "\u{e9}", "a b"];
        for bad in bad {
            assert_eq!(client("10.0.0.1", &[&format!("203.0.113.9,{bad}")]), "10.0.0.1", "{bad:?}");
            assert_eq!(client("10.0.0.1", &["203.0.113.9", bad, "10.0.0.2"]), "10.0.0.2", "{bad:?}");
        }
    }

    #[test]
    fn addresses_may_carry_ports_and_brackets_and_be_mapped() {
        for (element, expected) in [
            ("192.0.2.1:1234", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[element]), expected);
        }
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:10.0.0.9", "192.0.2.1, [::ffff:10.0.0.2]:80"]), "192.0.2.1");
        assert_eq!(client("::ffff:192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
    }
}
