//! `/v1/accounts`: who may use the update API.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use super::AdminState;
use super::failure::{Body, Failure, Segment};
use crate::account::{AllowFrom, Credential, Grant};
use crate::api::{Account, AddedLabel, ApiError, CreatedAccount, NewAccount, NewAllowFrom, NewCredential, NewLabel};
use crate::door::time;
use crate::store::{Holder, RegisterLabel, Registration, UpdateError, Writer};
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

/// Gives an account one more label.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/labels", tag = "accounts", operation_id = "add_label",
    params(("id" = String, Path, description = "A user name, a label or `<label>.<zone>`.", min_length = 1)),
    request_body = Option<NewLabel>,
    responses(
        (status = 201, description = "The label.", body = AddedLabel),
        (status = 409, description = "The label cannot be had.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn add_label(
    State(state): State<AdminState>,
    Segment(id): Segment,
    Body(wanted): Body<Option<NewLabel>>,
) -> Result<(StatusCode, Json<AddedLabel>), Failure> {
    let username = find(&state.writer, &id).await?.username;
    let label = wanted.unwrap_or_default().label.map_or(RegisterLabel::Random, RegisterLabel::Chosen);
    let grant = state.writer.add_label(username, label).await?;
    let fulldomain = grant.name().map_err(|error| Failure::bad_request(error.to_string()))?;
    tracing::info!(%username, name = %fulldomain, "label added by the administrator");
    Ok((StatusCode::CREATED, Json(AddedLabel { username, subdomain: grant.label, fulldomain })))
}

/// Takes a label away from its account. It can never be registered again.
#[utoipa::path(
    delete, path = "/v1/labels/{label}", tag = "accounts", operation_id = "remove_label",
    params(("label" = String, Path, description = "A label or `<label>.<zone>`.", min_length = 1)),
    responses(
        (status = 200, description = "The account as it is now.", body = Account),
        (status = 409, description = "It is the only one.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn remove_label(
    State(state): State<AdminState>,
    Segment(label): Segment,
) -> Result<Json<Account>, Failure> {
    let (account, grant) = holder(&state.writer, &label.to_ascii_lowercase()).await?;
    let account = state.writer.remove_label(account.username, grant.label.clone()).await?;
    let name = grant.name().map_err(|error| Failure::bad_request(error.to_string()))?;
    tracing::info!(username = %account.username, %name, "label taken away by the administrator");
    Ok(Json(described(account)))
}

/// Changes where an account may be used from.
#[utoipa::path(
    put, path = "/v1/accounts/{id}/allowfrom", tag = "accounts", operation_id = "allow_from",
    params(("id" = String, Path, description = "A user name, a label or `<label>.<zone>`.", min_length = 1)),
    request_body = NewAllowFrom,
    responses((status = 200, description = "The account as it is now.", body = Account)),
    security(("administrator" = [])),
)]
pub(super) async fn allow_from(
    State(state): State<AdminState>,
    Segment(id): Segment,
    Body(NewAllowFrom { allowfrom }): Body<NewAllowFrom>,
) -> Result<Json<Account>, Failure> {
    let allow_from = AllowFrom::parse(&allowfrom).map_err(|error| Failure::bad_request(error.to_string()))?;
    let username = find(&state.writer, &id).await?.username;
    let account = state.writer.change_account(username, move |account| account.allow_from = allow_from).await?;
    let account = described(account);
    tracing::info!(%username, allowfrom = ?account.allowfrom, "allowfrom changed by the administrator");
    Ok(Json(account))
}

/// Gives an account one more credential. The password is shown only here.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/credentials", tag = "accounts", operation_id = "mint",
    params(("id" = String, Path, description = "A user name, a label or `<label>.<zone>`.", min_length = 1)),
    responses(
        (status = 201, description = "The credential.", body = NewCredential),
        (status = 409, description = "It has too many, or no label.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn mint(
    State(state): State<AdminState>,
    Segment(id): Segment,
) -> Result<(StatusCode, Json<NewCredential>), Failure> {
    let account = find(&state.writer, &id).await?;
    let (changed, credential) = state.writer.mint(account.username).await?;
    let answer = with_credential(changed, &account.grants, credential)?;
    tracing::info!(username = %account.username, credentials = answer.credentials, "credential added by the administrator");
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Puts one credential in the place of all. The password is shown only here.
#[utoipa::path(
    post, path = "/v1/accounts/{id}/rotate", tag = "accounts", operation_id = "rotate",
    params(("id" = String, Path, description = "A user name, a label or `<label>.<zone>`.", min_length = 1)),
    responses(
        (status = 200, description = "The credential.", body = NewCredential),
        (status = 409, description = "The account has no label.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn rotate(
    State(state): State<AdminState>,
    Segment(id): Segment,
) -> Result<Json<NewCredential>, Failure> {
    let account = find(&state.writer, &id).await?;
    let (changed, credential) = state.writer.rotate(account.username).await?;
    tracing::info!(username = %account.username, replaced = account.credentials.len(), "credentials rotated by the administrator");
    Ok(Json(with_credential(changed, &account.grants, credential)?))
}

/// `order`: the labels as they were found, the one that was named at the front.
fn with_credential(
    mut account: account::Account,
    order: &[Grant],
    credential: Credential,
) -> Result<NewCredential, Failure> {
    account.grants.sort_by_key(|grant| order.iter().position(|other| other == grant).unwrap_or(usize::MAX));
    let no_label = || Failure::new(StatusCode::CONFLICT, "no_label", "the account has no label");
    let grant = account.grants.first().cloned().ok_or_else(no_label)?;
    let Account { fulldomains, credentials, .. } = described(account.clone());
    let created = door::created(&Registration { account, credential, grant });
    let account = created.map_err(|error| Failure::bad_request(error.to_string()))?;
    Ok(NewCredential { account, fulldomains, credentials })
}

/// Finds an account by user name, label or full domain name. A user name goes before a label of the same text. A label
/// that was named stands first among the account's.
pub(super) async fn find(writer: &Writer, id: &str) -> Result<account::Account, Failure> {
    let id = id.to_ascii_lowercase();
    if let Ok(username) = Uuid::parse_str(&id) {
        match writer.account(username).await {
            Err(UpdateError::UnknownAccount(_)) => {}
            found => return Ok(found?),
        }
    }
    let (mut account, named) = holder(writer, &id).await?;
    account.grants.sort_by_key(|grant| *grant != named);
    Ok(account)
}

/// The account that a label belongs to, named by itself or by its full domain name in lower case.
pub(super) async fn holder(writer: &Writer, id: &str) -> Result<(account::Account, Grant), Failure> {
    let nobody = || Failure::not_found(format!("`{id}` is no user name, label or full domain name of an account"));
    let (label, name) = match Label::parse(id) {
        Ok(label) => (label, None),
        Err(_) => {
            let name = Name::parse(id).map_err(|_| nobody())?;
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
        Holder::Account(username) => Ok((writer.account(username).await?, record.grant)),
        Holder::Domain(domain) => Err(Failure::not_found(format!(
            "the label `{label}` belongs to no account: it is reserved for the certificates of {domain}"
        ))),
        Holder::Nobody => {
            Err(Failure::not_found(format!("the label `{label}` was deleted, alone or with its account")))
        }
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
