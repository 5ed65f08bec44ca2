//! HTTP and HTTPS listeners for the routers of the doors, with bounds against slow and greedy clients.
//!
//! | what | bound |
//! |---|---|
//! | connections, in all and from one network | `places.rs`: whoever has been idle the longest leaves |
//! | the PROXY header, the handshake of TLS, the first octets after it, the head of a request | [`HEADER`] each |
//! | the head of a request of HTTP/1 | [`HEAD`] octets |
//! | a connection of HTTP/1 between two requests | [`HEADER`] |
//! | a request, to the head of its answer | `door/guard.rs` |
//! | an answer that the client does not read | [`WRITE`] without any progress |
//! | the API, without a request | [`IDLE`], which is for HTTP/2 |

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum_server::accept::{Accept, DefaultAcceptor};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Address, Handle, Server};
use http::Request;
use hyper_util::rt::TokioTimer;
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::bind::raise_file_limit;
use super::places::{Caps, Place, Places};
use super::prompt::Prompt;
use super::throttle::Throttle;
use super::watched::Watched;
use super::{now_millis, proxy};
use crate::config::Api;

/// How long the header of a request may take to arrive, and everything that comes before it.
const HEADER: Duration = Duration::from_secs(5);
/// Octets of the head of a request of HTTP/1; hyper would keep 400 KiB of it, for every connection.
const HEAD: usize = 128 * 1024;
/// How long a write may wait for a client that does not read.
const WRITE: Duration = Duration::from_secs(10);
/// How long a connection of the API may stay without a request.
const IDLE: Duration = Duration::from_secs(60);
/// How long requests under way may go on when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Streams of one HTTP/2 connection at a time.
const STREAMS: u32 = 100;
/// One of so many file descriptors may be a connection of the API; with those of the DNS, `tcp.rs`, and the admin API's
/// there are some left.
const OF_FILES: u64 = 4;
const OF_FILES_FOR_ADMIN: u64 = 16;
/// Connections of the admin API, which are all from this host.
const ADMIN_CONNECTIONS: usize = 256;

/// Who is let in to the listeners that share it, and how long they may be idle. Cheap to clone.
#[derive(Clone)]
pub struct Entrance {
    places: Arc<Places>,
    idle: Option<Duration>,
    proxies: Option<Arc<Proxies>>,
}

/// Every connection comes from one of these, with a PROXY header.
struct Proxies {
    networks: Vec<IpNet>,
    refused: Throttle,
}

impl Entrance {
    pub fn of_api(api: &Api) -> Entrance {
        let caps = Caps { connections: api.connections, per_prefix: api.connections_per_prefix };
        let caps = caps.within(raise_file_limit(), OF_FILES, "API");
        // All clients of a proxy that does not say who they are come from its address.
        let unbounded = api.trusted_proxies.clone();
        let proxies = Proxies { networks: api.trusted_proxies.clone(), refused: Throttle::default() };
        Entrance {
            places: Places::new(caps, "API", unbounded),
            idle: Some(IDLE),
            proxies: api.proxy_protocol.then(|| Arc::new(proxies)),
        }
    }

    /// An answer of the admin API tells the progress of an order, for as long as that takes.
    pub fn of_admin() -> Entrance {
        let caps = Caps { connections: ADMIN_CONNECTIONS, per_prefix: ADMIN_CONNECTIONS };
        let caps = caps.within(raise_file_limit(), OF_FILES_FOR_ADMIN, "admin API");
        Entrance { places: Places::new(caps, "admin API", Vec::new()), idle: None, proxies: None }
    }

    /// The client of a new connection, and its place.
    async fn let_in(&self, stream: &mut TcpStream) -> io::Result<(SocketAddr, Place)> {
        let peer = stream.peer_addr()?;
        let client = match &self.proxies {
            None => peer,
            Some(proxies) => proxies.client(stream, peer).await.map_err(io::Error::other)?,
        };
        // A request that is under way when the server stops is finished.
        let place = self.places.take(client.ip(), &CancellationToken::new());
        // Without a place it is closed at once.
        Ok((client, place.ok_or(io::ErrorKind::ConnectionRefused)?))
    }
}

impl Proxies {
    async fn client(&self, stream: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, String> {
        let address: IpAddr = peer.ip().to_canonical();
        let known = match self.networks.iter().any(|network| network.contains(&address)) {
            false => Err("it is none of the `trusted_proxies`".to_owned()),
            true => match timeout(HEADER, proxy::read(stream)).await {
                Ok(read) => read.map_err(|error| error.to_string()),
                Err(_) => Err("its PROXY header did not come in time".to_owned()),
            },
        };
        known.map(|client| client.unwrap_or(peer)).inspect_err(|reason| {
            if let Some(connections) = self.refused.count(now_millis() / 1_000) {
                tracing::warn!(%peer, connections, "closed a connection to the API, which has `proxy_protocol`: {reason}");
            }
        })
    }
}

/// Serves a router until `stop` is cancelled; then finishes what is under way. Plain text is HTTP/1.1 alone. The requests
/// carry `ConnectInfo<SocketAddr>`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<ServerConfig>>,
    entrance: Entrance,
    stop: CancellationToken,
) -> io::Result<()> {
    let handle = Handle::new();
    let drain = {
        let (handle, stop) = (handle.clone(), stop.clone());
        async move {
            stop.cancelled().await;
            handle.graceful_shutdown(Some(DRAIN));
            std::future::pending::<()>().await;
        }
    };
    let service = router.into_make_service();
    let serve = async {
        match tls {
            Some(tls) => {
                let guarded = |tls: RustlsAcceptor| Prompt::new(tls.handshake_timeout(HEADER), HEADER);
                let mut server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(tls))?
                    .handle(handle)
                    .map(|tls| Guarded { inner: guarded(tls), entrance });
                limit(&mut server);
                server.serve(service).await
            }
            None => {
                // To tell the versions apart, hyper would wait for the first octets without a deadline.
                let mut server = axum_server::from_tcp(listener)?
                    .handle(handle)
                    .map(|inner: DefaultAcceptor| Guarded { inner, entrance })
                    .http1_only();
                limit(&mut server);
                server.serve(service).await
            }
        }
    };
    tokio::select! {
        served = serve => served,
        () = drain => Ok(()),
    }
}

/// Deadlines and bounds against slow and greedy clients.
fn limit<A: Address, Acceptor>(server: &mut Server<A, Acceptor>) {
    let builder = server.http_builder();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
}

/// Lets connections in before another acceptor has them.
#[derive(Clone)]
struct Guarded<A> {
    inner: A,
    entrance: Entrance,
}

impl<A, S> Accept<TcpStream, S> for Guarded<A>
where
    A: Accept<Watched<TcpStream>, Known<S>> + Clone + Send + Sync + 'static,
    A::Stream: AsyncRead + AsyncWrite,
    A::Future: Send,
    S: Send + 'static,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(A::Stream, A::Service)>> + Send>>;

    fn accept(&self, mut stream: TcpStream, service: S) -> Self::Future {
        let Guarded { inner, entrance } = self.clone();
        Box::pin(async move {
            let (client, place) = entrance.let_in(&mut stream).await?;
            let place = Arc::new(place);
            let watched = Watched::new(stream, place.clone(), WRITE, entrance.idle);
            inner.accept(watched, Known { inner: service, client, place }).await
        })
    }
}

/// Tells the routes from where a connection's requests come, and its place that there are some.
#[derive(Clone)]
struct Known<S> {
    inner: S,
    client: SocketAddr,
    place: Arc<Place>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Known<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.place.active(Instant::now());
        request.extensions_mut().insert(ConnectInfo(self.client));
        self.inner.call(request)
    }
}
