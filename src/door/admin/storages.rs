//! `/v1/storages`: where lego gets credentials for listed domains.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use super::failure::{Body, Failure, Segment, checked_note};
use super::{AdminState, accounts};
use crate::account::{Grant, HttpStorage};
use crate::api::{CreatedStorage, NewStorage, Storage, StoredDomain};
use crate::door::time;
use crate::store::Writer;
use crate::zone::{ACME_CHALLENGE, Name};

/// Most domains of one storage, as of one certificate.
const DOMAINS: usize = 100;

pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<Storage>>, Failure> {
    state.writer.storages().await?.into_iter().map(described).collect::<Result<_, _>>().map(Json)
}

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
            credentials: stored.minted(),
        })
    });
    let domains = domains.collect::<Result<_, Failure>>()?;
    Ok(Storage { id: storage.id, note: storage.note, created: time(storage.created), domains })
}
