//! `/v1/storages`: where lego gets credentials for listed domains.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use super::failure::{Body, Failure, Segment, checked_note};
use super::{AdminState, accounts};
use crate::account::{Grant, HttpStorage};
use crate::api::{ApiError, CreatedStorage, NewStorage, Storage, StoredDomain};
use crate::door::time;
use crate::store::Writer;
use crate::zone::{ACME_CHALLENGE, Name};

/// Most domains of one storage, as of one certificate.
const DOMAINS: usize = 100;

/// All HTTP storages for lego, without their secrets.
#[utoipa::path(
    get, path = "/v1/storages", tag = "storages", operation_id = "list_storages",
    responses((status = 200, description = "What there is.", body = Vec<Storage>)),
    security(("administrator" = [])),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<Storage>>, Failure> {
    state.writer.storages().await?.into_iter().map(described).collect::<Result<_, _>>().map(Json)
}

/// Makes one. Its secret is shown only here.
#[utoipa::path(
    post, path = "/v1/storages", tag = "storages", operation_id = "create_storage",
    request_body = NewStorage,
    responses(
        (status = 201, description = "It and its secret.", body = CreatedStorage),
        (status = 404, description = "There is no such account.", body = ApiError),
        (status = 409, description = "It cannot be bound to the domains.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn create(
    State(state): State<AdminState>,
    Body(wanted): Body<NewStorage>,
) -> Result<(StatusCode, Json<CreatedStorage>), Failure> {
    let domains = domains(&wanted.domains)?;
    let note = checked_note(wanted.note)?;
    let holder = match &wanted.account {
        Some(id) => Some(holder(&state.writer, id).await?),
        None => None,
    };
    let (secret, storage) = state.writer.create_storage(domains, holder, note).await?;
    let domains: Vec<String> = storage.domains.iter().map(|stored| stored.domain.to_string()).collect();
    tracing::info!(storage = storage.id, note = storage.note, ?domains, "storage made by the administrator");
    Ok((StatusCode::CREATED, Json(CreatedStorage { secret: secret.reveal().to_owned(), facts: described(storage)? })))
}

/// Ends one. The accounts that came of it stay.
#[utoipa::path(
    delete, path = "/v1/storages/{id}", tag = "storages", operation_id = "revoke_storage",
    params(("id" = String, Path, description = "Twelve digits.", min_length = 1)),
    responses((status = 200, description = "What it was.", body = Storage)),
    security(("administrator" = [])),
)]
pub(super) async fn revoke(State(state): State<AdminState>, Segment(id): Segment) -> Result<Json<Storage>, Failure> {
    let storage = state.writer.revoke_storage(id).await?;
    tracing::info!(storage = storage.id, note = storage.note, "storage revoked by the administrator");
    described(storage).map(Json)
}

/// The domains without `*.`, each once.
fn domains(written: &[String]) -> Result<Vec<Name>, Failure> {
    let mut domains = Vec::new();
    for text in written {
        let bad = |why: &str| Failure::bad_request(format!("`{text}` cannot be stored: {why}"));
        let domain = Name::parse(text.strip_prefix("*.").unwrap_or(text)).map_err(|error| bad(&error.to_string()))?;
        let plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        if domain.is_root() || !domain.labels().flatten().all(plain) {
            return Err(bad("it is no domain name in ASCII form"));
        }
        if domain.labels().next() == Some(ACME_CHALLENGE) {
            return Err(bad("name the domain, not its challenge name"));
        }
        domain.child(ACME_CHALLENGE).map_err(|error| bad(&error.to_string()))?;
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    if domains.is_empty() || domains.len() > DOMAINS {
        return Err(Failure::bad_request(format!("a storage has from 1 to {DOMAINS} domains")));
    }
    Ok(domains)
}

/// The account, and that label of it which was named, else its only one.
async fn holder(writer: &Writer, id: &str) -> Result<(Uuid, Grant), Failure> {
    let account = accounts::find(writer, id).await?;
    let id = id.to_ascii_lowercase();
    let name = Name::parse(&id).ok();
    let named = |grant: &&Grant| grant.label.as_str() == id || (name.is_some() && grant.name().ok() == name);
    let only = if account.grants.len() == 1 { account.grants.first() } else { None };
    let grant = account.grants.iter().find(named).or(only);
    let many = || Failure::bad_request(format!("the account {} has not one label: name the label", account.username));
    Ok((account.username, grant.cloned().ok_or_else(many)?))
}

fn described(storage: HttpStorage) -> Result<Storage, Failure> {
    let domains = storage.domains.iter().map(|stored| {
        let damaged = |error: crate::zone::NameError| Failure::bad_request(error.to_string());
        Ok(StoredDomain {
            domain: stored.domain.clone(),
            username: stored.account,
            fulldomain: stored.grant.name().map_err(damaged)?,
        })
    });
    let domains = domains.collect::<Result<_, Failure>>()?;
    let credentials = storage.minted();
    Ok(Storage { id: storage.id, note: storage.note, created: time(storage.created), domains, credentials })
}
