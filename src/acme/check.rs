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
const PATIENCE: Duration = Duration::from_secs(60);
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
        PATIENCE.as_secs()
    )]
    NotSeen { challenge: Name, way: String, seen: String },
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

/// Checks every place; tells each step.
pub(super) async fn check(
    expected: &[Expected<'_>],
    own: &OwnListeners,
    resolver: &Resolver,
    tell: &impl Fn(String),
) -> Result<(), CheckError> {
    let deadline = Instant::now() + PATIENCE;
    for one in expected {
        own_listeners(one, own).await?;
    }
    for one in expected {
        seen_by_resolver(one, resolver, deadline).await?;
        tell(format!("{} is seen by the resolver", one.place.challenge));
    }
    for one in expected {
        for warning in name_servers(one, own, resolver).await? {
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

async fn seen_by_resolver(expected: &Expected<'_>, resolver: &Resolver, deadline: Instant) -> Result<(), CheckError> {
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
                },
                Err(error) => CheckError::Resolver(error),
            });
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Asks the name servers of the zone, each at every address; warnings for those that cannot be asked.
async fn name_servers(
    expected: &Expected<'_>,
    own: &OwnListeners,
    resolver: &Resolver,
) -> Result<Vec<String>, CheckError> {
    let Place { zone, target, .. } = expected.place;
    let hosts = match resolver.ns(zone).await {
        Ok(answer) => answer.records,
        Err(error) => return Ok(vec![format!("the name servers of {zone} are not known: {error}")]),
    };
    let mut warnings = Vec::new();
    let mut servers = Vec::new();
    for host in hosts {
        match resolver.addresses(&host).await {
            Ok(addresses) => {
                let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 53));
                servers
                    .extend(addresses.filter(|server| !own.dns.contains(server)).map(|server| (host.clone(), server)));
            }
            Err(error) => warnings.push(format!("the addresses of {host} are not known: {error}")),
        }
    }
    // No CA can reach a loopback address: whoever listens there is not what the NS record means.
    servers.retain(|(_, server)| !server.ip().is_loopback() && !server.ip().is_unspecified());
    let answers = join_all(servers.iter().map(|(_, server)| ask(*server, target, Transport::Udp))).await;
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
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
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

    /// Answers one UDP question with its own octets as a reply without records.
    async fn empty_handed() -> SocketAddr {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            buffer[2] |= 0x80;
            socket.send_to(&buffer[..len], from).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_listener_without_the_value_stops_the_attempt() {
        let name = |text: &str| Name::parse(text).unwrap();
        let place = Place {
            domain: name("a.test"),
            challenge: name("_acme-challenge.a.test"),
            target: name("x.acme.test"),
            kept_at: name("x.acme.test"),
            zone: name("acme.test"),
            way: String::new(),
        };
        let server = empty_handed().await;
        let expected = [Expected { place: &place, values: vec!["value".into()] }];
        let own = OwnListeners { dns: vec![server] };
        // Nobody is asked beyond the listener.
        let resolver = Resolver::new(&["127.0.0.1:9".parse().unwrap()]);
        let error = check(&expected, &own, &resolver, &|_| ()).await.unwrap_err();
        let (name, seen) = (name("x.acme.test"), "no TXT record".to_owned());
        assert_eq!(error, CheckError::OwnWrong { server, transport: Transport::Udp, name, seen });
    }
}
