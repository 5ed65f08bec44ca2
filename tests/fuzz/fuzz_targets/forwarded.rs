//! Any lines of `X-Forwarded-For`: the request counts for its peer, or for an address of the list that has only trusted
//! proxies to its right.
//!
//! The input says first who the peer is.

#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use acmezone::config::{Api, ApiRateLimit};
use acmezone::door::{ClientAddress, Front};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const TRUSTED: [&str; 3] = ["10.0.0.0/8", "::1/128", "2001:db8:f::/48"];
const PEERS: [&str; 4] = ["10.0.0.1", "192.0.2.1", "2001:db8:f::1", "::ffff:10.0.0.1"];

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    let api = Api {
        trusted_proxies: TRUSTED.iter().map(|network| network.parse().expect("a network")).collect(),
        rate_limit: ApiRateLimit { requests_per_second: 0, ..ApiRateLimit::default() },
        ..Api::default()
    };
    Front::new(&api).before(Router::new().fallback(async |ClientAddress(client): ClientAddress| client.to_string()))
});
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));

fuzz_target!(|input: &[u8]| {
    let Some((peer, list)) = input.split_first() else { return };
    let peer: IpAddr = PEERS[usize::from(*peer) % PEERS.len()].parse().expect("an address");
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer, 4711)));
    let lines: Vec<_> = list.split(|octet| *octet == b'\n').collect();
    for line in &lines {
        let Ok(line) = HeaderValue::from_bytes(line) else { return };
        request.headers_mut().append("x-forwarded-for", line);
    }
    let client = RUNTIME.block_on(async {
        let response = ROUTER.clone().oneshot(request).await.expect("an answer");
        to_bytes(response.into_body(), usize::MAX).await.expect("a body")
    });
    let client: IpAddr = std::str::from_utf8(&client).expect("text").parse().expect("an address");

    // The peer is as if it stood at the end of the list.
    let mut seen: Vec<Option<IpAddr>> = lines.join(&b',').split(|octet| *octet == b',').map(address).collect();
    seen.push(Some(peer.to_canonical()));
    let proxies = seen.iter().rev().take_while(|seen| seen.is_some_and(trusted)).count();
    match seen[..seen.len() - proxies].last().copied().flatten() {
        // Somebody who is no proxy, seen by proxies alone.
        Some(stranger) => assert_eq!(client, stranger),
        // There is nobody, or nobody can say who: the last proxy that is known.
        None => assert_eq!(Some(client), seen[seen.len() - proxies]),
    }
});

fn trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.is_loopback() || address.segments()[..3] == [0x2001, 0xdb8, 0xf],
    }
}

/// The address in an element, with or without a port.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let address = match text.parse::<SocketAddr>() {
        Ok(with_port) => with_port.ip(),
        Err(_) if text.starts_with('[') && text.ends_with(']') => text[1..text.len() - 1].parse().ok()?,
        Err(_) => text.parse().ok()?,
    };
    Some(address.to_canonical())
}
