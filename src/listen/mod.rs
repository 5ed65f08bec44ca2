//! Sockets, and nothing else: what comes in goes to `answer`, what comes out is sent.
//!
//! The loops are our own. hickory's listeners parse before anything can be checked (a 12-octet packet makes them
//! allocate 11 MB), and cannot send ready-made octets. What [`answer`] does not take, UPDATE and signed messages, goes
//! to hickory's parser and our `handler.rs`, after the header has been checked.

mod bind;
mod handler;
mod http;
mod limit;
mod mmsg;
mod places;
mod prompt;
pub mod proxy;
mod signed;
mod stream;
mod tcp;
mod throttle;
mod tls;
mod tls_files;
mod udp;
mod watched;

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use bind::{BindError, BoundTcp, DnsSockets, bind_tcp};
pub use handler::Rare;
pub use http::{Entrance, serve as serve_http};
pub use limit::{Limiter, Settings as LimiterSettings};
use mmsg::{Batch, Peer};
pub use places::Caps;
pub use signed::Updates;
pub use tcp::Streams;
pub use tls::{Pair, Shown, Unusable};
pub use tls_files::{TlsError, Watch, check as check_tls};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Asked, Context, Cookies, ReadAhead, Transport, Ttls, Verdict, answer};
use crate::zone::Live;

/// What every DNS listener needs to answer.
#[derive(Clone, Debug)]
pub struct Answerer {
    pub live: Arc<Live>,
    pub ttls: Ttls,
    pub cookies: Arc<Cookies>,
    pub limiter: Arc<Limiter>,
}

impl Answerer {
    /// Answers one message of `client`. `now` is in milliseconds since 1970; `out` is overwritten.
    pub fn answer(&self, packet: &[u8], client: IpAddr, transport: Transport, now: u64, out: &mut Vec<u8>) -> Verdict {
        self.with_context(client, transport, now, packet, |context| answer(&self.live, context, packet, out))
    }

    /// Answers all packets of a batch.
    fn answer_all(&self, ahead: &mut ReadAhead, batch: &mut Batch, now: u64, mut rare: impl FnMut(&[u8], Peer)) {
        let (packets, mut replies) = batch.packets();
        let mut answer_one = |index: usize, asked: Asked<'_>| {
            let Some(peer) = replies.peer(index).filter(|peer| peer.address.port() != 0) else { return };
            let out = replies.room(index);
            let answer = |context: &Context<'_>| asked.answer(context, out);
            match self.with_context(peer.address.ip(), Transport::Udp, now, asked.packet(), answer) {
                Verdict::Reply => replies.enqueue(index),
                Verdict::Silence => {}
                Verdict::Rare => rare(asked.packet(), peer),
            }
        };
        // As in `with_context`, for what comes before the first answer.
        let read = catch_unwind(AssertUnwindSafe(|| ahead.read(&self.live, packets, &mut answer_one)));
        if read.is_err() {
            tracing::error!("reading packets panicked, and a batch was lost: please report this and the line before");
        }
    }

    /// A panic would be a bug; it must cost one answer, not the thread that answers everybody.
    fn with_context(
        &self,
        client: IpAddr,
        transport: Transport,
        now: u64,
        packet: &[u8],
        answer: impl FnOnce(&Context<'_>) -> Verdict,
    ) -> Verdict {
        let context = Context {
            ttls: self.ttls,
            cookies: &self.cookies,
            client,
            transport,
            now: now / 1_000,
            limited: &|| self.limiter.limits(client, now),
        };
        catch_unwind(AssertUnwindSafe(|| answer(&context))).unwrap_or_else(|_| {
            tracing::error!(?packet, "answering a packet panicked: please report this line");
            Verdict::Silence
        })
    }
}

/// Milliseconds since 1970; one look at the clock serves a whole batch, and the limiter.
fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Serves all sockets until `stop` is cancelled; the tasks are tracked by `tasks`. Plain queries are answered where they
/// arrive, the others by `rare`. What is returned serves more streams.
pub fn serve(
    sockets: DnsSockets,
    caps: Caps,
    rare: Arc<Rare>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> std::io::Result<Streams> {
    let hand_over = udp::HandOver::start(rare.clone(), tasks, stop.clone())?;
    for socket in sockets.udp {
        udp::serve(socket, rare.clone(), hand_over.clone(), tasks, stop.clone())?;
    }
    let streams = tcp::Streams::new(rare, caps, bind::raise_file_limit(), tasks, stop);
    for listener in sockets.tcp {
        streams.serve(listener, None)?;
    }
    Ok(streams)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::Zones;

    /// Answers from a server without zones: REFUSED, unless they are limited.
    fn answerer(per_second: u32) -> Answerer {
        let limiter = LimiterSettings {
            per_second,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            exempt: Vec::new(),
            dry_run: false,
            table_bits: 8,
        };
        Answerer {
            live: Arc::new(Live::new(Zones::new([]))),
            ttls: Ttls { txt: 1, negative: 1 },
            cookies: Arc::new(Cookies::new(&[1; 16], &[])),
            limiter: Arc::new(Limiter::new(limiter)),
        }
    }

    #[test]
    fn the_limit_is_for_udp_without_a_valid_cookie() {
        let answerer = answerer(1);
        let ask = |client: &str, transport, cookie: &[u8]| {
            let question = [0, 0, 16, 0, 1]; // . TXT
            let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4 + cookie.len() as u8, 0, 10, 0, cookie.len() as u8];
            let packet = [&[1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], &question, &opt, cookie].concat();
            let mut out = Vec::new();
            let verdict = answerer.answer(&packet, client.parse().unwrap(), transport, now_millis(), &mut out);
            assert_eq!(verdict, Verdict::Reply);
            let limited = match (out[2] & 0x02, out[3] & 0x0f) {
                (0, 5) => false,
                (2, 0) => true,
                other => panic!("neither REFUSED nor an empty TC: {other:?}"),
            };
            (limited, out[out.len() - 24..].to_vec())
        };
        let (limited, cookie) = ask("192.0.2.1", Transport::Udp, &[5; 8]);
        assert!(!limited);
        assert!((0..20).any(|_| ask("192.0.2.2", Transport::Udp, &[5; 8]).0), "one a second");
        assert!((0..20).all(|_| !ask("192.0.2.1", Transport::Udp, &cookie).0), "a valid cookie");
        assert!((0..20).any(|_| ask("192.0.2.2", Transport::Udp, &cookie).0), "somebody else's cookie");
        assert!((0..20).all(|_| !ask("192.0.2.2", Transport::Tcp, &[5; 8]).0), "TCP");
        assert!(answerer.limiter.limited() > 1);
    }

    #[test]
    fn a_runtime_that_ends_at_once_is_not_held_up() {
        let (ended, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for round in 0..400 {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                let entered = runtime.enter();
                let sockets = DnsSockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
                let (rare, stop) = (Arc::new(Rare::new(answerer(0))), CancellationToken::new());
                let caps = Caps { connections: 1, per_prefix: 1 };
                serve(sockets, caps, rare, &TaskTracker::new(), &stop).unwrap();
                drop(entered);
                stop.cancel();
                // Some of the tasks that end it have begun, others have not.
                std::thread::sleep(std::time::Duration::from_micros(round % 50));
                drop(runtime);
            }
            ended.send(()).unwrap();
        });
        wait.recv_timeout(std::time::Duration::from_secs(30)).expect("the runtime ends");
    }
}
