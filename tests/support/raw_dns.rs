//! DNS messages as bytes: made by hand, sent as they are.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use domain::base::iana::Rtype;

/// The bytes of a query, part by part. `Query::new("_acme-challenge.Example.test", Rtype::TXT).bytes()` is a
/// standard query, RD clear, class IN, without EDNS.
#[derive(Debug, Clone)]
pub struct Query {
    pub id: u16,
    /// Octets 2 and 3 of the header: QR, opcode, AA, TC, RD, RA, Z, AD, CD, RCODE.
    pub flags: u16,
    /// In the case to be sent; with or without the last dot. May have escapes (RFC 1035 section 5.1).
    pub name: String,
    pub rtype: Rtype,
    pub class: u16,
    /// UDP payload size, if the query is to have an OPT record.
    pub edns: Option<u16>,
    /// Extended RCODE, version and flags of the OPT record.
    pub edns_ttl: u32,
    /// Options of the OPT record, each with its code and length.
    pub edns_options: Vec<u8>,
}

impl Query {
    pub fn new(name: &str, rtype: Rtype) -> Query {
        let id = getrandom::u32().expect("the kernel gives random bits") as u16;
        let name = name.to_owned();
        Query { id, flags: 0, name, rtype, class: 1, edns: None, edns_ttl: 0, edns_options: Vec::new() }
    }

    pub fn id(mut self, id: u16) -> Query {
        self.id = id;
        self
    }

    /// Sets RD.
    pub fn recursive(mut self) -> Query {
        self.flags |= 0x0100;
        self
    }

    /// Sets CD.
    pub fn checking_disabled(mut self) -> Query {
        self.flags |= 0x0010;
        self
    }

    /// Puts any opcode in.
    pub fn opcode(mut self, opcode: u8) -> Query {
        self.flags = self.flags & 0x87ff | u16::from(opcode & 15) << 11;
        self
    }

    pub fn class(mut self, class: u16) -> Query {
        self.class = class;
        self
    }

    /// Adds an OPT record (RFC 6891) with this UDP payload size.
    pub fn edns(mut self, size: u16) -> Query {
        self.edns = Some(size);
        self
    }

    /// Sets DO; the query has an OPT record if `edns` is called too.
    pub fn dnssec_ok(mut self) -> Query {
        self.edns_ttl |= 0x8000;
        self
    }

    /// The EDNS version; the query has an OPT record if `edns` is called too.
    pub fn edns_version(mut self, version: u8) -> Query {
        self.edns_ttl = self.edns_ttl & 0xff00_ffff | u32::from(version) << 16;
        self
    }

    /// Adds an EDNS option; the query has an OPT record if `edns` is called too.
    pub fn edns_option(mut self, code: u16, data: &[u8]) -> Query {
        self.edns_options.extend(code.to_be_bytes());
        self.edns_options.extend((data.len() as u16).to_be_bytes());
        self.edns_options.extend(data);
        self
    }

    /// The question section alone, as a server must echo it.
    pub fn question_bytes(&self) -> Vec<u8> {
        let mut bytes = wire_name(&self.name);
        bytes.extend(self.rtype.to_int().to_be_bytes());
        bytes.extend(self.class.to_be_bytes());
        bytes
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [self.id, self.flags, 1, 0, 0, u16::from(self.edns.is_some())] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(self.question_bytes());
        if let Some(size) = self.edns {
            bytes.push(0);
            bytes.extend(Rtype::OPT.to_int().to_be_bytes());
            bytes.extend(size.to_be_bytes());
            bytes.extend(self.edns_ttl.to_be_bytes());
            bytes.extend((self.edns_options.len() as u16).to_be_bytes());
            bytes.extend(&self.edns_options);
        }
        bytes
    }
}

/// A name in wire form; `\.` and `\DDD` are read.
pub fn wire_name(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut label = Vec::new();
    let mut end = |label: &mut Vec<u8>| {
        assert!(label.len() < 64, "a label of {text} is longer than a label can be");
        if !label.is_empty() {
            wire.push(label.len() as u8);
            wire.append(label);
        }
    };
    let mut rest = text.as_bytes();
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        match (octet, tail) {
            (b'.', _) => end(&mut label),
            (b'\\', [a @ b'0'..=b'9', b, c, tail @ ..]) => {
                let number = [a, b, c].iter().fold(0, |number, digit| number * 10 + u16::from(**digit - b'0'));
                label.push(u8::try_from(number).expect("an octet"));
                rest = tail;
            }
            (b'\\', [octet, tail @ ..]) => {
                label.push(*octet);
                rest = tail;
            }
            _ => label.push(octet),
        }
    }
    end(&mut label);
    wire.push(0);
    wire
}

/// A server to send bytes to, each message from a new socket.
#[derive(Debug, Clone, Copy)]
pub struct RawDns {
    pub server: SocketAddr,
    /// How long to wait for each reply.
    pub timeout: Duration,
}

impl RawDns {
    /// Waits two seconds for each reply.
    pub fn new(server: SocketAddr) -> RawDns {
        RawDns { server, timeout: Duration::from_secs(2) }
    }

    /// To prove a silence, a short wait is enough.
    pub fn timeout(mut self, timeout: Duration) -> RawDns {
        self.timeout = timeout;
        self
    }

    /// Sends one datagram; the first datagram that comes back from that server, or None.
    pub fn udp(&self, message: &[u8]) -> Option<Vec<u8>> {
        let socket = self.udp_socket();
        socket.send(message).expect("a datagram can be sent");
        let mut reply = vec![0; 65535];
        match socket.recv(&mut reply) {
            Ok(length) => {
                reply.truncate(length);
                Some(reply)
            }
            Err(error) if no_answer(error.kind()) => None,
            Err(error) => panic!("receiving from {}: {error}", self.server),
        }
    }

    /// A socket that sends to and receives from this server alone.
    pub fn udp_socket(&self) -> UdpSocket {
        let any = match self.server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any).expect("a UDP socket can be had");
        socket.connect(self.server).expect("a UDP socket can be connected");
        socket.set_read_timeout(Some(self.timeout)).expect("the timeout is not zero");
        socket
    }

    /// Sends one message over a connection of its own; its reply, or None if the server closes or is silent.
    pub fn tcp(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut connection = self.connect()?;
        connection.send(message);
        connection.receive()
    }

    /// A connection for several messages; None if the server takes none.
    pub fn connect(&self) -> Option<TcpConnection> {
        let stream = TcpStream::connect_timeout(&self.server, self.timeout).ok()?;
        stream.set_read_timeout(Some(self.timeout)).expect("the timeout is not zero");
        stream.set_write_timeout(Some(self.timeout)).expect("the timeout is not zero");
        stream.set_nodelay(true).expect("a TCP socket has TCP_NODELAY");
        Some(TcpConnection { stream })
    }
}

/// An open connection with the two-octet lengths of RFC 1035 section 4.2.2.
pub struct TcpConnection {
    pub stream: TcpStream,
}

impl TcpConnection {
    /// Sends length and message in one segment. A server that has closed already shows in `receive`.
    pub fn send(&mut self, message: &[u8]) {
        let length = u16::try_from(message.len()).expect("a message has at most 65,535 octets");
        let _ = self.stream.write_all(&[&length.to_be_bytes(), message].concat());
    }

    /// The next message; None if the connection ends or nothing comes in time.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 2];
        self.stream.read_exact(&mut length).ok()?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut message).ok()?;
        Some(message)
    }
}

/// A closed port answers with an ICMP message, which is an answer by nobody.
fn no_answer(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused)
}
