//! UDP: one thread and one socket per core and address; batches of packets in, batches of replies out.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_server::net::xfer::Protocol;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mmsg::{self, Batch, Peer};
use super::{Answerer, Rare};
use crate::answer::ReadAhead;

/// Rare messages that wait for the handler; more are dropped, as a full socket buffer would.
const RARE_WAITING: usize = 256;
/// Rare messages of a socket that are handled at a time.
const RARE_UNDER_WAY: usize = 64;

/// Answers the packets of one socket until `stop` is cancelled.
pub fn serve(
    socket: UdpSocket,
    answerer: Answerer,
    rare: Arc<Rare>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> io::Result<()> {
    let socket = Arc::new(socket);
    let (hand_over, waiting) = mpsc::channel(RARE_WAITING);
    tasks.spawn(handle_rare(socket.clone(), rare, waiting));
    let thread = {
        let (socket, stop) = (socket.clone(), stop.clone());
        move || receive(&socket, &answerer, &hand_over, &stop)
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

fn receive(
    socket: &UdpSocket,
    answerer: &Answerer,
    hand_over: &mpsc::Sender<(Vec<u8>, Peer)>,
    stop: &CancellationToken,
) {
    let wildcard = socket.local_addr().is_ok_and(|address| address.ip().is_unspecified());
    let (mut batch, mut ahead) = (Batch::new(wildcard), ReadAhead::new());
    while !stop.is_cancelled() {
        if let Err(error) = batch.receive(socket) {
            // Transient: an ICMP error of an earlier reply, an interrupt, no kernel memory.
            tracing::debug!(%error, "receiving over UDP");
            continue;
        }
        answerer.answer_all(&mut ahead, &mut batch, |packet, peer| {
            // A full queue drops, as a full socket buffer would.
            let _ = hand_over.try_send((packet.to_vec(), peer));
        });
        batch.send(socket);
    }
}

/// Those that wait for the disk wait together, so that their updates go into one commit.
async fn handle_rare(socket: Arc<UdpSocket>, rare: Arc<Rare>, mut waiting: mpsc::Receiver<(Vec<u8>, Peer)>) {
    let handle = async |packet, peer: Peer| {
        let Some(reply) = rare.handle(packet, peer.address, Protocol::Udp).await else { return };
        if let Err(error) = mmsg::send_one(&socket, &reply, peer) {
            tracing::debug!(%error, peer = %peer.address, "replying over UDP");
        }
    };
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = under_way.next() => {}
            message = waiting.recv(), if under_way.len() < RARE_UNDER_WAY => match message {
                Some((packet, peer)) => under_way.push(handle(packet, peer)),
                None => break,
            },
        }
    }
    while under_way.next().await.is_some() {}
}
