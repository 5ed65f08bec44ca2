//! One name server, asked directly.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Answer, Code, from_hickory, to_hickory, txt_value};
use crate::zone::{Name, TxtValue};

/// How long one question may take over UDP, and how often it is put; and the whole exchange over TCP.
const UDP_TIMEOUT: Duration = Duration::from_secs(2);
const UDP_ATTEMPTS: usize = 2;
const TCP_TIMEOUT: Duration = Duration::from_secs(4);

/// How a name server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Why a name server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("{server} does not answer over {transport}: {reason}")]
    Unreachable { server: SocketAddr, transport: Transport, reason: String },
    #[error("{server} answers over {transport} with something that is no answer: {reason}")]
    Nonsense { server: SocketAddr, transport: Transport, reason: String },
    /// REFUSED, SERVFAIL, or an answer from memory: resolvers go on to the next server of the zone. Routers answer so
    /// to whom asks for the public address from inside.
    #[error("{server} does not serve {name}: it answers {code} over {transport}, without authority")]
    NoAuthority {
        server: SocketAddr,
        name: Name,
        transport: Transport,
        code: Code,
        /// What it remembers: some resolvers take it all the same.
        records: Vec<TxtValue>,
    },
}

/// Where the servers of a parent zone send those who ask for a zone below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referral {
    /// The hosts of the NS records; none if the zone is not delegated.
    pub hosts: Vec<Name>,
    /// Addresses of hosts, as the parent has them.
    pub glue: Vec<(Name, IpAddr)>,
}

/// Asks an authoritative server for the TXT values at `name`, without recursion. Only an answer with authority is one.
pub async fn ask(server: SocketAddr, name: &Name, transport: Transport) -> Result<Answer<TxtValue>, AskError> {
    let message = exchange(server, name, RecordType::TXT, transport).await?;
    let code = Code::from(message.metadata.response_code);
    let records = message.answers.iter().filter_map(|record| txt_value(&record.data)).collect();
    if !message.metadata.authoritative || matches!(code, Code::Other(_)) {
        return Err(AskError::NoAuthority { server, name: name.clone(), transport, code, records });
    }
    Ok(Answer { code, records })
}

/// Asks a server of the parent zone for the NS records that it has of `zone`. A server that serves the zone as well
/// gives those of the zone itself.
pub async fn referral(server: SocketAddr, zone: &Name) -> Result<Referral, AskError> {
    let transport = Transport::Udp;
    let message = exchange(server, zone, RecordType::NS, transport).await?;
    let code = Code::from(message.metadata.response_code);
    let host = |record: &Record| match &record.data {
        RData::NS(host) if from_hickory(&record.name).as_ref() == Some(zone) => from_hickory(&host.0),
        _ => None,
    };
    // What is an answer from memory is no referral.
    let answers = if message.metadata.authoritative { message.answers.as_slice() } else { &[] };
    let hosts: Vec<Name> = answers.iter().chain(&message.authorities).filter_map(host).collect();
    if (hosts.is_empty() && !message.metadata.authoritative) || matches!(code, Code::Other(_)) {
        return Err(AskError::NoAuthority { server, name: zone.clone(), transport, code, records: Vec::new() });
    }
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some((from_hickory(&record.name)?, IpAddr::V4(address.0))),
        RData::AAAA(address) => Some((from_hickory(&record.name)?, IpAddr::V6(address.0))),
        _ => None,
    };
    let glue = message.additionals.iter().filter_map(address).filter(|(host, _)| hosts.contains(host)).collect();
    Ok(Referral { hosts, glue })
}

/// One question without recursion; over TCP if the answer over UDP is truncated.
async fn exchange(
    server: SocketAddr,
    name: &Name,
    rtype: RecordType,
    transport: Transport,
) -> Result<Message, AskError> {
    let unreachable = |error: io::Error| AskError::Unreachable { server, transport, reason: error.to_string() };
    let nonsense = |reason: String| AskError::Nonsense { server, transport, reason };
    let (id, question) = query(name, rtype, false).map_err(nonsense)?;
    let reply = match transport {
        Transport::Udp => over_udp(server, id, &question).await,
        Transport::Tcp => over_tcp(server, &question).await,
    };
    let message = Message::from_vec(&reply.map_err(unreachable)?).map_err(|error| nonsense(error.to_string()))?;
    if message.metadata.id != id || message.metadata.message_type != MessageType::Response {
        return Err(nonsense("it belongs to another question".into()));
    }
    if message.metadata.truncation && transport == Transport::Udp {
        // RFC 7766 section 5: what a truncated answer holds is not to be used.
        return Box::pin(exchange(server, name, rtype, Transport::Tcp)).await;
    }
    Ok(message)
}

/// A question, with its ID.
pub(super) fn query(name: &Name, rtype: RecordType, recursive: bool) -> Result<(u16, Vec<u8>), String> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| error.to_string())?;
    let id = u16::from_be_bytes(id);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = recursive;
    message.add_query(Query::query(to_hickory(name)?, rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    Ok((id, message.to_vec().map_err(|error| error.to_string())?))
}

pub(super) async fn over_udp(server: SocketAddr, id: u16, question: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    let mut reply = vec![0; 4096];
    for _ in 0..UDP_ATTEMPTS {
        socket.send(question).await?;
        let matching = async {
            loop {
                let len = socket.recv(&mut reply).await?;
                if reply.get(..2) == Some(id.to_be_bytes().as_slice()) {
                    return Ok::<usize, io::Error>(len);
                }
            }
        };
        if let Ok(received) = timeout(UDP_TIMEOUT, matching).await {
            reply.truncate(received?);
            return Ok(reply);
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer to {UDP_ATTEMPTS} questions")))
}

pub(super) async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let whole = async {
        let mut stream = TcpStream::connect(server).await?;
        // A question has one name and fits two octets of length.
        let mut framed = (question.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(question);
        stream.write_all(&framed).await?;
        let len = stream.read_u16().await?;
        let mut reply = vec![0; usize::from(len)];
        stream.read_exact(&mut reply).await?;
        Ok(reply)
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", TCP_TIMEOUT.as_secs()));
    timeout(TCP_TIMEOUT, whole).await.map_err(late)?
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_query_asks_for_txt_without_recursion() {
        let (id, wire) = query(&name("x.test"), RecordType::TXT, false).unwrap();
        assert_eq!(wire[..2], id.to_be_bytes());
        assert_eq!(wire[2] & 1, 0);
        assert_eq!(wire[12..24], *b"\x01x\x04test\x00\x00\x10\x00\x01");
    }

    #[tokio::test]
    async fn a_silent_server_is_unreachable() {
        // Nobody reads this socket.
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = silent.local_addr().unwrap();
        let outcome = ask(server, &name("x.test"), Transport::Udp).await;
        assert!(matches!(outcome, Err(AskError::Unreachable { .. })), "{outcome:?}");
    }
}
