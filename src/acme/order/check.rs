//! The self-check: are the published values seen, before the CA is told to look?
//!
//! A failed validation is final and counts against rate limits, so the CA is told only when (1) our own listeners give
//! the values, over UDP and TCP; (2) the CNAMEs of the challenge name still end where the values are, and the resolver
//! sees them; (3) no name server of the zone gives another answer, over UDP or TCP. A name server that cannot be reached
//! only gets a warning when the resolver sees the values: our own public address often cannot be reached from inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::delegation::Place;
use crate::resolve::{Answer, AskError, Chain, Code, ResolveError, Resolver, Transport, ask};
use crate::zone::{Name, TxtValue};

/// How long the resolver has to see a value; it may have cached that there was none.
pub const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What it means that a name server answers over UDP alone (RFC 7766 section 5).
const TCP_MATTERS: &str = "Let's Encrypt uses TCP when an answer is long, and some CAs use TCP alone, so validation may fail: open TCP port 53";

/// Where this server listens for DNS.
#[derive(Clone, Debug, Default)]
pub struct OwnListeners {
    /// As bound: with the real port. Unspecified addresses are asked over loopback.
    pub dns: Vec<SocketAddr>,
}

/// Why the CA is not told to validate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    #[error("our own listener does not give the value: {0}")]
    OwnSilent(AskError),
    #[error("our own listener {server} gives {seen} for {name} over {transport}, not the published value")]
    OwnWrong { server: SocketAddr, transport: Transport, name: Name, seen: String },
    #[error(
        "the resolver sees {seen} at {challenge}, not the published value, after {} s: check the delegation {way}",
        patience.as_secs()
    )]
    NotSeen { challenge: Name, way: String, seen: String, patience: Duration },
    #[error("the way to the value was {way}, now it is {chain}: make the record `{record}`")]
    Elsewhere { chain: Chain, way: String, record: String },
    #[error("cannot see the value as a CA would: {0}")]
    Resolver(ResolveError),
    #[error(
        "the name server {server} ({host}) of {zone} gives {seen} for {name} over {transport}: it is not this server, or it \
         is not up to date"
    )]
    ServerWrong { server: SocketAddr, host: Name, zone: Name, transport: Transport, name: Name, seen: String },
}

/// The values that must be seen at a place.
pub struct Expected<'a> {
    pub place: &'a Place,
    pub values: Vec<String>,
}

/// Checks every place; tells each step. The resolver gets `patience` to see all values.
pub async fn check(
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
        let (led_away, outcome) = tokio::join!(led_away(expected.place, resolver), resolver.txt(challenge));
        if let (None, Ok(answer)) = (&led_away, &outcome)
            && holds(answer, &expected.values)
        {
            return Ok(());
        }
        if Instant::now() + wait > deadline {
            if let Some(error) = led_away {
                return Err(error);
            }
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

/// Where the CNAMEs of the challenge name end, if not where the value is: they may have been changed meanwhile.
async fn led_away(place: &Place, resolver: &Resolver) -> Option<CheckError> {
    let Place { challenge, target, way, .. } = place;
    // What cannot be followed is not seen either, and that is told.
    let chain = resolver.follow_cname(challenge, |name| name == target).await.ok()?;
    let record = format!("{challenge}. IN CNAME {target}.");
    (chain.last() != target).then(|| CheckError::Elsewhere { chain, way: way.clone(), record })
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

/// Asks all of these servers over UDP and TCP; warnings for those that do not answer.
async fn compare(expected: &Expected<'_>, servers: Vec<(Name, SocketAddr)>) -> Result<Vec<String>, CheckError> {
    let Place { zone, target, .. } = expected.place;
    let both = |server: SocketAddr| async move {
        tokio::join!(ask(server, target, Transport::Udp), ask(server, target, Transport::Tcp))
    };
    let answers = join_all(servers.iter().map(|(_, server)| both(*server))).await;
    let mut warnings = Vec::new();
    for ((host, server), (udp, tcp)) in servers.into_iter().zip(answers) {
        for (transport, answer) in [(Transport::Udp, &udp), (Transport::Tcp, &tcp)] {
            if let Ok(answer) = answer
                && !holds(answer, &expected.values)
            {
                let (zone, name) = (zone.clone(), target.clone());
                return Err(CheckError::ServerWrong { server, host, zone, transport, name, seen: seen(answer) });
            }
        }
        match (udp, tcp) {
            (Ok(_), Ok(_)) => {}
            (Ok(_), Err(error)) => warnings.push(format!("{host}: {error}; {TCP_MATTERS}")),
            (Err(error), Ok(_)) => warnings.push(format!("{host}: {error}; CAs ask over UDP first: open UDP port 53")),
            (Err(udp), Err(tcp)) => warnings.push(format!("{host}: {udp}; {tcp}")),
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        // In a zone of ours.
        let place = Place { target: place.challenge.clone(), ..place };
        let expected = [Expected { place: &place, values: vec!["value".into()] }];
        let patience = Duration::from_millis(1500);
        let checked = check(&expected, &OwnListeners::default(), &Resolver::new(&[server]), patience, &|_| ()).await;
        let (challenge, seen) = (place.challenge.clone(), "no TXT record".to_owned());
        assert_eq!(checked, Err(CheckError::NotSeen { challenge, way: "way".into(), seen, patience }));
    }

    #[tokio::test]
    async fn a_cname_that_was_taken_away_meanwhile_stops_the_attempt_and_is_named() {
        let (place, server) = (place(), empty_handed(RESOLVER).await);
        let expected = [Expected { place: &place, values: vec!["value".into()] }];
        let patience = Duration::from_millis(500);
        let checked = check(&expected, &OwnListeners::default(), &Resolver::new(&[server]), patience, &|_| ()).await;
        assert_eq!(
            checked.unwrap_err().to_string(),
            "the way to the value was way, now it is _acme-challenge.a.test: make the record \
             `_acme-challenge.a.test. IN CNAME x.acme.test.`"
        );
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

    /// A server that gives these values with authority over UDP, and with `tcp` others over TCP. The place where it
    /// listens is there for both, so that it is refused over TCP without.
    async fn server(udp: Option<&'static str>, tcp: Option<&'static str>) -> SocketAddr {
        // A port that is free for both.
        let (socket, listener) = loop {
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(listener) = tokio::net::TcpListener::bind(socket.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
                if let Some(value) = udp {
                    socket.send_to(&with_value(&buffer[..len], value), from).await.unwrap();
                }
            }
        });
        if let Some(value) = tcp {
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                    stream.read_exact(&mut question).await.unwrap();
                    let reply = with_value(&question, value);
                    stream.write_u16(reply.len() as u16).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            });
        }
        address
    }

    /// An answer with authority: the question without its EDNS record (the last 11 octets), and one TXT record.
    fn with_value(question: &[u8], value: &str) -> Vec<u8> {
        let mut reply = question[..question.len() - 11].to_vec();
        reply[2..4].copy_from_slice(&AUTHORITY);
        reply[7] = 1;
        reply[11] = 0;
        let len = value.len() as u8;
        reply.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0, len + 1, len]);
        reply.extend_from_slice(value.as_bytes());
        reply
    }

    async fn compared(server: SocketAddr) -> Result<Vec<String>, CheckError> {
        let place = place();
        compare(&Expected { place: &place, values: vec!["value".into()] }, vec![(name("ns2.test"), server)]).await
    }

    #[tokio::test]
    async fn name_servers_are_asked_over_udp_and_tcp() {
        assert_eq!(compared(server(Some("value"), Some("value")).await).await, Ok(Vec::new()));
        for (udp, tcp, transport) in [
            (Some("other"), Some("value"), Transport::Udp),
            (Some("value"), Some("other"), Transport::Tcp),
            (None, Some("other"), Transport::Tcp),
            (Some("other"), None, Transport::Udp),
        ] {
            let server = server(udp, tcp).await;
            let error = compared(server).await.unwrap_err();
            let (host, zone, name, seen) =
                (name("ns2.test"), name("acme.test"), name("x.acme.test"), "\"other\"".into());
            assert_eq!(error, CheckError::ServerWrong { server, host, zone, transport, name, seen });
            let words = format!("{server} (ns2.test) of acme.test gives \"other\" for x.acme.test over {transport}");
            assert!(error.to_string().contains(&words), "{error}");
        }
    }

    #[tokio::test]
    async fn a_name_server_without_one_transport_gets_a_warning_rfc7766_5() {
        for (udp, tcp, told) in [
            (Some("value"), None, ["does not answer over TCP", "Let's Encrypt uses TCP when an answer is long"]),
            (None, Some("value"), ["does not answer over UDP", "open UDP port 53"]),
        ] {
            let warnings = compared(server(udp, tcp).await).await.unwrap();
            assert!(matches!(&warnings[..], [one] if told.iter().all(|told| one.contains(told))), "{warnings:?}");
        }
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
            let transport = Transport::Udp;
            assert_eq!(wrong, Err(CheckError::ServerWrong { server, host, zone, transport, name, seen: seen.into() }));
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
