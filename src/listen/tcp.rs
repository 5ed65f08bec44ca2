//! TCP (RFC 7766): own accept loop with a cap on connections, deadlines, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::net::xfer::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Answerer, Rare};
use crate::answer::{Transport, Verdict};

/// Connections at a time on one listener.
const CONNECTIONS: usize = 1024;
/// How long a connection may be idle between two messages (RFC 7766 section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// How long one message may take to arrive, or its answer to leave.
const MESSAGE: Duration = Duration::from_secs(5);
/// Pause when the system has no more file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    answerer: Answerer,
    rare: Arc<Rare>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accept = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, peer))) => {
                tasks.spawn(connection(stream, peer, answerer.clone(), rare.clone(), stop.clone(), place));
            }
            (Err(_closed), _) => return,
            (_, Err(error)) => {
                tracing::debug!(%error, "accepting over TCP");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    answerer: Answerer,
    rare: Arc<Rare>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    if let Err(error) = exchange(stream, peer, &answerer, &rare, &stop).await {
        tracing::debug!(%error, %peer, "TCP connection");
    }
}

/// Answers message after message, until the peer closes, is idle for too long, or the server stops.
async fn exchange(
    stream: TcpStream,
    peer: SocketAddr,
    answerer: &Answerer,
    rare: &Rare,
    stop: &CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut message = Vec::new();
    let mut reply = Vec::new();
    loop {
        let first = tokio::select! {
            // what has arrived already is answered before the end
            biased;
            first = timeout(IDLE, stream.read_u8()) => first,
            () = stop.cancelled() => return Ok(()),
        };
        let first = match first {
            Err(_idle) => return Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(first) => first?,
        };
        timeout(MESSAGE, read_message(&mut stream, first, &mut message)).await??;
        match answerer.answer(&message, peer.ip(), Transport::Tcp, &mut reply) {
            Verdict::Reply => {}
            // A peer that sends no queries has no business here.
            Verdict::Silence => return Ok(()),
            Verdict::Rare => match rare.handle(message.clone(), peer, Protocol::Tcp).await {
                Some(answer) => reply = answer,
                None => return Ok(()),
            },
        }
        timeout(MESSAGE, write_message(stream.get_mut(), &reply)).await??;
    }
}

/// Reads the rest of a message after the first octet of its length. Memory grows with what arrives, not with what the
/// length promises.
async fn read_message(stream: &mut BufReader<TcpStream>, first: u8, message: &mut Vec<u8>) -> io::Result<()> {
    let len = u16::from_be_bytes([first, stream.read_u8().await?]);
    message.clear();
    let read = stream.take(len.into()).read_to_end(message).await?;
    if read < usize::from(len) { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Length and message leave in one segment (RFC 7766 section 8).
async fn write_message(stream: &mut TcpStream, reply: &[u8]) -> io::Result<()> {
    // `answer` writes at most 65,535 octets.
    let len = (reply.len().min(usize::from(u16::MAX)) as u16).to_be_bytes();
    let mut parts = [io::IoSlice::new(&len), io::IoSlice::new(reply)];
    let mut rest: &mut [io::IoSlice<'_>] = &mut parts;
    while !rest.is_empty() {
        let written = stream.write_vectored(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        io::IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}
