//! HTTP and HTTPS listeners for the routers of the doors.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use axum_server::{Address, Handle, Server};
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

use super::prompt::Prompt;
use super::tls::{self, TlsError};
use crate::config::TlsFiles;

/// How long the header of a request may take to arrive.
const HEADER: Duration = Duration::from_secs(5);
/// How long requests under way may go on when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Streams of one HTTP/2 connection at a time.
const STREAMS: u32 = 100;

/// Reads certificate chain and key, for HTTP.
pub fn tls(files: &TlsFiles) -> Result<RustlsConfig, TlsError> {
    Ok(RustlsConfig::from_config(Arc::new(tls::read(files, &[b"h2", b"http/1.1"])?)))
}

/// Serves a router until `stop` is cancelled; then finishes what is under way. Plain text is HTTP/1.1 alone.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<RustlsConfig>,
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
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serve = async {
        match tls {
            Some(tls) => {
                let prompt = |tls| Prompt::new(tls, HEADER);
                let mut server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle).map(prompt);
                limit(&mut server);
                server.serve(service).await
            }
            None => {
                // To tell the versions apart, hyper would wait for the first octets without a deadline.
                let mut server = axum_server::from_tcp(listener)?.handle(handle).http1_only();
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
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
}
