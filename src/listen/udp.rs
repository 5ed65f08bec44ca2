//! UDP: one thread and one socket per core and address; batches of packets in, batches of replies out.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hickory_server::net::xfer::Protocol;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mmsg::{self, Batch, Peer};
use super::{Rare, now_millis};
use crate::answer::ReadAhead;

/// Rare messages that wait for the handler; more are dropped, as a full socket buffer would, and counted.
const RARE_WAITING: usize = 256;
/// Rare messages that are handled at a time.
const RARE_UNDER_WAY: usize = 64;

/// A rare message, and the socket that its answer leaves by.
struct Waiting {
    socket: Arc<UdpSocket>,
    packet: Vec<u8>,
    peer: Peer,
}

/// The way of rare messages to the thread that answers them, one for all sockets. It is none of the runtime's: a flood
/// would keep those from everything else they do, updates above all.
#[derive(Clone)]
pub struct HandOver(mpsc::Sender<Waiting>);

impl HandOver {
    /// The thread ends when `stop` is cancelled; what waits then is lost, as in the network. It must not wait for the
    /// threads of the sockets, which need the runtime to be woken: that may be gone.
    pub fn start(rare: Arc<Rare>, tasks: &TaskTracker, stop: CancellationToken) -> io::Result<HandOver> {
        let (hand_over, waiting) = mpsc::channel(RARE_WAITING);
        let runtime = tokio::runtime::Handle::current();
        let stopped = stop.clone();
        let handle = move || runtime.block_on(stopped.run_until_cancelled(handle_rare(&rare, waiting)));
        let thread = std::thread::Builder::new().name("dns-rare".into()).spawn(handle)?;
        tasks.spawn(async move {
            stop.cancelled().await;
            let _ = tokio::task::spawn_blocking(|| thread.join()).await;
        });
        Ok(HandOver(hand_over))
    }
}

/// Answers the packets of one socket until `stop` is cancelled.
pub fn serve(
    socket: UdpSocket,
    rare: Arc<Rare>,
    hand_over: HandOver,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> io::Result<()> {
    let socket = Arc::new(socket);
    let thread = {
        let (socket, stop) = (socket.clone(), stop.clone());
        move || receive(&socket, &rare, &hand_over, &stop)
    };
    let thread = std::thread::Builder::new().name("dns-udp".into()).spawn(thread)?;
    tasks.spawn(async move {
        stop.cancelled().await;
        // SAFETY: the descriptor is open, `socket` owns it. For an unconnected UDP socket the call fails with ENOTCONN,
        // but wakes the thread that waits in recvmmsg.
        unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RD) };
        // The address is free for the next server only when the thread has let go of the socket.
        let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    });
    Ok(())
}

fn receive(socket: &Arc<UdpSocket>, rare: &Rare, hand_over: &HandOver, stop: &CancellationToken) {
    let wildcard = socket.local_addr().is_ok_and(|address| address.ip().is_unspecified());
    let (mut batch, mut ahead) = (Batch::new(wildcard), ReadAhead::new());
    while !stop.is_cancelled() {
        if let Err(error) = batch.receive(socket) {
            // Transient: an ICMP error of an earlier reply, an interrupt, no kernel memory.
            tracing::debug!(%error, "receiving over UDP");
            continue;
        }
        let now = now_millis();
        rare.answerer().answer_all(&mut ahead, &mut batch, now, |packet, peer| match hand_over.0.try_reserve() {
            Ok(place) => place.send(Waiting { socket: socket.clone(), packet: packet.to_vec(), peer }),
            Err(TrySendError::Full(())) => rare.dropped_one(now),
            Err(TrySendError::Closed(())) => {} // stopping
        });
        batch.send(socket);
    }
}

/// Those that wait for the disk wait together, so that their updates go into one commit.
async fn handle_rare(rare: &Rare, mut queue: mpsc::Receiver<Waiting>) {
    let handle = async |Waiting { socket, packet, peer }| {
        let handled = rare.handle(packet, peer.address, Protocol::Udp, now_millis());
        // A panic, ours or hickory's, must cost one answer, not the thread that answers all rare messages.
        let Ok(handled) = AssertUnwindSafe(handled).catch_unwind().await else {
            tracing::error!(peer = %peer.address, "answering a rare message panicked: please report this and the line before");
            return;
        };
        let Some(reply) = handled else { return };
        if let Err(error) = mmsg::send_one(&socket, &reply, peer) {
            tracing::debug!(%error, peer = %peer.address, "replying over UDP");
        }
    };
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = under_way.next() => {}
            message = queue.recv(), if under_way.len() < RARE_UNDER_WAY => match message {
                Some(message) => under_way.push(handle(message)),
                None => break,
            },
        }
    }
    while under_way.next().await.is_some() {}
}
