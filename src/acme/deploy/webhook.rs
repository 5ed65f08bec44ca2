//! Events for a program elsewhere: JSON in an HTTPS POST, signed with HMAC-SHA-256.
//!
//! The signature covers the moment of sending, so that a receiver can refuse what somebody recorded and sends again. An
//! event that is sent twice has the same `id`.

use std::fmt;
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, USER_AGENT};
use ::http::uri::InvalidUri;
use ::http::{Request, StatusCode, Uri};
use aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::acme::ca::http::{self, Connector, NoClient};
use crate::acme::source::{self, NoSecret};
use crate::config::{Proxy, Webhook};
use crate::zone::Timestamp;

/// From connecting to the status of the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// A connection that is not used is closed.
const IDLE: Duration = Duration::from_secs(60);
const AGENT: &str = concat!("acmezone/", env!("CARGO_PKG_VERSION"));
const SIGNATURE: &str = "x-acmezone-signature";

/// What the webhook is told: the body of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The same whenever this event is sent.
    pub id: String,
    pub event: Kind,
    /// Name of the certificate.
    pub certificate: String,
    pub names: Vec<String>,
    /// Hexadecimal. Of the certificate in use, if there is one.
    pub serial: Option<String>,
    pub not_after: Option<jiff::Timestamp>,
    /// When it happened.
    pub at: jiff::Timestamp,
    /// Why something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Issued,
    Failed,
    Deployed,
    DeployFailed,
    Revoked,
}

impl Kind {
    /// As it stands in the message.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Issued => "issued",
            Kind::Failed => "failed",
            Kind::Deployed => "deployed",
            Kind::DeployFailed => "deploy-failed",
            Kind::Revoked => "revoked",
        }
    }
}

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    #[error("{0}")]
    Secret(#[from] NoSecret),
    #[error("the webhook's URL cannot be used: {0}")]
    Url(String),
    #[error("{0}")]
    Client(#[from] NoClient),
    #[error("the event cannot be written as JSON: {0}")]
    Json(String),
    #[error("the webhook at {host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("the webhook at {host} did not answer within {} s", DEADLINE.as_secs())]
    TooSlow { host: String },
    #[error("the webhook at {host} answered {status}")]
    Status { host: String, status: StatusCode },
}

type HttpClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// Sends events. Its clients are made when the first event is sent.
pub struct Sender {
    proxy: Option<Proxy>,
    encrypted: OnceCell<HttpClient>,
    /// For this machine: no proxy reaches it.
    local: OnceCell<HttpClient>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender(…)")
    }
}

impl Sender {
    /// `https` goes through the proxy, if there is one.
    pub fn new(proxy: Option<Proxy>) -> Sender {
        Sender { proxy, encrypted: OnceCell::new(), local: OnceCell::new() }
    }

    /// Sends the event once; any 2xx takes it. `now` is in the signature.
    pub async fn send(&self, webhook: &Webhook, event: &Event, now: Timestamp) -> Result<(), Undelivered> {
        let secret = source::read(&webhook.secret)?;
        let (url, host) = address(&webhook.url)?;
        let (cell, proxy) = match url.scheme_str() {
            Some("https") => (&self.encrypted, self.proxy.as_ref()),
            _ => (&self.local, None),
        };
        let client = cell.get_or_try_init(|| async { client(proxy) }).await?;
        let body = serde_json::to_string(event).map_err(|error| Undelivered::Json(error.to_string()))?;
        let request = Request::post(url)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE, signature(secret.reveal(), now, &body))
            .body(Full::from(body))
            .map_err(|error| Undelivered::Url(error.to_string()))?;
        let answer = match tokio::time::timeout(DEADLINE, client.request(request)).await {
            Ok(answer) => answer,
            Err(_) => return Err(Undelivered::TooSlow { host }),
        };
        // The body of the answer says nothing to us and is not read.
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(Undelivered::Status { host, status: answer.status() }),
            Err(error) => Err(Undelivered::Unreachable { host, reason: innermost(&error) }),
        }
    }
}

/// `t=<seconds since 1970>,v1=<HMAC-SHA-256 of "<t>.<body>" in hexadecimal>`
fn signature(secret: &str, now: Timestamp, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{now}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("t={now},v1={hex}")
}

/// The URL and its host and port, which errors name: path and query may hold what is secret.
fn address(url: &str) -> Result<(Uri, String), Undelivered> {
    let uri: Uri = url.parse().map_err(|error: InvalidUri| Undelivered::Url(error.to_string()))?;
    let host = uri.host().ok_or_else(|| Undelivered::Url("it has no host".into()))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare.eq_ignore_ascii_case("localhost")
        || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback => {}
        _ => return Err(Undelivered::Url("only https goes to another machine".into())),
    }
    let shown = uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok((uri, shown))
}

/// Trusts the roots of the system.
fn client(proxy: Option<&Proxy>) -> Result<HttpClient, NoClient> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(http::tls(Vec::new())?)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(Connector::new(proxy)?);
    Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector))
}

/// The cause that says what happened.
fn innermost(error: &hyper_util::client::legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tag is what `printf '1700000000.{}' | openssl dgst -sha256 -hmac key` prints.
    #[test]
    fn the_signature_covers_the_moment_and_the_body() {
        let expected = "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signature("key", 1_700_000_000, "{}"), expected);
        assert_ne!(signature("key", 1_700_000_001, "{}"), expected);
    }

    #[test]
    fn plain_http_stays_on_this_machine_and_errors_do_not_show_the_path() {
        for url in ["https://example.test/hook", "http://127.0.0.1:80/x", "http://[::1]/x", "http://localhost:1/"] {
            assert!(address(url).is_ok(), "{url}");
        }
        for url in ["http://example.test/hook", "ftp://127.0.0.1/", "/hook", "http://127.0.0.1.example.test/"] {
            assert!(address(url).is_err(), "{url}");
        }
        assert_eq!(address("https://example.test:8443/T0KEN").unwrap().1, "example.test:8443");
    }
}
