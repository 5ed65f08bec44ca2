//! lego's HTTP storage, `ACME_DNS_STORAGE_BASE_URL`: `/storage/<secret>/<domain>`.
//!
//! The protocol has no authentication, so the address is the secret: an administrator makes it, for listed domains. What
//! it opens is the label that each domain was bound to then, never one that somebody's CNAME points to or that a client
//! sends.
//!
//! | request | answer |
//! |---|---|
//! | GET | 200 and an account object with a credential made for this answer |
//! | POST of an account object | 201 where the domain's CNAME leads to the label of this object, which must be the bound one: lego goes on; else 200: lego stops and tells its user to make the CNAME |
//! | either, if the secret or the domain is not known | 404: lego registers |
//! | GET, if the account is full of credentials from elsewhere | 409 |

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{OpenApi, ToSchema};

use crate::account::Credential;
use crate::api::{CreatedAccount, DomainName};
use crate::door::ClientAddress;
use crate::door::guard::{DEADLINE, guarded};
use crate::door::json::{self, INTERNAL, JSON, MALFORMED, Refusal, Refused};
use crate::resolve::Resolver;
use crate::store::{StorageRefused, Writer};
use crate::zone::{ACME_CHALLENGE, Name};

/// How long the resolver may take: less than the whole answer may.
const LOOK_UP: Duration = Duration::from_secs(7);
/// Also what is said of a path that nothing is at.
const NOT_FOUND: Refused = Refused(StatusCode::NOT_FOUND, "not_found");
/// Each answer is another one.
const NO_STORE: [(HeaderName, HeaderValue); 1] = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// What the storages answer from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Storages {
    pub writer: Writer,
    /// Sees the public DNS.
    pub resolver: Resolver,
    /// `server_url` of the account objects: `https://` and the API's host name.
    pub server_url: Option<String>,
}

/// Serves `/storage/<secret>/<domain>`. Behind the [`Front`](crate::door::Front).
pub fn router(storages: Storages) -> Router {
    // HEAD would make a credential that nobody gets.
    let no_other = async || {
        let allow = [(header::ALLOW, HeaderValue::from_static("GET,POST"))];
        (allow, Refused(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"))
    };
    let methods = get(fetch).post(put).head(no_other).fallback(no_other);
    let routes = Router::new().route("/storage/{secret}/{domain}", methods).with_state(storages);
    guarded(routes, DEADLINE, |status, error, _| Refused(status, error).into_response())
}

/// What these paths are, for the document of the listener.
#[derive(OpenApi)]
#[openapi(paths(fetch, put))]
pub(in crate::door) struct Described;

/// An account object as goacmedns reads it.
#[derive(Serialize, ToSchema)]
struct Stored {
    #[serde(flatten)]
    account: CreatedAccount,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_url: Option<String>,
}

/// An account for the domain, with a credential made for this answer.
#[utoipa::path(
    get, path = "/storage/{secret}/{domain}", tag = "storage", operation_id = "fetch",
    params(
        ("secret" = String, Path, description = "Of the storage.", pattern = "^[A-Za-z0-9_-]{40}$"),
        ("domain" = DomainName, Path, description = "One that the storage was made for."),
    ),
    responses(
        (status = 200, description = "The account.", body = Stored),
        (status = 409, description = "The account has too many credentials.", body = Refusal),
    ),
)]
async fn fetch(
    State(storages): State<Storages>,
    ClientAddress(client): ClientAddress,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Refused> {
    let (secret, domain) = read_path(path)?;
    let minted = storages.writer.mint_stored(secret.hash(), domain.clone(), client).await?;
    let (storage, registration) = minted.map_err(|refused| not_found(&refused, &domain, client))?;
    let account = super::super::created(&registration).map_err(|_| INTERNAL)?;
    tracing::info!(
        storage = storage.id, note = storage.note, %domain, username = %account.username, name = %account.fulldomain, %client,
        "credential made"
    );
    let stored = Stored { account, server_url: storages.server_url };
    let body = serde_json::to_string(&stored).map_err(|_| INTERNAL)?;
    Ok((StatusCode::OK, JSON, NO_STORE, body).into_response())
}

/// Says whether the CNAME of the domain leads to the account.
#[utoipa::path(
    post, path = "/storage/{secret}/{domain}", tag = "storage", operation_id = "store",
    params(
        ("secret" = String, Path, description = "Of the storage.", pattern = "^[A-Za-z0-9_-]{40}$"),
        ("domain" = DomainName, Path, description = "One that the storage was made for."),
    ),
    request_body = Object,
    responses(
        (status = 200, description = "The CNAME has to be made.", body = Object),
        (status = 201, description = "It does.", body = Object),
    ),
)]
async fn put(
    State(storages): State<Storages>,
    ClientAddress(client): ClientAddress,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let (secret, domain) = read_path(path)?;
    let (_, body) = json::read(request).await?;
    let bound = storages.writer.stored_label(secret.hash(), domain.clone(), client).await?;
    let (storage, grant) = bound.map_err(|refused| not_found(&refused, &domain, client))?;
    let posted: Map<String, Value> = serde_json::from_str(&body).map_err(|_| MALFORMED)?;
    let bound = grant.name().map_err(|_| INTERNAL)?;
    let fulldomain = posted.get("fulldomain").and_then(Value::as_str);
    let is_bound = fulldomain.is_some_and(|text| Name::parse(text).is_ok_and(|posted| posted == bound));
    let delegated = is_bound && leads_to(&storages.resolver, &domain, &bound).await;
    tracing::info!(storage = storage.id, note = storage.note, %domain, delegated, %client, "asked about the CNAME");
    let status = if delegated { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, JSON, NO_STORE, "{}").into_response())
}

/// Whether the CNAMEs of the domain's challenge name lead to `target`. If nobody knows, they do not.
async fn leads_to(resolver: &Resolver, domain: &Name, target: &Name) -> bool {
    let Ok(challenge) = domain.child(ACME_CHALLENGE) else { return false };
    match tokio::time::timeout(LOOK_UP, resolver.follow_cname(&challenge, |name| name == target)).await {
        Ok(Ok(chain)) => chain.last() == target && !chain.is_empty(),
        Ok(Err(error)) => {
            tracing::info!(%challenge, %error, "cannot look up where the challenge goes");
            false
        }
        Err(_) => {
            tracing::info!(%challenge, "looking up where the challenge goes took too long");
            false
        }
    }
}

/// The secret and the domain without `*.`; what has not the form of these is not there.
fn read_path(path: Result<Path<(String, String)>, PathRejection>) -> Result<(Credential, Name), Refused> {
    let Ok(Path((secret, domain))) = path else { return Err(NOT_FOUND) };
    let secret = Credential::parse(&secret).ok_or(NOT_FOUND)?;
    let domain = Name::parse(domain.strip_prefix("*.").unwrap_or(&domain)).map_err(|_| NOT_FOUND)?;
    Ok((secret, domain))
}

fn not_found(refused: &StorageRefused, domain: &Name, client: std::net::IpAddr) -> Refused {
    match refused {
        StorageRefused::UnknownSecret => tracing::warn!(%client, "storage refused: unknown secret"),
        StorageRefused::Nothing { id, note, why } => {
            tracing::warn!(storage = id, note, %domain, %client, "storage refused: {why}");
        }
    }
    NOT_FOUND
}
