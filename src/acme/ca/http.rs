//! How the ACME client speaks HTTP: with deadlines, a limit for answers, and errors that name status and words.
//!
//! instant-acme has no deadline, reads every error as an ACME problem document, and forgets headers. Here an answer that
//! is no ACME is an error of its own, and what the last answer said is remembered: status, `Retry-After`, links, body.
//!
//! Each CA has one [`Pool`] of connections; each attempt takes a conversation, [`Http`], from it.

use std::error::Error as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{LINK, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower::{BoxError, Service};
use zeroize::Zeroizing;

use super::breaker::Breaker;
use crate::acme::pause::{LONGEST_PAUSE, SHORTEST_WAIT};
use crate::config::Proxy;
use crate::store::now;
use crate::zone::Timestamp;

/// For a whole request, connecting included.
const DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A connection that says nothing during a request is asked whether it is alive after this long, and closed after as
/// long again: before [`DEADLINE`], so that the next request has a new one.
const PING: Duration = Duration::from_secs(10);
/// A connection that is not used is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Octets of an answer.
const BODY_LIMIT: usize = 1024 * 1024;
/// Characters of an answer that are shown in an error.
const SHOWN: usize = 300;
const AGENT: &str = concat!("acmezone/", env!("CARGO_PKG_VERSION"));

/// What went wrong below ACME.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("the CA cannot be reached at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("the CA did not answer at {url} within {} s", deadline.as_secs())]
    TooSlow { url: String, deadline: Duration },
    #[error("the CA's answer from {url} cannot be read: {reason}")]
    Body { url: String, reason: String },
    /// An answer that is no success, and no problem document where instant-acme reads one.
    #[error("the CA answered {status} at {url}: {body}")]
    Status { url: String, status: StatusCode, body: String, retry_at: Option<Timestamp> },
}

/// Why there is no HTTP client for a CA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoClient {
    #[error("cannot read the CA's root certificate {}: {reason}", path.display())]
    Root { path: PathBuf, reason: String },
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    #[error("the URL of the proxy, `{url}`, cannot be used: {reason}")]
    Proxy { url: String, reason: String },
}

/// An answer, as far as somebody may ask for it afterwards. Nothing in it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub url: String,
    pub status: StatusCode,
    /// The moment that `Retry-After` names.
    pub retry_at: Option<Timestamp>,
    pub location: Option<String>,
    pub links: Vec<Link>,
    pub body: Bytes,
}

/// A `Link` header (RFC 8288).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// In lower case.
    pub rel: String,
    pub url: String,
}

/// The connections to one CA. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool {
    client: Client<HttpsConnector<Connector>, BodyWrapper<Bytes>>,
}

/// One conversation with a CA. Clones share what it remembers.
#[derive(Clone, Debug)]
pub struct Http {
    /// When somebody made up his mind to have it.
    pub began: Instant,
    pool: Pool,
    deadline: Duration,
    breaker: Arc<Breaker>,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    last: Answer,
    /// What a GET of this URL is answered without asking the CA.
    known: Option<(String, Bytes)>,
    /// Where all certificates of the CA ask the same: a limit that is met there is everybody's.
    common: Vec<String>,
    /// Where nothing is asked that a certificate has to wait for: what is said there holds nobody.
    aside: Vec<String>,
}

impl Pool {
    /// Connections that trust the roots of the system, which are read now, and those in the file `root`; through the
    /// proxy if there is one.
    pub fn new(root: Option<&Path>, proxy: Option<&Proxy>) -> Result<Pool, NoClient> {
        let config = tls(root.map(read_roots).transpose()?.unwrap_or_default())?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .enable_http2()
            .wrap_connector(Connector::new(proxy)?);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .build(connector);
        Ok(Pool { client })
    }

    /// A new conversation. The breaker hears when the CA asks everybody to come back later.
    pub fn conversation(&self, breaker: Arc<Breaker>) -> Http {
        Http { began: Instant::now(), pool: self.clone(), deadline: DEADLINE, breaker, memory: Arc::default() }
    }
}

/// TLS that trusts the roots of the system, which are read now, and these.
pub fn tls(roots: Vec<CertificateDer<'static>>) -> Result<rustls::ClientConfig, NoClient> {
    let tls = |error: rustls::Error| NoClient::Tls(error.to_string());
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider.clone()).map_err(tls)?;
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        // Not less strict than the default: it is the system's own way to verify.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// Makes TCP connections, directly or through a proxy.
#[derive(Clone, Debug)]
pub struct Connector {
    direct: HttpConnector,
    tunnel: Option<(Tunnel<HttpConnector>, Proxy)>,
}

impl Connector {
    pub fn new(proxy: Option<&Proxy>) -> Result<Connector, NoClient> {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_connect_timeout(Some(CONNECT_DEADLINE));
        let Some(proxy) = proxy else { return Ok(Connector { direct, tunnel: None }) };
        let Proxy { url, credentials, .. } = proxy;
        let bad = |reason: String| NoClient::Proxy { url: url.clone(), reason };
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(bad("it must be http://host:port".into()));
        }
        let mut tunnel = Tunnel::new(uri, direct.clone());
        if let Some((user, password)) = credentials {
            let both = Zeroizing::new(format!("{user}:{}", password.as_str()));
            let basic = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(both.as_bytes())));
            tunnel = tunnel.with_auth(HeaderValue::from_str(&basic).map_err(|error| bad(error.to_string()))?);
        }
        Ok(Connector { direct, tunnel: Some((tunnel, proxy.clone())) })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Both take as many as come: neither has anything to get ready.
        match &mut self.tunnel {
            None => self.direct.poll_ready(context).map_err(Into::into),
            Some((tunnel, _)) => tunnel.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match &mut self.tunnel {
            Some((tunnel, proxy)) if !to.host().is_some_and(|host| proxy.spares(host)) => {
                let connecting = tunnel.call(to);
                Box::pin(async { Ok(connecting.await?) })
            }
            _ => {
                let connecting = self.direct.call(to);
                Box::pin(async { Ok(connecting.await?) })
            }
        }
    }
}

impl Http {
    /// Fetches what needs no account: a directory, renewal information. Every answer but a success is an error.
    pub async fn get(&self, url: &str) -> Result<Answer, HttpError> {
        let unreachable = |error: http::Error| HttpError::Unreachable { url: url.into(), reason: error.to_string() };
        let request = Request::get(url).body(BodyWrapper::default()).map_err(unreachable)?;
        let (_, answer) = self.exchange(request).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(answer.into_error()) }
    }

    /// The last answer that came in.
    pub fn last(&self) -> Answer {
        self.memory().last.clone()
    }

    /// Lets this conversation take the answer to a GET of this URL as known.
    pub fn know(&self, url: String, body: Bytes) {
        self.memory().known = Some((url, body));
    }

    /// Lets a limit that is met at this URL count for all certificates.
    pub fn is_common(&self, url: &str) {
        self.memory().common.push(url.to_owned());
    }

    /// Lets no answer from this URL count for anybody but who asks there: no certificate has to wait for it.
    pub fn is_aside(&self, url: &str) {
        self.memory().aside.push(url.to_owned());
    }

    /// Passes on that the CA asks to be left alone.
    fn hear(&self, head: &Answer, now: Timestamp) {
        let (is_common, is_aside) = {
            let memory = self.memory();
            (memory.common.contains(&head.url), memory.aside.contains(&head.url))
        };
        let until = match head.status {
            StatusCode::SERVICE_UNAVAILABLE if !is_aside => head.retry_at,
            StatusCode::TOO_MANY_REQUESTS if is_common => Some(head.retry_at.unwrap_or(now + SHORTEST_WAIT)),
            _ => None,
        };
        if let Some(until) = until {
            self.breaker.asked_to_wait(now, until);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and remembers the answer, whatever its status is.
    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<(http::response::Parts, Answer), HttpError> {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let url = request.uri().to_string();
        // The answer before this one says nothing about a request that gets none.
        self.memory().last = Answer { url: url.clone(), ..Answer::default() };
        let exchange = async {
            let response = self.pool.client.request(request).await.map_err(|error| HttpError::Unreachable {
                url: url.clone(),
                reason: error.source().map_or_else(|| error.to_string(), causes),
            })?;
            let (parts, body) = response.into_parts();
            // Said, whatever becomes of the body: there may be an order already.
            let head = Answer::new(&url, parts.status, &parts.headers, Bytes::new(), now());
            self.memory().last = head.clone();
            self.hear(&head, now());
            let body = Limited::new(body, BODY_LIMIT).collect().await;
            let body = match body {
                Ok(body) => body.to_bytes(),
                // The status says enough.
                Err(_) if !head.status.is_success() => Bytes::new(),
                Err(error) => return Err(HttpError::Body { url: url.clone(), reason: error.to_string() }),
            };
            Ok((parts, Answer { body, ..head }))
        };
        let (parts, answer) = match timeout(self.deadline, exchange).await {
            Ok(exchanged) => exchanged?,
            Err(_) => return Err(HttpError::TooSlow { url, deadline: self.deadline }),
        };
        self.memory().last = answer.clone();
        Ok((parts, answer))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            let method = request.method().clone();
            if method == Method::GET
                && let Some((url, body)) = &http.memory().known
                && request.uri() == url.as_str()
            {
                let (parts, ()) = Response::new(()).into_parts();
                return Ok(BytesResponse { parts, body: Box::new(body.clone()) });
            }
            let (mut parts, answer) = http.exchange(request).await.map_err(|error| Error::Other(Box::new(error)))?;
            // It is kept here. instant-acme adds it to the clock, however much it is.
            parts.headers.remove(RETRY_AFTER);
            // instant-acme reads problem documents in answers to signed requests, and nowhere else.
            let is_understood = method == Method::POST && is_problem(&answer.body);
            if !answer.status.is_success() && !is_understood {
                return Err(Error::Other(Box::new(answer.into_error())));
            }
            Ok(BytesResponse { parts, body: Box::new(answer.body) })
        })
    }
}

impl Answer {
    fn new(url: &str, status: StatusCode, headers: &HeaderMap, body: Bytes, now: Timestamp) -> Answer {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        let links = headers.get_all(LINK).iter().filter_map(text).flat_map(|value| links(&value));
        let absolute = |to: &str| absolute(url, to);
        Answer {
            url: url.to_owned(),
            status,
            retry_at: headers.get(RETRY_AFTER).and_then(text).and_then(|value| retry_at(&value, now)),
            location: headers.get(LOCATION).and_then(text).map(|to| absolute(&to)),
            links: links.map(|link| Link { url: absolute(&link.url), ..link }).collect(),
            body,
        }
    }

    /// The URLs of the links with this relation.
    pub fn linked<'a>(&'a self, rel: &'a str) -> impl Iterator<Item = &'a str> {
        self.links.iter().filter(move |link| link.rel == rel).map(|link| link.url.as_str())
    }

    fn into_error(self) -> HttpError {
        let body = shown(&self.body);
        HttpError::Status { url: self.url, status: self.status, body, retry_at: self.retry_at }
    }
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, NoClient> {
    let failed = |reason: String| NoClient::Root { path: path.to_owned(), reason };
    let roots: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| failed(error.to_string()))?;
    if roots.is_empty() { Err(failed("there is no certificate in it".into())) } else { Ok(roots) }
}

/// Whether an answer can be read as a problem document (RFC 7807).
fn is_problem(body: &[u8]) -> bool {
    serde_json::from_slice::<instant_acme::Problem>(body)
        .is_ok_and(|problem| problem.r#type.is_some() || problem.detail.is_some())
}

/// The beginning of an answer, in one line.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() {
        0 => "(nothing more)".into(),
        count if count > SHOWN => line.chars().take(SHOWN).chain("…".chars()).collect(),
        _ => line,
    }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110 section 10.2.3). What is longer than we ever wait is that long.
fn retry_at(value: &str, now: Timestamp) -> Option<Timestamp> {
    let value = value.trim();
    let at = if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        now.saturating_add(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = jiff::fmt::rfc2822::parse(value).ok()?;
        u64::try_from(date.timestamp().as_second()).ok()?
    };
    Some(at.min(now + LONGEST_PAUSE))
}

/// Reads a `Link` header (RFC 8288 section 3): one link for each relation. What cannot be read is left out.
fn links(value: &str) -> Vec<Link> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((url, after)) = after.split_once('>') else { break };
        // A comma or a semicolon between quotes is none.
        let mut quoted = false;
        let mut end = after.len();
        let mut parameters = Vec::new();
        let mut from = 0;
        for (at, octet) in after.bytes().enumerate() {
            match octet {
                b'"' => quoted = !quoted,
                b';' if !quoted => parameters.push(&after[std::mem::replace(&mut from, at + 1)..at]),
                b',' if !quoted => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        parameters.push(&after[from..end]);
        let rels = parameters.iter().filter_map(|parameter| parameter.split_once('='));
        let rels = rels.filter(|(name, _)| name.trim().eq_ignore_ascii_case("rel"));
        for rel in rels.flat_map(|(_, value)| value.trim().trim_matches('"').split_whitespace()) {
            found.push(Link { rel: rel.to_ascii_lowercase(), url: url.trim().to_owned() });
        }
        rest = &after[end..];
    }
    found
}

/// A URL that an answer from `base` names, also if it begins with the path.
fn absolute(base: &str, to: &str) -> String {
    match base.parse::<Uri>().map(Uri::into_parts) {
        Ok(http::uri::Parts { scheme: Some(scheme), authority: Some(authority), .. }) if to.starts_with('/') => {
            format!("{scheme}://{authority}{to}")
        }
        _ => to.to_owned(),
    }
}

/// An error with everything below it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        below = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> Http {
        Pool::new(None, None).unwrap().conversation(Arc::default())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_rfc9110_10_2_3() {
        assert_eq!(retry_at("120", 1000), Some(1120));
        assert_eq!(retry_at("Fri, 31 Dec 1999 23:59:59 GMT", 946_684_000), Some(946_684_799));
        for longest in
            ["4294967296", "18446744073709551615", "99999999999999999999999", "Tue, 31 Dec 2999 23:59:59 GMT"]
        {
            assert_eq!(retry_at(longest, 1000), Some(1000 + LONGEST_PAUSE), "{longest}");
        }
        for nothing in ["soon", "-1", "+1", "", "1.5"] {
            assert_eq!(retry_at(nothing, 0), None, "{nothing}");
        }
    }

    #[test]
    fn links_have_a_url_and_relations_rfc8288_3() {
        let link = |rel: &str, url: &str| Link { rel: rel.into(), url: url.into() };
        assert_eq!(links("<https://ca.test/dir>;rel=\"index\""), [link("index", "https://ca.test/dir")]);
        assert_eq!(
            links("</cert/1>; title=\"one, two; three\"; REL=Alternate, <https://b/?a,b>;rel=\"up alternate\""),
            [link("alternate", "/cert/1"), link("up", "https://b/?a,b"), link("alternate", "https://b/?a,b")]
        );
        for nothing in ["", "https://ca.test", "<https://ca.test", "<https://ca.test>", "<x>;rel"] {
            assert_eq!(links(nothing), [], "{nothing}");
        }
    }

    #[test]
    fn urls_in_headers_may_begin_with_the_path_rfc9110_10_2_2() {
        assert_eq!(absolute("https://ca.test:14000/order/1?x", "/cert/1"), "https://ca.test:14000/cert/1");
        assert_eq!(absolute("https://ca.test/order/1", "https://b/cert/1"), "https://b/cert/1");
    }

    #[test]
    fn a_proxy_is_spoken_to_in_plain_http() {
        for url in ["https://proxy.test:3128", "proxy.test:3128", "", "http://"] {
            let proxy = Proxy { url: url.into(), credentials: None, except: Vec::new() };
            assert!(matches!(Pool::new(None, Some(&proxy)), Err(NoClient::Proxy { .. })), "{url}");
        }
        let credentials = Some(("me".into(), Zeroizing::new("secret".to_owned())));
        let proxy = Proxy { url: "http://proxy.test:3128".into(), credentials, except: Vec::new() };
        let pool = Pool::new(None, Some(&proxy)).unwrap();
        let encoded = BASE64_STANDARD.encode("me:secret");
        let shown = format!("{pool:?}");
        assert!(!shown.contains("secret") && !shown.contains(&encoded), "{shown}");
    }

    #[test]
    fn only_what_certificates_need_makes_them_all_wait_rfc9110_10_2_3() {
        let breaker = Arc::new(Breaker::default());
        let http = Pool::new(None, None).unwrap().conversation(breaker.clone());
        let [common, aside, order] = ["https://ca.test/nonce", "https://ca.test/chain/2", "https://ca.test/order/1"];
        http.is_common(common);
        http.is_aside(aside);
        let heard = |url: &str, status: StatusCode, retry_at: Option<Timestamp>| {
            http.hear(&Answer { url: url.into(), status, retry_at, ..Answer::default() }, 1000);
            breaker.held(1000).map(|held| held.until)
        };
        let (busy, limited) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS);
        for (url, status) in [(aside, busy), (aside, limited), (order, limited)] {
            assert_eq!(heard(url, status, Some(9000)), None, "{url} {status}");
        }
        assert_eq!(heard(order, busy, None), None);
        assert_eq!(heard(order, busy, Some(2000)), Some(2000));
        assert_eq!(heard(common, limited, Some(3000)), Some(3000));
    }

    #[test]
    fn an_html_page_is_no_problem_document() {
        assert!(is_problem(br#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}"#));
        assert!(!is_problem(b"<html>503</html>"));
        assert!(!is_problem(b"{}"));
    }

    #[test]
    fn answers_are_shown_in_one_short_line() {
        assert_eq!(shown(b"<html>\n  <b>busy</b>\r\n"), "<html> <b>busy</b>");
        assert_eq!(shown(b""), "(nothing more)");
        assert_eq!(shown(&[b'x'; 5000]).chars().count(), SHOWN + 1);
    }

    #[tokio::test]
    async fn a_ca_that_says_nothing_is_not_waited_for_for_ever() {
        // Connections are made, and nobody speaks on them.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/dir", silent.local_addr().unwrap());
        let deadline = Duration::from_millis(200);
        let http = Http { deadline, ..http() };
        let request = Request::get(&url).body(BodyWrapper::default()).unwrap();
        let Err(Error::Other(error)) = http.request(request).await else { panic!("nobody answers there") };
        assert_eq!(*error.downcast::<HttpError>().unwrap(), HttpError::TooSlow { url, deadline });
    }

    #[tokio::test]
    async fn a_ca_that_is_down_is_named() {
        let http = http();
        let request = Request::get("https://127.0.0.1:9/dir").body(BodyWrapper::default()).unwrap();
        let Err(Error::Other(error)) = http.request(request).await else { panic!("nobody listens there") };
        let error = error.to_string();
        assert!(error.contains("https://127.0.0.1:9/dir") && error.contains("refused"), "{error}");
    }
}
