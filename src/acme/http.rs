//! How the ACME client speaks HTTP: with deadlines, a limit for answers, and errors that name status and words.
//!
//! instant-acme has no deadline and reads every error as an ACME problem document; a load balancer's HTML page would
//! become a JSON syntax error. Here such an answer is an error of its own, and `Retry-After` is remembered.

use std::error::Error as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::store::now;
use crate::zone::Timestamp;

/// For a whole request, connecting included.
const DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Octets of an answer.
const BODY_LIMIT: usize = 1024 * 1024;
/// Characters of an answer that are shown in an error.
const SHOWN: usize = 300;
const AGENT: &str = concat!("acmezone/", env!("CARGO_PKG_VERSION"));

/// What went wrong below ACME.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the CA cannot be reached at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("the CA did not answer at {url} within {} s", deadline.as_secs())]
    TooSlow { url: String, deadline: Duration },
    #[error("the CA's answer from {url} cannot be read: {reason}")]
    Body { url: String, reason: String },
    #[error("the CA answered {status} at {url}: {body}")]
    Status { url: String, status: StatusCode, body: String },
}

/// Why there is no HTTP client for a CA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoClient {
    #[error("cannot read the CA's root certificate {}: {reason}", path.display())]
    Root { path: PathBuf, reason: String },
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// What the last answer was like.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    pub(super) url: String,
    /// The moment that `Retry-After` names.
    pub(super) retry_at: Option<Timestamp>,
}

/// The HTTP client of one attempt. Clones share what they remember.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    deadline: Duration,
    last: Arc<Mutex<Last>>,
    caa_identities: Arc<Mutex<Vec<String>>>,
}

/// What a directory says beyond what instant-acme reads (RFC 8555 section 7.1.1).
#[derive(serde::Deserialize)]
struct Directory {
    meta: DirectoryMeta,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryMeta {
    caa_identities: Vec<String>,
}

impl Http {
    /// A client that trusts the roots of the system and those in the file `root`.
    pub(super) fn new(root: Option<&Path>) -> Result<Http, NoClient> {
        let tls = |error: rustls::Error| NoClient::Tls(error.to_string());
        let provider = CryptoProvider::get_default()
            .cloned()
            .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let roots = root.map(read_roots).transpose()?.unwrap_or_default();
        let verifier =
            rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider.clone()).map_err(tls)?;
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls)?
            // Not less strict than the default: it is the system's own way to verify.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_DEADLINE));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .enable_http2()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Http { client, deadline: DEADLINE, last: Arc::default(), caa_identities: Arc::default() })
    }

    /// The last answer that came in.
    pub(super) fn last(&self) -> Last {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names that the CA takes for its own in CAA records, as its directory said last.
    pub(super) fn caa_identities(&self) -> Vec<String> {
        self.caa_identities.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, NoClient> {
    let failed = |reason: String| NoClient::Root { path: path.to_owned(), reason };
    let roots: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| failed(error.to_string()))?;
    if roots.is_empty() { Err(failed("there is no certificate in it".into())) } else { Ok(roots) }
}

impl HttpClient for Http {
    fn request(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let url = request.uri().to_string();
        let method = request.method().clone();
        let response = self.client.request(request);
        let (last, deadline) = (self.last.clone(), self.deadline);
        let caa_identities = self.caa_identities.clone();
        Box::pin(async move {
            let exchange = async {
                let response = response.await.map_err(|error| HttpError::Unreachable {
                    url: url.clone(),
                    reason: error.source().map_or_else(|| error.to_string(), causes),
                })?;
                let (parts, body) = response.into_parts();
                let body = Limited::new(body, BODY_LIMIT).collect().await;
                let body = body.map_err(|error| HttpError::Body { url: url.clone(), reason: error.to_string() })?;
                Ok((parts, body.to_bytes()))
            };
            let (parts, body) = match tokio::time::timeout(deadline, exchange).await {
                Ok(exchanged) => exchanged.map_err(|error: HttpError| Error::Other(Box::new(error)))?,
                Err(_) => return Err(Error::Other(Box::new(HttpError::TooSlow { url, deadline }))),
            };
            let retry_after = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            *last.lock().unwrap_or_else(PoisonError::into_inner) =
                Last { url: url.clone(), retry_at: retry_after.and_then(|value| retry_at(value, now())) };
            // instant-acme reads problem documents in answers to signed requests, and nowhere else.
            let is_understood = method == Method::POST && is_problem(&body);
            if !parts.status.is_success() && !is_understood {
                let error = HttpError::Status { url, status: parts.status, body: shown(&body) };
                return Err(Error::Other(Box::new(error)));
            }
            if let Some(directory) =
                (method == Method::GET).then(|| serde_json::from_slice::<Directory>(&body).ok()).flatten()
            {
                *caa_identities.lock().unwrap_or_else(PoisonError::into_inner) = directory.meta.caa_identities;
            }
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
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

/// Reads `Retry-After`: seconds or a date (RFC 9110 section 10.2.3).
fn retry_at(value: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(seconds) = value.trim().parse::<u32>() {
        return Some(now + u64::from(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    u64::try_from(date.timestamp().as_second()).ok()
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

    #[test]
    fn retry_after_is_seconds_or_a_date_rfc9110_10_2_3() {
        assert_eq!(retry_at("120", 1000), Some(1120));
        assert_eq!(retry_at("Fri, 31 Dec 1999 23:59:59 GMT", 0), Some(946_684_799));
        assert_eq!(retry_at("soon", 0), None);
        assert_eq!(retry_at("-1", 0), None);
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
        let http = Http { deadline, ..Http::new(None).unwrap() };
        let request = Request::get(&url).body(BodyWrapper::default()).unwrap();
        let Err(Error::Other(error)) = http.request(request).await else { panic!("nobody answers there") };
        assert_eq!(*error.downcast::<HttpError>().unwrap(), HttpError::TooSlow { url, deadline });
    }

    #[tokio::test]
    async fn a_ca_that_is_down_is_named() {
        let http = Http::new(None).unwrap();
        let request = Request::get("https://127.0.0.1:9/dir").body(BodyWrapper::default()).unwrap();
        let Err(Error::Other(error)) = http.request(request).await else { panic!("nobody listens there") };
        let error = error.to_string();
        assert!(error.contains("https://127.0.0.1:9/dir") && error.contains("refused"), "{error}");
    }
}
