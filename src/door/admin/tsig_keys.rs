//! `/v1/tsig-keys`: who may sign UPDATE messages.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::AdminState;
use super::failure::{Body, Failure, Segment};
use crate::account::{Replace, TsigAlgorithm, TsigGrant};
use crate::api::{ApiError, DomainName, NewTsigKey, TsigKey, TsigKeySource};
use crate::door::time;
use crate::store::{self, Origin, TsigKeyEntry};
use crate::zone::Name;

/// All keys: those of the configuration, then those of the store.
#[utoipa::path(
    get, path = "/v1/tsig-keys", tag = "tsig-keys", operation_id = "list_tsig_keys",
    responses((status = 200, description = "The keys, without their secrets.", body = Vec<TsigKey>)),
    security(("administrator" = [])),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<TsigKey>>, Failure> {
    Ok(Json(state.writer.tsig_keys().await?.iter().map(described).collect()))
}

/// Makes a key.
#[utoipa::path(
    post, path = "/v1/tsig-keys", tag = "tsig-keys", operation_id = "create_tsig_key",
    request_body = NewTsigKey,
    responses(
        (status = 201, description = "The key with its secret.", body = TsigKey),
        (status = 409, description = "There is no such key to be had.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn create(
    State(state): State<AdminState>,
    Body(wanted): Body<NewTsigKey>,
) -> Result<(StatusCode, Json<TsigKey>), Failure> {
    let NewTsigKey { name, algorithm, labels, below, domains, replace } = wanted;
    let algorithm = match &algorithm {
        None => TsigAlgorithm::HmacSha256,
        Some(text) => TsigAlgorithm::parse(text).ok_or_else(|| unknown("algorithm", text))?,
    };
    let replace = match &replace {
        None => Replace::default(),
        Some(text) => Replace::parse(text).ok_or_else(|| unknown("way to replace values", text))?,
    };
    let new = store::NewTsigKey { name, algorithm, labels, below, domains, replace };
    let made = state.writer.create_tsig_key(new).await?;
    let created = described(&made);
    tracing::info!(
        key = %created.name, %algorithm, labels = ?created.labels, below = ?created.below, domains = ?created.domains,
        "TSIG key made by the administrator"
    );
    Ok((StatusCode::CREATED, Json(with_secret(&made, created))))
}

/// The query of a look at one key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Whether the secret is to be told.
    #[serde(default)]
    secret: bool,
}

/// One key.
#[utoipa::path(
    get, path = "/v1/tsig-keys/{name}", tag = "tsig-keys", operation_id = "show_tsig_key",
    params(("name" = DomainName, Path, description = "Of the key."),
        ("secret" = Option<bool>, Query, description = "Whether the secret is to be told.")),
    responses(
        (status = 200, description = "The key.", body = TsigKey),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn show(
    State(state): State<AdminState>,
    Segment(name): Segment,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<TsigKey>, Failure> {
    let Query(which) = which.map_err(|error| Failure::bad_request(error.body_text()))?;
    let found = state.writer.tsig_key(parsed(&name)?).await?;
    let shown = described(&found);
    if !which.secret {
        return Ok(Json(shown));
    }
    tracing::info!(key = %shown.name, "secret of a TSIG key shown to the administrator");
    Ok(Json(with_secret(&found, shown)))
}

/// Takes a key out of the store.
#[utoipa::path(
    delete, path = "/v1/tsig-keys/{name}", tag = "tsig-keys", operation_id = "revoke_tsig_key",
    params(("name" = DomainName, Path, description = "Of the key.")),
    responses(
        (status = 200, description = "The key as it was.", body = TsigKey),
        (status = 409, description = "The configuration has it.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn revoke(State(state): State<AdminState>, Segment(name): Segment) -> Result<Json<TsigKey>, Failure> {
    let revoked = described(&state.writer.revoke_tsig_key(parsed(&name)?).await?);
    tracing::info!(key = %revoked.name, "TSIG key revoked by the administrator");
    Ok(Json(revoked))
}

fn parsed(name: &str) -> Result<Name, Failure> {
    Name::parse(name).map_err(|error| Failure::bad_request(format!("`{name}` is no name: {error}")))
}

fn unknown(what: &str, text: &str) -> Failure {
    let known = match what {
        "algorithm" => TsigAlgorithm::ALL.map(TsigAlgorithm::name).join(", "),
        _ => "keep-recent, rfc".to_owned(),
    };
    Failure::bad_request(format!("there is no {what} `{text}`; known here: {known}"))
}

fn with_secret(entry: &TsigKeyEntry, shown: TsigKey) -> TsigKey {
    TsigKey { secret: Some(entry.key.secret.to_base64().into()), ..shown }
}

/// Without the secret.
fn described(entry: &TsigKeyEntry) -> TsigKey {
    let key = &entry.key;
    let mut shown = TsigKey {
        name: key.name.clone(),
        algorithm: key.algorithm.to_string(),
        source: TsigKeySource::Config,
        hidden: false,
        labels: Vec::new(),
        below: Vec::new(),
        domains: Vec::new(),
        replace: key.replace.name().to_owned(),
        created: None,
        secret: None,
    };
    if let Origin::Store { created, hidden } = entry.origin {
        shown = TsigKey { source: TsigKeySource::Store, hidden, created: Some(time(created)), ..shown };
    }
    for grant in &key.grants {
        match grant {
            TsigGrant::Label(grant) => shown.labels.extend(grant.name().ok()),
            TsigGrant::Below(name) => shown.below.push(name.clone()),
            TsigGrant::Domain(domain) => shown.domains.push(domain.clone()),
        }
    }
    shown
}
