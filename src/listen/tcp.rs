//! DNS over TCP (RFC 7766) and over TLS (RFC 7858): accepts connections, as many as there are places for, and hands
//! them over to `stream.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::net::xfer::Protocol;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::{Caps, Place, Places};
use super::stream::{self, Answers, Limits};
use super::{Rare, now_millis};
use crate::answer::{Transport, Verdict};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Pause when the system has no more file descriptors or memory.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// One of so many file descriptors may be a connection: the rest is for the store, the API and who is leaving.
const OF_FILES: u64 = 2;

/// All DNS streams of the process.
#[derive(Clone)]
pub struct Streams {
    rare: Arc<Rare>,
    limits: Limits,
    places: Arc<Places>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Streams {
    /// `files`: how many files the process may have open.
    pub fn new(
        rare: Arc<Rare>,
        caps: Caps,
        files: Option<u64>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Streams {
        let caps = caps.within(files, OF_FILES, "DNS");
        let (tasks, stop) = (tasks.clone(), stop.clone());
        Streams { rare, limits: Limits::default(), places: Places::new(caps, "DNS", Vec::new()), tasks, stop }
    }

    /// Accepts connections in a task of its own until the server stops; with TLS if there is a configuration for it.
    pub fn serve(&self, listener: std::net::TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        self.tasks.spawn(self.clone().accept(listener, tls.map(TlsAcceptor::from)));
        Ok(())
    }

    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Without a place it is closed at once.
                    let Some(place) = self.places.take(peer.ip(), &self.stop) else { continue };
                    let (streams, tls) = (self.clone(), tls.clone());
                    self.tasks.spawn(async move {
                        if let Err(error) = streams.connection(stream, peer, tls, place).await {
                            tracing::debug!(%error, %peer, "DNS connection");
                        }
                    });
                }
                // A connection that was gone before it was accepted, and the like: the next one may be well.
                Err(error) if !is_exhausted(&error) => tracing::debug!(%error, "accepting over TCP"),
                Err(error) => {
                    tracing::debug!(%error, "accepting over TCP");
                    self.places.make_room();
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    }

    async fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        place: Place,
    ) -> io::Result<()> {
        // Answers are written as a whole; none of it should wait for an acknowledgement.
        stream.set_nodelay(true)?;
        let asked = Asked { rare: self.rare.clone(), peer };
        let Some(tls) = tls else {
            return stream::serve(stream, &asked, self.limits.clone(), &place, &self.stop).await;
        };
        let handshake = tokio::select! {
            // also when the server stops: there is no query yet
            () = place.leave().cancelled() => return Ok(()),
            handshake = timeout(HANDSHAKE, tls.accept(stream)) => handshake,
        };
        stream::serve(handshake??, &asked, self.limits.clone(), &place, &self.stop).await
    }
}

/// Who answers a connection's messages.
struct Asked {
    rare: Arc<Rare>,
    peer: SocketAddr,
}

impl Answers for Asked {
    fn answer(&self, message: &[u8], out: &mut Vec<u8>) -> Verdict {
        self.rare.answerer().answer(message, self.peer.ip(), Transport::Tcp, now_millis(), out)
    }

    fn rare(&self, message: Vec<u8>) -> impl Future<Output = Option<Vec<u8>>> + Send + 'static + use<> {
        let (rare, peer) = (self.rare.clone(), self.peer);
        async move { rare.handle(message, peer, Protocol::Tcp, now_millis()).await }
    }
}

/// The system has no more descriptors or memory: trying again at once would only keep it busy.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_something_makes_the_listener_pause() {
        assert!(is_exhausted(&io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(!is_exhausted(&io::Error::from_raw_os_error(libc::ECONNABORTED)));
    }
}
