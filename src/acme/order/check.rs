//! The self-check: are the published values seen, before the CA is told to look?
//!
//! A failed validation is final and counts against rate limits, so the CA is told only when (1) our own listeners give
//! the values, over UDP and TCP; (2) the CNAMEs of the challenge name still end where the values are, and the resolver
//! sees them; (3) no name server of the zone, in its parent's words or its own, gives another answer, over UDP or TCP.
//! A name server that cannot be reached only gets a warning when the resolver sees the values: our own public address
//! often cannot be reached from inside.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::delegation::Place;
use super::servers::{self, Server, reachable};
use crate::resolve::{Answer, AskError, Chain, Code, ResolveError, Resolver, Transport, ask};
use crate::zone::{Name, TxtValue};

/// How long the resolver has to see a value; it may have cached that there was none.
pub const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Questions that one server is asked at the same time.
const AT_ONCE: usize = 16;

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
    #[error("our own listener does not give the value: {0}; see whether a firewall is in the way of `[dns] listen`")]
    OwnSilent(AskError),
    #[error("our own listener {server} gives {seen} for {name} over {transport}, not the published value")]
    OwnWrong { server: SocketAddr, transport: Transport, name: Name, seen: String },
    #[error(
        "the resolver sees {seen} at {challenge}, not the published value, after {} s: what leads there is {records}; \
         the servers that it means have to be this one",
        patience.as_secs()
    )]
    NotSeen { challenge: Name, records: String, seen: String, patience: Duration },
    #[error("the way to the value was {way}, now it is {chain}: make the record `{record}`")]
    Elsewhere { chain: Chain, way: String, record: String },
    #[error("cannot see the value as a CA would: {error}; {remedy}")]
    Resolver { error: ResolveError, remedy: String },
    #[error(
        "the name server {at} ({host}) of {zone} gives {seen} for {name} over {transport}: it is not this server, or it \
         is not up to date; a CA may ask it, so bring it up to date or remove {record}",
        at = server.at, host = server.host, record = server.record
    )]
    ServerWrong { server: Box<Server>, zone: Name, transport: Transport, name: Name, seen: String },
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
    for some in expected.chunks(AT_ONCE) {
        first_error(join_all(some.iter().map(|one| own_listeners(one, own))).await)?;
    }
    for some in expected.chunks(AT_ONCE) {
        let seen = some.iter().map(|one| seen_by_resolver(one, resolver, patience, deadline));
        first_error(join_all(seen).await)?;
        some.iter().for_each(|one| tell(format!("{} is seen by the resolver", one.place.challenge)));
    }
    let mut notes = Vec::new();
    let asked = name_servers(expected, own, resolver, &mut notes).await;
    let mut outcome = Ok(());
    for some in asked.chunks(AT_ONCE) {
        let answers = join_all(some.iter().map(|(at, meant)| compare(*at, meant))).await;
        outcome = outcome.and(first_error(answers.into_iter().map(|answer| answer.map(|told| notes.extend(told)))));
    }
    // What is known of a wrong server is of use with the others.
    for note in notes {
        tell(format!("note: {note}"));
    }
    outcome
}

fn first_error(outcomes: impl IntoIterator<Item = Result<(), CheckError>>) -> Result<(), CheckError> {
    outcomes.into_iter().fold(Ok(()), Result::and)
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
                    records: records(expected.place, resolver).await,
                    seen: seen(&answer),
                    patience,
                },
                Err(error) => {
                    let remedy = remedy(&error, expected.place, resolver).await;
                    CheckError::Resolver { error, remedy }
                }
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

/// The records that lead from the challenge name to the value.
async fn records(place: &Place, resolver: &Resolver) -> String {
    let Place { challenge, target, zone, .. } = place;
    let mut text = String::new();
    if challenge != target {
        text = format!("`{challenge}. IN CNAME {target}.` and ");
    }
    match resolver.ns(zone).await {
        Ok(answer) if !answer.records.is_empty() => {
            for (index, host) in answer.records.iter().enumerate() {
                let separator = if index == 0 { "" } else { ", " };
                // Writing to a String does not fail.
                let _ = write!(text, "{separator}`{zone}. IN NS {host}.`");
            }
            text
        }
        _ => format!("{text}`{zone}. IN NS …`, of which none is found"),
    }
}

/// What to do about a resolver without an answer.
async fn remedy(error: &ResolveError, place: &Place, resolver: &Resolver) -> String {
    match error {
        ResolveError::NoResolver(_) | ResolveError::NoAnswer { .. } => {
            "see that it runs, or name another one in `[resolver] nameservers`".into()
        }
        ResolveError::Loop(_) | ResolveError::ChainTooLong(_) => {
            format!("make the record `{}. IN CNAME {}.`", place.challenge, place.target)
        }
        ResolveError::Failed { .. } | ResolveError::Bogus { .. } => {
            format!("what leads there is {}; the servers that it means have to answer", records(place, resolver).await)
        }
    }
}

/// A server and what a value is expected of it for.
type Meant<'a> = Vec<(Server, &'a Expected<'a>)>;

/// All name servers of the zones of all places, each address once.
async fn name_servers<'a>(
    expected: &'a [Expected<'a>],
    own: &OwnListeners,
    resolver: &Resolver,
    notes: &mut Vec<String>,
) -> Vec<(SocketAddr, Meant<'a>)> {
    let mut zones: Vec<&Name> = expected.iter().map(|one| &one.place.zone).collect();
    zones.sort_unstable();
    zones.dedup();
    let mut asked: Vec<(SocketAddr, Meant<'a>)> = Vec::new();
    for some in zones.chunks(AT_ONCE) {
        let found = join_all(some.iter().map(|zone| servers::of_zone(zone, own, resolver))).await;
        for (zone, (servers, more)) in some.iter().zip(found) {
            notes.extend(more);
            for server in servers {
                let here = expected.iter().filter(|one| one.place.zone == **zone).map(|one| (server.clone(), one));
                match asked.iter_mut().find(|(at, _)| *at == server.at) {
                    Some((_, meant)) => meant.extend(here),
                    None => asked.push((server.at, here.collect())),
                }
            }
        }
    }
    asked
}

/// Asks a server for all values that it should have, over UDP and TCP; a warning if it does not answer.
async fn compare(at: SocketAddr, meant: &[(Server, &Expected<'_>)]) -> Result<Option<String>, CheckError> {
    let (udp, tcp) = tokio::join!(over(at, meant, Transport::Udp), over(at, meant, Transport::Tcp));
    let host = meant.first().map_or_else(Name::root, |(server, _)| server.host.clone());
    Ok(match (udp?, tcp?) {
        (None, None) => None,
        (None, Some(error)) => Some(format!("{host}: {error}; {TCP_MATTERS}")),
        (Some(error), None) => Some(format!("{host}: {error}; CAs ask over UDP first: open UDP port 53")),
        (Some(udp), Some(tcp)) => Some(format!("{host}: {udp}; {tcp}")),
    })
}

/// Why the server does not answer, if so. One that cannot be reached is asked once, not once for each value.
async fn over(
    at: SocketAddr,
    meant: &[(Server, &Expected<'_>)],
    transport: Transport,
) -> Result<Option<AskError>, CheckError> {
    let (first, others) = meant.split_at(meant.len().min(1));
    let mut silent = None;
    for some in std::iter::once(first).chain(others.chunks(AT_ONCE)) {
        let answers = join_all(some.iter().map(|(_, one)| ask(at, &one.place.target, transport))).await;
        for ((server, one), answer) in some.iter().zip(answers) {
            let answer = match answer {
                Ok(answer) => answer,
                // Some resolvers take what comes without authority.
                Err(error) => match &error {
                    AskError::NoAuthority { code: Code::NoError, records, .. } if !records.is_empty() => {
                        let answer = Answer { code: Code::NoError, records: records.clone() };
                        silent.get_or_insert(error);
                        answer
                    }
                    _ => {
                        silent.get_or_insert(error);
                        continue;
                    }
                },
            };
            if !holds(&answer, &one.values) {
                let (zone, name) = (one.place.zone.clone(), one.place.target.clone());
                let (server, seen) = (Box::new(server.clone()), seen(&answer));
                return Err(CheckError::ServerWrong { server, zone, transport, name, seen });
            }
        }
        if let Some(AskError::Unreachable { .. }) = silent {
            break;
        }
    }
    Ok(silent)
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
        let records = "`acme.test. IN NS …`, of which none is found".to_owned();
        assert_eq!(checked, Err(CheckError::NotSeen { challenge, records, seen, patience }));
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
        let words =
            ["TXT of _acme-challenge.a.test: SERVFAIL; ", "`_acme-challenge.a.test. IN CNAME x.acme.test.`", " IN NS "];
        assert!(words.iter().all(|words| error.contains(words)), "{error}");
    }

    /// A server that gives these values with authority over UDP, and with `tcp` others over TCP. The place where it
    /// listens is there for both, so that it is refused over TCP without.
    async fn server(udp: Option<&'static str>, tcp: Option<&'static str>) -> SocketAddr {
        answering(AUTHORITY, udp, tcp).await
    }

    /// The same with these flags.
    async fn answering(flags: [u8; 2], udp: Option<&'static str>, tcp: Option<&'static str>) -> SocketAddr {
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
                    socket.send_to(&with_value(&buffer[..len], flags, value), from).await.unwrap();
                }
            }
        });
        if let Some(value) = tcp {
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                    stream.read_exact(&mut question).await.unwrap();
                    let reply = with_value(&question, flags, value);
                    stream.write_u16(reply.len() as u16).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            });
        }
        address
    }

    /// An answer: the question without its EDNS record (the last 11 octets), and one TXT record.
    fn with_value(question: &[u8], flags: [u8; 2], value: &str) -> Vec<u8> {
        let mut reply = question[..question.len() - 11].to_vec();
        reply[2..4].copy_from_slice(&flags);
        reply[7] = 1;
        reply[11] = 0;
        let len = value.len() as u8;
        reply.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0, len + 1, len]);
        reply.extend_from_slice(value.as_bytes());
        reply
    }

    async fn compared(server: SocketAddr) -> Result<Option<String>, CheckError> {
        let place = place();
        let expected = Expected { place: &place, values: vec!["value".into()] };
        let meant = Server { host: name("ns2.test"), at: server, record: "`record`".into() };
        compare(server, &[(meant, &expected)]).await
    }

    #[tokio::test]
    async fn name_servers_are_asked_over_udp_and_tcp() {
        assert_eq!(compared(server(Some("value"), Some("value")).await).await, Ok(None));
        for (udp, tcp, transport) in [
            (Some("other"), Some("value"), Transport::Udp),
            (Some("value"), Some("other"), Transport::Tcp),
            (None, Some("other"), Transport::Tcp),
            (Some("other"), None, Transport::Udp),
        ] {
            let server = server(udp, tcp).await;
            let error = compared(server).await.unwrap_err();
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
            let warning = compared(server(udp, tcp).await).await.unwrap().unwrap();
            assert!(told.iter().all(|told| warning.contains(told)), "{warning}");
        }
    }

    #[tokio::test]
    async fn a_wrong_answer_of_a_name_server_stops_the_attempt() {
        // NOERROR without records, and NXDOMAIN.
        for (flags, seen) in [([0x84, 0], "no TXT record"), ([0x84, 3], "NXDOMAIN")] {
            let at = empty_handed(flags).await;
            let server = Box::new(Server { host: name("ns2.test"), at, record: "`record`".into() });
            let (zone, name, transport, seen) =
                (name("acme.test"), name("x.acme.test"), Transport::Udp, seen.to_owned());
            assert_eq!(compared(at).await, Err(CheckError::ServerWrong { server, zone, transport, name, seen }));
        }
    }

    #[tokio::test]
    async fn name_servers_that_do_not_answer_for_the_zone_only_get_a_warning() {
        // Nobody; one that refuses; a router that asks elsewhere and remembers.
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let servers = [nobody, empty_handed([0x80, 5]).await, empty_handed(RESOLVER).await];
        for (server, told) in servers.into_iter().zip(["does not answer", "REFUSED", "without authority"]) {
            let warning = compared(server).await.unwrap().unwrap();
            assert!(warning.starts_with("ns2.test: 127.0.0.1:") && warning.contains(told), "{warning}");
        }
    }

    #[tokio::test]
    async fn another_value_without_authority_stops_the_attempt() {
        for (value, outcome) in
            [("other", Err("gives \"other\" for x.acme.test over UDP")), ("value", Ok("without authority"))]
        {
            let server = answering(RESOLVER, Some(value), Some(value)).await;
            match (compared(server).await, outcome) {
                (Ok(Some(said)), Ok(told)) => assert!(said.contains(told), "{said}"),
                (Err(error), Err(told)) => assert!(error.to_string().contains(told), "{error}"),
                (outcome, _) => panic!("{value}: {outcome:?}"),
            }
        }
    }
}
