//! Look-ups over the network: through a recursive resolver, as a CA does them, or at one name server directly.
//!
//! Nothing is cached here, because every question is about what has just changed. The system's resolver settings are
//! read anew for each question, so that they may change while the server runs.

mod caa;
mod extended_error;
mod server;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::rdata::DNSSECRData;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{self, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use crate::zone::{Name, TxtValue};
pub use caa::Caa;
use extended_error::ExtendedError;
pub use server::{AskError, Referral, Transport, ask, referral};

/// Longest CNAME chain that is followed; Unbound, which stands in front of Let's Encrypt, follows no longer one.
pub const MAX_CNAMES: usize = 11;
/// How long one question to a recursive resolver may take, and how often it is put.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(3);
const RESOLVER_ATTEMPTS: usize = 2;
/// Asks recursive resolvers. Cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    /// Empty: those of the system.
    servers: Vec<SocketAddr>,
    client: Arc<Mutex<Option<Client>>>,
}

struct Client {
    /// Whom it asks.
    servers: Vec<SocketAddr>,
    client: TokioResolver,
}

/// What somebody answered: a code, and the records of the type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    pub code: Code,
    pub records: Vec<T>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    NoError,
    /// NXDOMAIN: the name does not exist.
    NoSuchName,
    /// Any other RCODE, in words.
    Other(String),
}

/// A start of authority: who serves a zone (RFC 1035 section 3.3.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub mname: Name,
    pub rname: Name,
}

/// Names from the one that was asked for to the last one that was found; each is a CNAME to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    start: Name,
    rest: Vec<Name>,
}

/// Why a recursive resolver gave no answer. That a name or record does not exist is an [`Answer`], no error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("no resolver to ask: {0}")]
    NoResolver(String),
    /// It got none from the servers of the zone: SERVFAIL.
    #[error("the resolver gave no usable answer for {rtype} of {name}: {reason}")]
    Failed { name: Name, rtype: &'static str, reason: String },
    /// It is the resolver itself: nobody answers there, or it does not want to.
    #[error("our resolver does not answer for {rtype} of {name}: {reason}")]
    NoAnswer { name: Name, rtype: &'static str, reason: String },
    /// The resolver validates and says so (RFC 8914 section 4, codes 6 to 12).
    #[error(
        "the resolver does not believe the answer for {rtype} of {name}, because DNSSEC does not hold ({words}): mend the \
         signatures of the zone or the DS records at its parent"
    )]
    Bogus { name: Name, rtype: &'static str, words: String },
    #[error("the CNAMEs of {0} go round in a circle")]
    Loop(Name),
    #[error("{0} leads over more than {MAX_CNAMES} CNAMEs")]
    ChainTooLong(Name),
}

impl Resolver {
    /// A resolver that asks these servers, or those of the system if there are none.
    pub fn new(servers: &[SocketAddr]) -> Resolver {
        Resolver { servers: servers.to_vec(), client: Arc::default() }
    }

    /// Follows CNAMEs from `name` until a name for which `arrived` is true, or which is no CNAME.
    pub async fn follow_cname(&self, name: &Name, arrived: impl Fn(&Name) -> bool) -> Result<Chain, ResolveError> {
        let mut chain = Chain { start: name.clone(), rest: Vec::new() };
        while !arrived(chain.last()) {
            let Some(target) = self.cname(chain.last()).await? else { break };
            if chain.names().any(|known| *known == target) {
                return Err(ResolveError::Loop(name.clone()));
            }
            if chain.rest.len() == MAX_CNAMES {
                return Err(ResolveError::ChainTooLong(name.clone()));
            }
            chain.rest.push(target);
        }
        Ok(chain)
    }

    /// The target of the CNAME at `name`; `None` if there is none.
    async fn cname(&self, name: &Name) -> Result<Option<Name>, ResolveError> {
        let take = |record: &rr::Record| match &record.data {
            RData::CNAME(target) => from_hickory(&target.0),
            _ => None,
        };
        Ok(self.look_up(name, RecordType::CNAME, take).await?.records.into_iter().next())
    }

    /// The TXT values that a CA finds at `name`, over CNAMEs.
    pub async fn txt(&self, name: &Name) -> Result<Answer<TxtValue>, ResolveError> {
        self.look_up(name, RecordType::TXT, |record| txt_value(&record.data)).await
    }

    /// The start of authority at exactly `name`.
    pub async fn soa(&self, name: &Name) -> Result<Answer<Authority>, ResolveError> {
        let take = |record: &rr::Record| match &record.data {
            RData::SOA(soa) => Some(Authority { mname: from_hickory(&soa.mname)?, rname: from_hickory(&soa.rname)? }),
            _ => None,
        };
        self.look_up(name, RecordType::SOA, take).await
    }

    /// The name servers of the zone `name`.
    pub async fn ns(&self, name: &Name) -> Result<Answer<Name>, ResolveError> {
        let take = |record: &rr::Record| match &record.data {
            RData::NS(target) => from_hickory(&target.0),
            _ => None,
        };
        self.look_up(name, RecordType::NS, take).await
    }

    /// What the parent of the zone `name` has as its DS records (RFC 4034 section 5), in master-file form.
    pub async fn ds(&self, name: &Name) -> Result<Answer<String>, ResolveError> {
        let take = |record: &rr::Record| match &record.data {
            RData::DNSSEC(DNSSECRData::DS(ds)) => Some(ds.to_string()),
            _ => None,
        };
        self.look_up(name, RecordType::DS, take).await
    }

    /// IPv4 and IPv6 addresses of a host.
    pub async fn addresses(&self, host: &Name) -> Result<Vec<IpAddr>, ResolveError> {
        let take = |record: &rr::Record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        let (v4, v6) =
            tokio::join!(self.look_up(host, RecordType::A, take), self.look_up(host, RecordType::AAAA, take));
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok(v4.records.into_iter().chain(v6.records).collect()),
            // Some servers fail at one of the two types.
            (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.records.is_empty() => Ok(one.records),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn look_up<T>(
        &self,
        name: &Name,
        rtype: RecordType,
        take: impl Fn(&rr::Record) -> Option<T>,
    ) -> Result<Answer<T>, ResolveError> {
        let unanswered = |reason: String| ResolveError::NoAnswer { name: name.clone(), rtype: rtype.into(), reason };
        let question = to_hickory(name).map_err(unanswered)?;
        match self.client()?.lookup(question, rtype).await {
            Ok(found) => {
                let records = found.answers().iter().filter_map(take).collect();
                Ok(Answer { code: Code::from(found.message().metadata.response_code), records })
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                Ok(Answer { code: Code::from(none.response_code), records: Vec::new() })
            }
            // Why, hickory keeps to itself: the question is put once more.
            Err(NetError::Dns(DnsError::ResponseCode(code))) => {
                let more = self.reply(name, rtype).await.ok().and_then(|reply| reply.reason);
                Err(ResolveError::refused(name, rtype, code, more))
            }
            Err(error) => Err(unanswered(error.to_string())),
        }
    }

    /// The servers that are asked.
    fn servers(&self) -> Result<Vec<SocketAddr>, ResolveError> {
        if !self.servers.is_empty() {
            return Ok(self.servers.clone());
        }
        let (of_system, _) = read_system_conf().map_err(no_resolver)?;
        let port = |server: &NameServerConfig| server.connections.first().map_or(53, |connection| connection.port);
        Ok(of_system.name_servers().iter().map(|server| SocketAddr::new(server.ip, port(server))).collect())
    }

    /// A client for as long as the same servers are to be asked: making one costs more than a question.
    fn client(&self) -> Result<TokioResolver, ResolveError> {
        let servers = self.servers()?;
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.as_ref().filter(|known| known.servers == servers) {
            return Ok(known.client.clone());
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(name_server).collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = RESOLVER_TIMEOUT;
        options.attempts = RESOLVER_ATTEMPTS;
        options.cache_size = 0;
        options.edns0 = true;
        options.use_hosts_file = ResolveHosts::Never;
        // As random as the system's; hickory's own choice may be a port that somebody is about to listen on.
        options.os_port_selection = true;
        options.try_tcp_on_error = true;
        let client = builder.build().map_err(no_resolver)?;
        *kept = Some(Client { servers, client: client.clone() });
        Ok(client)
    }
}

impl ResolveError {
    /// What it means that a resolver answers with this code, for this reason.
    fn refused(name: &Name, rtype: RecordType, code: ResponseCode, more: Option<ExtendedError>) -> ResolveError {
        let (name, rtype, is_of_the_zone) = (name.clone(), rtype.into(), code == ResponseCode::ServFail);
        let code = Code::from(code);
        let reason = match more {
            Some(more) if more.is_dnssec() => return ResolveError::Bogus { name, rtype, words: more.to_string() },
            Some(more) => format!("{code} ({more})"),
            None => code.to_string(),
        };
        match is_of_the_zone {
            true => ResolveError::Failed { name, rtype, reason },
            false => ResolveError::NoAnswer { name, rtype, reason },
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("servers", &self.servers).finish_non_exhaustive()
    }
}

fn no_resolver(error: NetError) -> ResolveError {
    ResolveError::NoResolver(error.to_string())
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = vec![with_port(ConnectionConfig::udp()), with_port(ConnectionConfig::tcp())];
    NameServerConfig::new(server.ip(), true, connections)
}

impl Chain {
    /// The name at which the chain ends.
    pub fn last(&self) -> &Name {
        self.rest.last().unwrap_or(&self.start)
    }

    /// All names, the first is the one that was asked for.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.start).chain(&self.rest)
    }

    /// Whether the name that was asked for is no CNAME.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// `a → CNAME → b`.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(" → CNAME → ")?;
            }
            write!(f, "{name}")?;
        }
        Ok(())
    }
}

/// The value of a TXT record: its character-strings joined, as a CA joins them.
fn txt_value(data: &RData) -> Option<TxtValue> {
    match data {
        // A value that is too long for us is none that we published.
        RData::TXT(txt) => TxtValue::new(&txt.txt_data.concat()).ok(),
        _ => None,
    }
}

fn to_hickory(name: &Name) -> Result<rr::Name, String> {
    let mut converted = rr::Name::from_labels(name.labels()).map_err(|error| error.to_string())?;
    converted.set_fqdn(true);
    Ok(converted)
}

fn from_hickory(name: &rr::Name) -> Option<Name> {
    let mut wire = Vec::with_capacity(64);
    for label in name.iter() {
        wire.push(u8::try_from(label.len()).ok()?);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    Name::from_wire(&wire).ok()
}

impl From<ResponseCode> for Code {
    fn from(code: ResponseCode) -> Code {
        match code {
            ResponseCode::NoError => Code::NoError,
            ResponseCode::NXDomain => Code::NoSuchName,
            ResponseCode::ServFail => Code::Other("SERVFAIL".into()),
            ResponseCode::Refused => Code::Other("REFUSED".into()),
            other => Code::Other(other.to_string()),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::NoError => f.write_str("NOERROR"),
            Code::NoSuchName => f.write_str("NXDOMAIN"),
            Code::Other(words) => f.write_str(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::{Message, OpCode};
    use tokio::net::UdpSocket;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_survive_the_way_there_and_back() {
        for text in ["_acme-challenge.example.test", ".", r"a\.b.test", r"\000\255.test"] {
            assert_eq!(from_hickory(&to_hickory(&name(text)).unwrap()), Some(name(text)), "{text}");
        }
    }

    /// Answers every UDP question with a CNAME to the same name with one more label.
    async fn endless_cnames(socket: UdpSocket, target: impl Fn(&rr::Name) -> rr::Name) {
        let mut buffer = [0; 512];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..len]).unwrap();
            let mut reply = Message::response(question.metadata.id, OpCode::Query);
            let asked = question.queries[0].name().clone();
            reply.add_query(question.queries[0].clone());
            let to = RData::CNAME(rr::rdata::CNAME(target(&asked)));
            reply.add_answer(rr::Record::from_rdata(asked, 0, to));
            socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
        }
    }

    async fn resolver(target: impl Fn(&rr::Name) -> rr::Name + Send + 'static) -> Resolver {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(endless_cnames(socket, target));
        Resolver::new(&[address])
    }

    #[tokio::test]
    async fn chains_end_where_they_arrive_or_after_eleven_cnames() {
        let longer = resolver(|asked| asked.prepend_label("a").unwrap()).await;
        let start = name("x.test");
        let chain = longer.follow_cname(&start, |at| *at == name("a.a.x.test")).await.unwrap();
        assert_eq!(chain.to_string(), "x.test → CNAME → a.x.test → CNAME → a.a.x.test");
        assert_eq!(longer.follow_cname(&start, |_| false).await, Err(ResolveError::ChainTooLong(start)));
    }

    #[tokio::test]
    async fn a_resolver_that_was_away_is_asked_as_before() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let resolver = Resolver::new(&[address]);
        let start = name("x.test");
        let one_more = |asked: &rr::Name| asked.prepend_label("a").unwrap();
        for _ in 0..3 {
            let socket = UdpSocket::bind(address).await;
            let serving = tokio::spawn(endless_cnames(socket.unwrap(), one_more));
            assert_eq!(resolver.cname(&start).await, Ok(Some(name("a.x.test"))));
            serving.abort();
            assert!(serving.await.unwrap_err().is_cancelled());
            tokio::time::pause();
            assert!(resolver.cname(&start).await.is_err());
            tokio::time::resume();
        }
    }

    #[tokio::test]
    async fn loops_are_noticed() {
        let circle = resolver(|asked| {
            rr::Name::from_ascii(if asked.to_ascii() == "a.test." { "b.test." } else { "a.test." }).unwrap()
        })
        .await;
        let start = name("a.test");
        assert_eq!(circle.follow_cname(&start, |_| false).await, Err(ResolveError::Loop(start)));
    }
}
