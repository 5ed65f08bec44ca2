//! The two ways of a message to its answer.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acmezone::answer::{Transport, Verdict};
use acmezone::listen::{self, Caps, DnsSockets, Rare};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::{RawDns, Reply, TcpConnection};
use crate::world::{self, fast, handled};

pub const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];
/// Messages under way at a time.
const WINDOW: usize = 16;
/// Octets of the longest message that is taken over UDP.
const LONGEST: usize = 4096;

pub fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// The handler, with the world of now.
pub fn rare() -> Rare {
    world::rare(now_millis() / 1_000)
}

/// What both paths say in this process; `None` for silence. Panics if they differ, or say what nobody can read.
#[track_caller]
pub fn both(rare: &Rare, message: &[u8], transport: Transport, now: u64) -> (Verdict, Option<Vec<u8>>) {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4711));
    let handled = handled(rare, message, peer, transport, now);
    let (verdict, fast) = fast(rare, message, peer, transport, now);
    let longest = if transport == Transport::Udp { 1232 } else { 65_535 };
    assert!(handled.as_ref().is_none_or(|reply| reply.len() <= longest), "{transport:?} {message:02x?}");
    match verdict {
        Verdict::Reply => {
            assert_eq!(handled.as_deref(), Some(&fast[..]), "{transport:?} {message:02x?}");
            Reply::parse(&fast);
        }
        Verdict::Silence => assert_eq!(handled, None, "{transport:?} {message:02x?}"),
        Verdict::Rare => {
            let reply = handled.as_ref().unwrap_or_else(|| panic!("silence: {transport:?} {message:02x?}"));
            assert_eq!((&reply[..2], reply[2] & 0xf8), (&message[..2], 0x80 | message[2] & 0x78));
            Reply::parse(reply);
        }
    }
    (verdict, handled)
}

/// The real loops over UDP and TCP on a port of their own, and the handler beside them.
pub struct Served {
    pub rare: Arc<Rare>,
    dns: RawDns,
    stop: CancellationToken,
    tasks: TaskTracker,
    runtime: Runtime,
}

impl Served {
    pub fn start() -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let sockets = DnsSockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = sockets.addresses().unwrap()[0];
        let (rare, stop) = (Arc::new(rare()), CancellationToken::new());
        let caps = Caps { connections: 16, per_prefix: 16 };
        let entered = runtime.enter();
        let tasks = TaskTracker::new();
        listen::serve(sockets, caps, rare.clone(), &tasks, &stop).unwrap();
        drop(entered);
        let dns = RawDns::new(address).timeout(Duration::from_secs(20));
        Served { rare, dns, stop, tasks, runtime }
    }

    /// Sends all messages over both transports, through the loops; panics at the first answer that is not the handler's.
    /// How many answers there were.
    pub fn compare<'m>(&self, messages: impl Iterator<Item = &'m [u8]> + Clone) -> usize {
        self.compare_udp(messages.clone()) + self.compare_tcp(messages)
    }

    fn compare_udp<'m>(&self, messages: impl Iterator<Item = &'m [u8]>) -> usize {
        let socket = self.dns.udp_socket();
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port()));
        let mut window = Window::new(self, peer, Transport::Udp);
        let mut answers = 0;
        for message in messages.filter(|message| message.len() <= LONGEST) {
            window.add(message);
            if window.sent.len() == WINDOW {
                answers += window.exchange_udp(&socket);
            }
        }
        answers + window.exchange_udp(&socket)
    }

    fn compare_tcp<'m>(&self, messages: impl Iterator<Item = &'m [u8]>) -> usize {
        let mut connection = None;
        let mut peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut messages = messages.peekable();
        let mut answers = 0;
        while messages.peek().is_some() {
            let connection_now = connection.get_or_insert_with(|| self.dns.connect().unwrap());
            peer.set_port(connection_now.stream.local_addr().unwrap().port());
            let mut window = Window::new(self, peer, Transport::Tcp);
            // Behind a message that gets silence nothing is read: the connection ends.
            while window.sent.len() < WINDOW && !window.ends() {
                let Some(message) = messages.next() else { break };
                window.add(message);
            }
            let ends = window.ends();
            answers += window.exchange_tcp(connection_now);
            if ends {
                let mut more = [0];
                let closed = connection_now.stream.read(&mut more);
                assert_eq!(closed.unwrap(), 0, "the connection goes on after {:02x?}", window.sent.last());
                connection = None;
            }
        }
        answers
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        self.runtime.block_on(self.tasks.wait());
    }
}

/// Messages that are sent together, and what the handler says to them.
struct Window<'s> {
    served: &'s Served,
    peer: SocketAddr,
    transport: Transport,
    began: u64,
    sent: Vec<Vec<u8>>,
    expected: Vec<Option<Vec<u8>>>,
}

impl<'s> Window<'s> {
    fn new(served: &'s Served, peer: SocketAddr, transport: Transport) -> Window<'s> {
        Window { served, peer, transport, began: now_millis(), sent: Vec::new(), expected: Vec::new() }
    }

    fn add(&mut self, message: &[u8]) {
        if self.sent.is_empty() {
            self.began = now_millis();
        }
        self.expected.push(self.expect(message, self.began));
        self.sent.push(message.to_vec());
    }

    fn expect(&self, message: &[u8], now: u64) -> Option<Vec<u8>> {
        handled(&self.served.rare, message, self.peer, self.transport, now)
    }

    fn ends(&self) -> bool {
        self.expected.last().is_some_and(Option::is_none)
    }

    fn exchange_udp(&mut self, socket: &UdpSocket) -> usize {
        for message in &self.sent {
            socket.send(message).unwrap();
        }
        let mut buffer = [0; 65_535];
        self.take(|| {
            let length = socket.recv(&mut buffer).expect("an answer over UDP");
            buffer[..length].to_vec()
        })
    }

    fn exchange_tcp(&mut self, connection: &mut TcpConnection) -> usize {
        for message in &self.sent {
            connection.send(message);
        }
        self.take(|| connection.receive().expect("an answer over TCP"))
    }

    /// Receives as many answers as the handler gave, in any order: those to rare messages come when they are ready. One
    /// too many shows in the next window.
    fn take(&mut self, mut receive: impl FnMut() -> Vec<u8>) -> usize {
        let count = self.expected.iter().flatten().count();
        let received: Vec<Vec<u8>> = (0..count).map(|_| receive()).collect();
        let mut open: Vec<usize> = (0..self.sent.len()).filter(|index| self.expected[*index].is_some()).collect();
        for reply in &received {
            let same = open.iter().position(|index| self.is_reply(*index, reply));
            let index = same.unwrap_or_else(|| {
                let left: Vec<_> = open.iter().map(|index| (&self.sent[*index], &self.expected[*index])).collect();
                panic!(
                    "{:?}: the loop answered\n{reply:02x?}\nand the handler to what is left\n{left:02x?}",
                    self.transport
                )
            });
            open.swap_remove(index);
        }
        self.sent.clear();
        self.expected.clear();
        count
    }

    /// In a server cookie is the second of its making.
    fn is_reply(&self, index: usize, reply: &[u8]) -> bool {
        let seconds = self.began / 1_000 + 1..=now_millis() / 1_000;
        self.expected[index].as_deref() == Some(reply)
            || seconds.into_iter().any(|now| self.expect(&self.sent[index], now * 1_000).as_deref() == Some(reply))
    }
}
