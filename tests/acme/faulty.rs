//! A CA with bad days: HTTPS in front of Pebble, which is told what to answer instead.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum_server::tls_rustls::RustlsConfig;
use futures_util::{StreamExt, stream};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use crate::house::Ca;
use crate::support::{Pebble, Tls};

/// What the CA does instead of its work.
#[derive(Clone, Debug)]
pub enum Fault {
    Answer {
        status: u16,
        content_type: &'static str,
        retry_after: &'static str,
        body: &'static str,
    },
    /// Does what it is asked, and then this comes back.
    AnswerAfterwards {
        status: u16,
        body: &'static str,
    },
    /// Says nothing.
    Silence,
    /// Does what it is asked, and says nothing.
    SilenceAfterwards,
    /// Closes all connections instead of an answer.
    Cut,
    /// Does what it is asked, and closes all connections instead of an answer.
    CutAfterwards,
    /// Does what it is asked, and closes all connections in the middle of the answer's body.
    CutInside,
    /// Does what it is asked, with this nonce in the answer, or none.
    Nonce(Option<&'static str>),
    /// Does what it is asked, with this `Retry-After` in the answer.
    RetryAfter(&'static str),
    /// Does what it is asked, and makes this of the path and the answer's body.
    Rewrite(fn(&str, String) -> String),
}

impl Fault {
    /// Whether the CA has done what it was asked although its answer is lost, its head included.
    fn loses_the_answer(&self) -> bool {
        use Fault::*;
        matches!(self, AnswerAfterwards { .. } | SilenceAfterwards | CutAfterwards)
    }
}

/// A schedule of faults that is the same for the same seed.
struct Weather {
    state: u64,
    /// Of a hundred requests, so many meet a fault.
    percent: u64,
    faults: Vec<Fault>,
}

impl Weather {
    fn next(&mut self) -> Option<Fault> {
        let is_bad = self.random() % 100 < self.percent;
        let which = self.random() as usize % self.faults.len();
        is_bad.then(|| self.faults[which].clone())
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

type Connector = hyper_rustls::HttpsConnector<HttpConnector>;

#[derive(Clone)]
struct Front {
    pebble: String,
    client: Client<Connector, Full<Bytes>>,
    fault: Arc<Mutex<Option<(&'static str, Fault)>>>,
    /// So many requests meet the fault.
    times: Arc<AtomicUsize>,
    hits: Arc<Mutex<usize>>,
    /// Requests that were done although they met the fault.
    done: Arc<Mutex<usize>>,
    trap: Arc<Mutex<Option<Trap>>>,
    weather: Arc<Mutex<Option<Weather>>>,
    requests: Arc<AtomicUsize>,
    lost_orders: Arc<AtomicUsize>,
    /// Closes all connections.
    cut: Arc<Notify>,
}

/// Whether the CA has acted on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// A request that is never answered.
struct Trap {
    /// So many requests go through before it.
    left: usize,
    when: When,
    sprung: oneshot::Sender<String>,
}

pub struct FaultyCa {
    port: u16,
    tls: Tls,
    front: Front,
}

impl FaultyCa {
    /// Stands in front of Pebble, which makes the URLs of its answers from the host that it is asked for.
    pub fn before(pebble: &Pebble) -> FaultyCa {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pebble.root_pem_path()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        let front = Front {
            pebble: pebble.directory_url().trim_end_matches("/dir").to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            fault: Arc::default(),
            times: Arc::default(),
            hits: Arc::default(),
            done: Arc::default(),
            trap: Arc::default(),
            weather: Arc::default(),
            requests: Arc::default(),
            lost_orders: Arc::default(),
            cut: Arc::default(),
        };
        let [outside, listener] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        [&outside, &listener].iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        let (port, tls) = (outside.local_addr().unwrap().port(), Tls::new(&[]));
        tokio::spawn(forward(outside, listener.local_addr().unwrap(), front.cut.clone()));
        let files = (tls.certificate_path(), tls.key_path());
        let router = axum::Router::new().fallback(answer).with_state(front.clone());
        tokio::spawn(async move {
            let tls = RustlsConfig::from_pem_file(files.0, files.1).await.unwrap();
            let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
            server.serve(router.into_make_service()).await.unwrap();
        });
        FaultyCa { port, tls, front }
    }

    pub fn ca(&self) -> Ca {
        Ca { directory: format!("https://localhost:{}/dir", self.port), root: self.tls.root_path(), more: "" }
    }

    /// From now on, requests whose path begins with `path` meet the fault.
    pub fn fail(&self, path: &'static str, fault: Fault) {
        self.fail_times(usize::MAX, path, fault);
    }

    /// The same for so many requests; then the CA is well again.
    pub fn fail_times(&self, times: usize, path: &'static str, fault: Fault) {
        self.front.times.store(times, Ordering::SeqCst);
        *self.front.hits.lock().unwrap() = 0;
        *self.front.fault.lock().unwrap() = Some((path, fault));
    }

    /// Lets so many requests through and answers the next one never. Its path comes over the channel, before or after
    /// the CA has acted on it.
    pub fn trap(&self, after: usize, when: When) -> oneshot::Receiver<String> {
        let (sprung, receiver) = oneshot::channel();
        *self.front.trap.lock().unwrap() = Some(Trap { left: after, when, sprung });
        receiver
    }

    /// From now on, so many of a hundred requests meet one of the faults, the same for the same seed.
    pub fn weather(&self, seed: u64, percent: u64, faults: &[Fault]) {
        let weather = Weather { state: seed, percent, faults: faults.to_vec() };
        *self.front.weather.lock().unwrap() = Some(weather);
    }

    pub fn heal(&self) {
        *self.front.fault.lock().unwrap() = None;
        *self.front.weather.lock().unwrap() = None;
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.front.requests.load(Ordering::SeqCst)
    }

    /// How many orders Pebble may have made without anybody hearing of it.
    pub fn lost_orders(&self) -> usize {
        self.front.lost_orders.load(Ordering::SeqCst)
    }

    /// How many requests Pebble has done in silence.
    pub fn done(&self) -> usize {
        *self.front.done.lock().unwrap()
    }

    /// How many requests have met the fault.
    pub fn hits(&self) -> usize {
        *self.front.hits.lock().unwrap()
    }
}

/// Passes connections on until they are cut.
async fn forward(listener: TcpListener, to: SocketAddr, cut: Arc<Notify>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((mut outside, _)) = listener.accept().await {
        let cut = cut.clone();
        tokio::spawn(async move {
            let mut inside = TcpStream::connect(to).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut outside, &mut inside) => {}
                () = cut.notified() => {}
            }
        });
    }
}

async fn answer(State(front): State<Front>, request: Request<Body>) -> Response {
    front.requests.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path();
    let fault = front.fault.lock().unwrap().clone();
    let fault = fault.filter(|(start, _)| path.starts_with(start)).map(|(_, fault)| fault);
    let one_less = |left: usize| left.checked_sub(1);
    let fault = fault.filter(|_| front.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok());
    let fault = fault.or_else(|| front.weather.lock().unwrap().as_mut().and_then(Weather::next));
    if let Some(fault) = &fault {
        *front.hits.lock().unwrap() += 1;
        if path.starts_with("/order-plz") && fault.loses_the_answer() {
            front.lost_orders.fetch_add(1, Ordering::SeqCst);
        }
    }
    if let Some(Trap { when, sprung, .. }) = front.trapped() {
        let path = path.to_owned();
        if when == When::After {
            front.pass_on(request).await;
        }
        let _ = sprung.send(path);
        return std::future::pending().await;
    }
    match fault {
        None => front.pass_on(request).await,
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::SilenceAfterwards) => {
            front.pass_on(request).await;
            *front.done.lock().unwrap() += 1;
            std::future::pending().await
        }
        Some(Fault::Answer { status, content_type, retry_after, body }) => {
            let headers = [(header::CONTENT_TYPE, content_type)];
            let mut answer = (StatusCode::from_u16(status).unwrap(), headers, body).into_response();
            if !retry_after.is_empty() {
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(retry_after));
            }
            answer
        }
        Some(Fault::AnswerAfterwards { status, body }) => {
            front.pass_on(request).await;
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        }
        Some(Fault::Cut) => {
            front.cut.notify_waiters();
            std::future::pending().await
        }
        Some(Fault::CutAfterwards) => {
            front.pass_on(request).await;
            front.cut.notify_waiters();
            std::future::pending().await
        }
        Some(Fault::CutInside) => {
            let (parts, body) = front.pass_on(request).await.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let half = stream::iter([Ok::<_, Infallible>(body.slice(..body.len() / 2))]);
            let end = stream::once(async move {
                // The half goes out first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                front.cut.notify_waiters();
                std::future::pending().await
            });
            Response::from_parts(parts, Body::from_stream(half.chain(end)))
        }
        Some(Fault::RetryAfter(retry_after)) => {
            let mut answer = front.pass_on(request).await;
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(retry_after));
            answer
        }
        Some(Fault::Rewrite(rewrite)) => {
            let path = path.to_owned();
            let (mut parts, body) = front.pass_on(request).await.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, rewrite(&path, String::from_utf8(body.to_vec()).unwrap()).into())
        }
        Some(Fault::Nonce(nonce)) => {
            let mut answer = front.pass_on(request).await;
            answer.headers_mut().remove("replay-nonce");
            if let Some(nonce) = nonce {
                answer.headers_mut().insert("replay-nonce", HeaderValue::from_static(nonce));
            }
            answer
        }
    }
}

impl Front {
    /// The trap, if this is the request that it waits for.
    fn trapped(&self) -> Option<Trap> {
        let mut trap = self.trap.lock().unwrap();
        match trap.as_mut() {
            Some(set) if set.left > 0 => {
                set.left -= 1;
                None
            }
            _ => trap.take(),
        }
    }

    async fn pass_on(&self, request: Request<Body>) -> Response {
        let (mut parts, body) = request.into_parts();
        // HTTP/2 has the host in the URI, HTTP/1 in a header.
        let host = parts.uri.authority().map(|host| host.as_str().parse().unwrap());
        if let Some(host) = host {
            parts.headers.insert(header::HOST, host);
        }
        parts.uri = format!("{}{}", self.pebble, parts.uri.path()).parse::<Uri>().unwrap();
        parts.version = axum::http::Version::HTTP_11;
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let answer = self.client.request(Request::from_parts(parts, Full::new(body))).await;
        answer.unwrap().map(Body::new)
    }
}
