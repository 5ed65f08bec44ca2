//! `/v1/accounts`: who may use the update API.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use super::failure::{Body, Failure, Segment};
use super::{AdminState, time};
use crate::account::AllowFrom;
use crate::api::{Account, ApiError, CreatedAccount, NewAccount};
use crate::store::{Holder, RegisterLabel, UpdateError, Writer};
use crate::zone::{Label, Name};
use crate::{account, door};

/// All accounts, oldest first.
#[utoipa::path(
    get, path = "/v1/accounts", tag = "accounts", operation_id = "list_accounts",
    responses((status = 200, description = "The accounts.", body = Vec<Account>)),
    security(("administrator" = [])),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<Account>>, Failure> {
    Ok(Json(state.writer.accounts().await?.into_iter().map(described).collect()))
}

/// Makes an account with one label. The password is shown only here.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "accounts", operation_id = "create_account",
    request_body = Option<NewAccount>,
    responses(
        (status = 201, description = "The account.", body = CreatedAccount),
        (status = 409, description = "The label cannot be had.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn create(
    State(state): State<AdminState>,
    Body(wanted): Body<Option<NewAccount>>,
) -> Result<(StatusCode, Json<CreatedAccount>), Failure> {
    let wanted = wanted.unwrap_or_default();
    let allow_from = AllowFrom::parse(&wanted.allowfrom).map_err(|error| Failure::bad_request(error.to_string()))?;
    let label = wanted.label.map_or(RegisterLabel::Random, RegisterLabel::Chosen);
    let registration = state.writer.register(allow_from, label).await?;
    let created = door::created(&registration).map_err(|error| Failure::bad_request(error.to_string()))?;
    tracing::info!(username = %created.username, name = %created.fulldomain, "account made by the administrator");
    Ok((StatusCode::CREATED, Json(created)))
}

/// One account.
#[utoipa::path(
    get, path = "/v1/accounts/{id}", tag = "accounts", operation_id = "show_account",
    params(("id" = String, Path, description = "A user name, a label or `<label>.<zone>`.", min_length = 1)),
    responses((status = 200, description = "The account.", body = Account)),
    security(("administrator" = [])),
)]
pub(super) async fn show(State(state): State<AdminState>, Segment(id): Segment) -> Result<Json<Account>, Failure> {
    Ok(Json(described(find(&state.writer, &id).await?)))
}

/// Deletes an account. Its labels can never be registered again.
#[utoipa::path(
    delete, path = "/v1/accounts/{id}", tag = "accounts", operation_id = "delete_account",
    params(("id" = String, Path, description = "A user name, a label or `<label>.<zone>`.", min_length = 1)),
    responses((status = 200, description = "The account as it was.", body = Account)),
    security(("administrator" = [])),
)]
pub(super) async fn delete(State(state): State<AdminState>, Segment(id): Segment) -> Result<Json<Account>, Failure> {
    let account = find(&state.writer, &id).await?;
    let deleted = described(state.writer.delete_account(account.username).await?);
    tracing::info!(username = %deleted.username, names = ?deleted.fulldomains, "account deleted by the administrator");
    Ok(Json(deleted))
}

/// Finds an account by user name, label or full domain name. A user name goes before a label of the same text.
async fn find(writer: &Writer, id: &str) -> Result<account::Account, Failure> {
    let id = id.to_ascii_lowercase();
    if let Ok(username) = Uuid::parse_str(&id) {
        match writer.account(username).await {
            Err(UpdateError::UnknownAccount(_)) => {}
            found => return Ok(found?),
        }
    }
    let nobody = || Failure::not_found(format!("`{id}` is no user name, label or full domain name of an account"));
    let (label, name) = match Label::parse(&id) {
        Ok(label) => (label, None),
        Err(_) => {
            let name = Name::parse(&id).map_err(|_| nobody())?;
            // `_acme-challenge.<label>.<zone>` is found by its label too.
            let name = writer.live().challenge_name(&name).unwrap_or(name);
            let first = name.labels().next().and_then(|first| std::str::from_utf8(first).ok());
            (first.and_then(|first| Label::parse(first).ok()).ok_or_else(nobody)?, Some(name))
        }
    };
    let record = writer.label(label.clone()).await?.ok_or_else(nobody)?;
    if name.is_some_and(|name| record.grant.name() != Ok(name)) {
        return Err(nobody());
    }
    match record.holder {
        Holder::Account(username) => Ok(writer.account(username).await?),
        Holder::Domain(domain) => Err(Failure::not_found(format!(
            "the label `{label}` belongs to no account: it is reserved for the certificates of {domain}"
        ))),
        Holder::Nobody => Err(Failure::not_found(format!("the account of the label `{label}` was deleted"))),
    }
}

fn described(account: account::Account) -> Account {
    Account {
        username: account.username,
        fulldomains: account.grants.iter().filter_map(|grant| grant.name().ok()).collect(),
        allowfrom: door::entries(&account.allow_from),
        created: time(account.created),
        updated: account.updated.map(time),
        credentials: account.credentials.len(),
    }
}
