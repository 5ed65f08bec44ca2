//! Sockets, and nothing else: what comes in goes to `answer`, what comes out is sent.
//!
//! The loops are our own. hickory's listeners parse before anything can be checked (a 12-octet packet makes them
//! allocate 11 MB), and cannot send ready-made octets. What [`answer`] does not take, UPDATE and signed messages, goes
//! to hickory's parser and our [`Rare`], after the header has been checked.

mod bind;
mod handler;
mod http;
mod mmsg;
mod places;
mod stream;
mod tcp;
mod tls;
mod udp;

use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use bind::{BindError, DnsSockets, bind_tcp};
pub use handler::Rare;
pub use http::{serve as serve_http, tls};
pub use places::Caps;
use rustls::ServerConfig;
pub use tls::{TlsError, dot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Transport, Ttls, Verdict, answer};
use crate::store::now;
use crate::zone::Live;

/// What every DNS listener needs to answer.
#[derive(Clone, Debug)]
pub struct Answerer {
    pub live: Arc<Live>,
    pub ttls: Ttls,
}

impl Answerer {
    fn answer(&self, packet: &[u8], transport: Transport, out: &mut Vec<u8>) -> Verdict {
        // A panic would be a bug; it must cost one answer, not the thread that answers everybody.
        let answered = catch_unwind(AssertUnwindSafe(|| answer(&self.live, self.ttls, packet, transport, now(), out)));
        answered.unwrap_or_else(|_| {
            tracing::error!(packet = ?packet, "answering a packet panicked: please report this line");
            Verdict::Silence
        })
    }
}

/// Listeners of DNS over TLS, and what to show to those who come.
pub struct Dot {
    pub listeners: Vec<TcpListener>,
    pub config: Arc<ServerConfig>,
}

/// Serves all sockets until `stop` is cancelled; the tasks are tracked by `tasks`.
pub fn serve(
    sockets: DnsSockets,
    dot: Option<Dot>,
    caps: Caps,
    answerer: Answerer,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    let rare = Arc::new(Rare);
    for socket in sockets.udp {
        udp::serve(socket, answerer.clone(), rare.clone(), tasks, stop.clone())?;
    }
    let streams = tcp::Streams::new(answerer, rare, caps, bind::raise_file_limit(), tasks, stop);
    for listener in sockets.tcp {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tasks.spawn(streams.clone().serve(listener, None));
    }
    if let Some(dot) = dot {
        for listener in dot.listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tasks.spawn(streams.clone().serve(listener, Some(dot.config.clone())));
        }
    }
    Ok(())
}
