//! The self-check: are the published values seen, before the CA is told to look?
//!
//! A failed validation is final and counts against rate limits, so the CA is told only when (1) our own listeners give
//! the values, over UDP and TCP; (2) the resolver sees them at the challenge name; (3) no name server of the zone gives
//! another answer. A name server that cannot be reached only gets a warning when the resolver sees the values: our own
//! public address often cannot be reached from inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::delegation::Place;
use crate::resolve::{Answer, AskError, Code, ResolveError, Resolver, Transport, ask};
use crate::zone::{Name, TxtValue};

/// How long the resolver has to see a value; it may have cached that there was none.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Where this server listens for DNS.
#[derive(Clone, Debug, Default)]
pub struct OwnListeners {
    /// As bound: with the real port. Unspecified addresses are asked over loopback.
    pub dns: Vec<SocketAddr>,
}

/// Why the CA is not told to validate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CheckError {
    #[error("our own listener does not give the value: {0}")]
    OwnSilent(AskError),
    #[error("our own listener {server} gives {seen} for {name} over {transport}, not the published value")]
    OwnWrong { server: SocketAddr, transport: Transport, name: Name, seen: String },
    #[error(
        "the resolver sees {seen} at {challenge}, not the published value, after {} s: check the delegation {way}",
        patience.as_secs()
    )]
    NotSeen { challenge: Name, way: String, seen: String, patience: Duration },
    #[error("cannot see the value as a CA would: {0}")]
    Resolver(ResolveError),
    #[error(
        "the name server {server} ({host}) of {zone} gives {seen} for {name}: it is not this server, or it is not up to date"
    )]
    ServerWrong { server: SocketAddr, host: Name, zone: Name, name: Name, seen: String },
}

/// The values that must be seen at a place.
pub(super) struct Expected<'a> {
    pub(super) place: &'a Place,
    pub(super) values: Vec<String>,
}

/// Checks every place; tells each step. The resolver gets `patience` to see all values.
pub(super) async fn check(
    expected: &[Expected<'_>],
    own: &OwnListeners,
    resolver: &Resolver,
    patience: Duration,
    tell: &impl Fn(String),
) -> Result<(), CheckError> {
    let deadline = Instant::now() + patience;
    for one in expected {
        own_listeners(one, own).await?;
    }
    for one in expected {
        seen_by_resolver(one, resolver, patience, deadline).await?;
        tell(format!("{} is seen by the resolver", one.place.challenge));
    }
    for one in expected {
        let (servers, mut warnings) = name_servers(&one.place.zone, own, resolver).await;
        warnings.append(&mut compare(one, servers).await?);
        for warning in warnings {
            tell(format!("note: {warning}"));
        }
    }
    Ok(())
}

async fn own_listeners(expected: &Expected<'_>, own: &OwnListeners) -> Result<(), CheckError> {
    let name = &expected.place.kept_at;
    for server in own.dns.iter().copied().map(reachable) {
        for transport in [Transport::Udp, Transport::Tcp] {
            let answer = ask(server, name, transport).await.map_err(CheckError::OwnSilent)?;
            if !holds(&answer, &expected.values) {
                return Err(CheckError::OwnWrong { server, transport, name: name.clone(), seen: seen(&answer) });
            }
        }
    }
    Ok(())
}

async fn seen_by_resolver(
    expected: &Expected<'_>,
    resolver: &Resolver,
    patience: Duration,
    deadline: Instant,
) -> Result<(), CheckError> {
    let challenge = &expected.place.challenge;
    let mut wait = FIRST_WAIT;
    loop {
        let outcome = resolver.txt(challenge).await;
        if let Ok(answer) = &outcome
            && holds(answer, &expected.values)
        {
            return Ok(());
        }
        if Instant::now() + wait > deadline {
            return Err(match outcome {
                Ok(answer) => CheckError::NotSeen {
                    challenge: challenge.clone(),
                    way: expected.place.way.clone(),
                    seen: seen(&answer),
                    patience,
                },
                Err(error) => CheckError::Resolver(error),
            });
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The name servers of a zone, each with every address that others can reach and that is not one of our listeners;
/// and warnings for those that could not be found.
async fn name_servers(zone: &Name, own: &OwnListeners, resolver: &Resolver) -> (Vec<(Name, SocketAddr)>, Vec<String>) {
    let (mut servers, mut warnings) = (Vec::new(), Vec::new());
    let hosts = match resolver.ns(zone).await {
        Ok(answer) => answer.records,
        Err(error) => {
            warnings.push(format!("the name servers of {zone} are not known: {error}"));
            return (servers, warnings);
        }
    };
    for host in hosts {
        match resolver.addresses(&host).await {
            Ok(addresses) => servers.extend(addresses.into_iter().map(|ip| (host.clone(), SocketAddr::new(ip, 53)))),
            Err(error) => warnings.push(format!("the addresses of {host} are not known: {error}")),
        }
    }
    // No CA can reach a loopback address: whoever listens there is not what the NS record means.
    servers
        .retain(|(_, server)| !own.dns.contains(server) && !server.ip().is_loopback() && !server.ip().is_unspecified());
    (servers, warnings)
}

/// Asks all of these servers; warnings for those that do not answer.
async fn compare(expected: &Expected<'_>, servers: Vec<(Name, SocketAddr)>) -> Result<Vec<String>, CheckError> {
    let Place { zone, target, .. } = expected.place;
    let answers = join_all(servers.iter().map(|(_, server)| ask(*server, target, Transport::Udp))).await;
    let mut warnings = Vec::new();
    for ((host, server), answer) in servers.into_iter().zip(answers) {
        match answer {
            Ok(answer) if holds(&answer, &expected.values) => {}
            Ok(answer) => {
                let (zone, name) = (zone.clone(), target.clone());
                return Err(CheckError::ServerWrong { server, host, zone, name, seen: seen(&answer) });
            }
            Err(error) => warnings.push(format!("{host}: {error}")),
        }
    }
    Ok(warnings)
}

/// An address that we listen on, as one that we can ask.
fn reachable(mut listener: SocketAddr) -> SocketAddr {
    match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listener.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listener.set_ip(Ipv6Addr::LOCALHOST.into()),
        // A link-local address keeps its scope.
        _ => {}
    }
    listener
}

fn holds(answer: &Answer<TxtValue>, values: &[String]) -> bool {
    answer.code == Code::NoError
        && values.iter().all(|value| answer.records.iter().any(|record| record.octets() == value.as_bytes()))
}

/// What an answer holds, for people; at most three values of it.
fn seen(answer: &Answer<TxtValue>) -> String {
    match (&answer.code, answer.records.as_slice()) {
        (Code::NoError, []) => "no TXT record".into(),
        (Code::NoError, records) => {
            let shown: Vec<String> = records.iter().take(3).map(|value| format!("{value:.60?}")).collect();
            let more = if records.len() > 3 { format!(" and {} more", records.len() - 3) } else { String::new() };
            format!("{}{more}", shown.join(", "))
        }
        (code, _) => code.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: Code, values: &[&str]) -> Answer<TxtValue> {
        Answer { code, records: values.iter().map(|value| TxtValue::new(value.as_bytes()).unwrap()).collect() }
    }

    #[test]
    fn all_values_must_be_there_others_may() {
        let wanted = ["a".to_owned(), "b".to_owned()];
        assert!(holds(&answer(Code::NoError, &["old", "b", "a"]), &wanted));
        assert!(!holds(&answer(Code::NoError, &["a"]), &wanted));
        assert!(!holds(&answer(Code::NoSuchName, &[]), &wanted));
    }

    #[test]
    fn what_was_seen_is_told() {
        assert_eq!(seen(&answer(Code::NoError, &[])), "no TXT record");
        assert_eq!(seen(&answer(Code::NoSuchName, &[])), "NXDOMAIN");
        assert_eq!(seen(&answer(Code::NoError, &["a", "b", "c", "d"])), "\"a\", \"b\", \"c\" and 1 more");
    }

    #[test]
    fn listeners_on_all_addresses_are_asked_over_loopback() {
        assert_eq!(reachable("0.0.0.0:53".parse().unwrap()), "127.0.0.1:53".parse().unwrap());
        assert_eq!(reachable("[::]:53".parse().unwrap()), "[::1]:53".parse().unwrap());
        assert_eq!(reachable("192.0.2.1:53".parse().unwrap()), "192.0.2.1:53".parse().unwrap());
    }

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn place() -> Place {
        Place {
            domain: name("a.test"),
            challenge: name("_acme-challenge.a.test"),
            target: name("x.acme.test"),
            kept_at: name("x.acme.test"),
            zone: name("acme.test"),
            way: "way".into(),
        }
    }

    /// A name server without records: it answers with the octets of the question and these in place of its flags.
    async fn empty_handed(flags: [u8; 2]) -> SocketAddr {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
                buffer[2..4].copy_from_slice(&flags);
                socket.send_to(&buffer[..len], from).await.unwrap();
            }
        });
        address
    }

    /// QR and AA; with QR, RD and RA: a resolver's.
    const AUTHORITY: [u8; 2] = [0x84, 0];
    const RESOLVER: [u8; 2] = [0x81, 0x80];

    #[tokio::test]
    async fn a_listener_without_the_value_stops_the_attempt() {
        let (place, server) = (place(), empty_handed(AUTHORITY).await);
        let expected = [Expected { place: &place, values: vec!["value".into()] }];
        let own = OwnListeners { dns: vec![server] };
        // Nobody is asked beyond the listener.
        let resolver = Resolver::new(&["127.0.0.1:9".parse().unwrap()]);
        let error = check(&expected, &own, &resolver, PATIENCE, &|_| ()).await.unwrap_err();
        let (name, seen) = (name("x.acme.test"), "no TXT record".to_owned());
        assert_eq!(error, CheckError::OwnWrong { server, transport: Transport::Udp, name, seen });
    }

    #[tokio::test]
    async fn a_value_that_the_resolver_never_sees_stops_the_attempt() {
        let (place, server) = (place(), empty_handed(RESOLVER).await);
        let expected = [Expected { place: &place, values: vec!["value".into()] }];
        let patience = Duration::from_millis(1500);
        let checked = check(&expected, &OwnListeners::default(), &Resolver::new(&[server]), patience, &|_| ()).await;
        let (challenge, seen) = (place.challenge.clone(), "no TXT record".to_owned());
        assert_eq!(checked, Err(CheckError::NotSeen { challenge, way: "way".into(), seen, patience }));
    }

    #[tokio::test]
    async fn a_resolver_that_fails_stops_the_attempt() {
        let (place, server) = (place(), empty_handed([0x81, 0x82]).await);
        let expected = [Expected { place: &place, values: vec!["value".into()] }];
        let patience = Duration::from_millis(500);
        let checked = check(&expected, &OwnListeners::default(), &Resolver::new(&[server]), patience, &|_| ()).await;
        let error = checked.unwrap_err().to_string();
        assert!(error.contains("_acme-challenge.a.test") && error.contains("SERVFAIL"), "{error}");
    }

    #[tokio::test]
    async fn a_wrong_answer_of_a_name_server_stops_the_attempt() {
        let place = place();
        let expected = Expected { place: &place, values: vec!["value".into()] };
        // NOERROR without records, and NXDOMAIN.
        for (flags, seen) in [([0x84, 0], "no TXT record"), ([0x84, 3], "NXDOMAIN")] {
            let server = empty_handed(flags).await;
            let wrong = compare(&expected, vec![(name("ns2.test"), server)]).await;
            let (host, zone, name) = (name("ns2.test"), name("acme.test"), name("x.acme.test"));
            assert_eq!(wrong, Err(CheckError::ServerWrong { server, host, zone, name, seen: seen.into() }));
        }
    }

    #[tokio::test]
    async fn name_servers_that_do_not_answer_for_the_zone_only_get_a_warning() {
        let place = place();
        let expected = Expected { place: &place, values: vec!["value".into()] };
        // Nobody; one that refuses; a router that asks elsewhere and remembers.
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let servers = [nobody, empty_handed([0x80, 5]).await, empty_handed(RESOLVER).await];
        let warnings = compare(&expected, servers.map(|server| (name("ns2.test"), server)).into()).await.unwrap();
        let told = ["does not answer", "REFUSED", "without authority"];
        assert_eq!(warnings.len(), told.len(), "{warnings:?}");
        for (warning, told) in warnings.iter().zip(told) {
            assert!(warning.starts_with("ns2.test: 127.0.0.1:") && warning.contains(told), "{warning}");
        }
    }
}
