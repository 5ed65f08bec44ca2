//! The API of the command line and the dashboard: `/v1/…`, JSON, on loopback, behind a bearer token.
//!
//! | file | what |
//! |---|---|
//! | `token.rs` | the token: made at every start, readable by the server's user alone |
//! | `accounts.rs`, `aliases.rs`, `tokens.rs`, `storages.rs`, `txt.rs`, `tsig_keys.rs`, `zones.rs`, `cas.rs`, `certificates.rs` | one noun each |
//! | `rollover.rs` | a new key for the account at a CA |
//! | `failure.rs` | refusals, and what is read from a request |
//!
//! The types of the bodies are in [`crate::api`].

mod accounts;
mod aliases;
mod cas;
mod certificates;
mod failure;
mod rollover;
mod storages;
mod token;
mod tokens;
mod tsig_keys;
mod txt;
mod zones;

pub use token::{AdminToken, TokenError};
pub use zones::ZoneFacts;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::failure::Failure;
use super::guard::{DEADLINE, guarded};
use super::openapi;
use crate::acme::Issuer;
use crate::api::{DnsCounters, Status};
use crate::store::Writer;

/// What the admin API answers from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminState {
    pub token: AdminToken,
    pub writer: Writer,
    pub issuer: Issuer,
    pub facts: Arc<Facts>,
    pub counters: Counters,
    /// Why the API does not listen yet.
    pub api_closed: watch::Receiver<Option<Closed>>,
}

/// Why nobody can connect to the API, nor to DNS over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// For the certificate of this name.
    WaitsFor(String),
    /// It could not be opened, and is tried again.
    Fails(String),
}

/// Reads what the DNS listeners count.
#[derive(Clone)]
pub struct Counters(pub Arc<dyn Fn() -> DnsCounters + Send + Sync>);

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0().fmt(f)
    }
}

/// What does not change while the server runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The configuration file in use.
    pub config: PathBuf,
    pub data_dir: PathBuf,
    pub started: jiff::Timestamp,
    /// Addresses that are bound.
    pub dns: Vec<SocketAddr>,
    pub dns_tls: Vec<SocketAddr>,
    pub api: Vec<SocketAddr>,
    pub admin: SocketAddr,
    /// In the order of the configuration.
    pub zones: Vec<ZoneFacts>,
}

/// Serves `/v1/…`.
pub fn router(state: AdminState) -> Router {
    let routes = OpenApiRouter::with_openapi(openapi::administration())
        .routes(routes!(status))
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::show, accounts::delete))
        .routes(routes!(accounts::add_label))
        .routes(routes!(accounts::allow_from))
        .routes(routes!(accounts::mint))
        .routes(routes!(accounts::rotate))
        .routes(routes!(accounts::remove_label))
        .routes(routes!(aliases::list, aliases::add))
        .routes(routes!(aliases::remove))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(storages::list, storages::create))
        .routes(routes!(storages::revoke))
        .routes(routes!(txt::list))
        .routes(routes!(txt::show, txt::add, txt::replace, txt::remove))
        .routes(routes!(tsig_keys::list, tsig_keys::create))
        .routes(routes!(tsig_keys::show, tsig_keys::revoke))
        .routes(routes!(zones::list))
        .routes(routes!(zones::show))
        .routes(routes!(cas::list))
        .routes(routes!(cas::show))
        .routes(routes!(certificates::list))
        .routes(routes!(certificates::show))
        .routes(routes!(certificates::issue))
        .routes(routes!(certificates::renew))
        .routes(routes!(certificates::reissue))
        .routes(routes!(certificates::revoke))
        .routes(routes!(rollover::roll_over))
        .routes(routes!(certificates::deploy))
        .routes(routes!(certificates::preview))
        .routes(routes!(certificates::history))
        .with_state(state.clone());
    let routes = openapi::documented(routes, &DOCUMENT);
    let routes =
        guarded(routes, DEADLINE, |status, error, message| Failure::new(status, error, message).into_response());
    routes.layer(from_fn_with_state(state.token, admit))
}

const DOCUMENT: openapi::Completion = openapi::Completion {
    path: "/v1/openapi.json",
    refusal: "ApiError",
    always: &[
        (400, "The request is malformed."),
        (403, "The host of the request is not the machine itself."),
        (408, "The body did not come in time."),
        (500, "A bug."),
        (503, "The store fails."),
    ],
};

/// Lets only the holder of the token pass, and no web page: a browser that was led here by a name of its attacker's
/// (DNS rebinding) sends that name as the host.
async fn admit(State(token): State<AdminToken>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    if !host.as_ref().or(request.uri().authority()).is_some_and(is_loopback) {
        let message = "the host of the request must be localhost or a loopback address";
        return Failure::new(StatusCode::FORBIDDEN, "bad_host", message).into_response();
    }
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| bearer(value.to_str().ok()?));
    if !given.is_some_and(|given| token.accepts(given)) {
        let message = "this needs `Authorization: Bearer …` with the token that the server wrote to its data_dir";
        let mut response = Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    next.run(request).await
}

fn is_loopback(host: &Authority) -> bool {
    let host = host.host();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The token of `Bearer …` (RFC 6750 section 2.1); the scheme in any letter case (RFC 9110 section 11.1).
pub(super) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// How the server is set up and how it does.
#[utoipa::path(
    get, path = "/v1/status", tag = "status", operation_id = "status",
    responses((status = 200, description = "The status.", body = Status)),
    security(("administrator" = [])),
)]
async fn status(State(state): State<AdminState>) -> Result<Json<Status>, Failure> {
    let AdminState { writer, issuer, facts, counters, api_closed, .. } = state;
    let (api_waits_for, api_problem) = match api_closed.borrow().clone() {
        None => (None, None),
        Some(Closed::WaitsFor(certificate)) => (Some(certificate), None),
        Some(Closed::Fails(problem)) => (None, Some(problem)),
    };
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: facts.config.display().to_string(),
        data_dir: facts.data_dir.display().to_string(),
        started: facts.started,
        dns: facts.dns.clone(),
        dns_tls: facts.dns_tls.clone(),
        api: facts.api.clone(),
        api_waits_for,
        api_problem,
        admin: facts.admin,
        zones: facts.zones.len(),
        labels: writer.live().registered_count(),
        names_with_values: txt::served(writer.live()).len(),
        dns_counters: counters.0(),
        certificates: issuer.list().await?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_let_in() {
        for good in ["localhost", "LOCALHOST:8054", "127.0.0.1", "127.0.0.1:8054", "[::1]", "[::1]:8054"] {
            assert!(is_loopback(&good.parse().unwrap()), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example:8054", "192.0.2.1", "[2001:db8::1]:8054", "localhost."] {
            assert!(!is_loopback(&bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn a_bearer_token_follows_its_scheme_rfc6750_2_1() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer"), None);
    }
}
