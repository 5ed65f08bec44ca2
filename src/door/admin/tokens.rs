//! `/v1/tokens`: who may make an account for himself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::AdminState;
use super::failure::{Body, Failure, Segment, checked_note};
use crate::account::RegistrationToken;
use crate::api::{CreatedToken, NewToken, Token};
use crate::door::time;
use crate::store::now;

/// All registration tokens, without their tokens.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", operation_id = "list_tokens",
    responses((status = 200, description = "What there is.", body = Vec<Token>)),
    security(("administrator" = [])),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<Token>>, Failure> {
    Ok(Json(state.writer.tokens().await?.into_iter().map(described).collect()))
}

/// Makes one. Its token is shown only here.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", operation_id = "create_token",
    request_body = Option<NewToken>,
    responses(
        (status = 201, description = "It and its token.", body = CreatedToken),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn create(
    State(state): State<AdminState>,
    Body(wanted): Body<Option<NewToken>>,
) -> Result<(StatusCode, Json<CreatedToken>), Failure> {
    let wanted = wanted.unwrap_or_default();
    if wanted.uses == Some(0) {
        return Err(Failure::bad_request("a token without a use is of no use: say 1 or more"));
    }
    let expires = wanted.expires.map(|at| u64::try_from(at.as_second()).unwrap_or_default());
    if expires.is_some_and(|expires| expires <= now()) {
        return Err(Failure::bad_request("the token would have expired already"));
    }
    let note = checked_note(wanted.note)?;
    let (secret, token) = state.writer.create_token(wanted.uses, expires, note).await?;
    tracing::info!(token = token.id, note = token.note, "registration token made by the administrator");
    Ok((StatusCode::CREATED, Json(CreatedToken { token: secret.reveal().to_owned(), facts: described(token) })))
}

/// Ends one. The accounts that came of it stay.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "revoke_token",
    params(("id" = String, Path, description = "Twelve digits.", min_length = 1)),
    responses((status = 200, description = "What it was.", body = Token)),
    security(("administrator" = [])),
)]
pub(super) async fn revoke(State(state): State<AdminState>, Segment(id): Segment) -> Result<Json<Token>, Failure> {
    let token = state.writer.revoke_token(id).await?;
    tracing::info!(token = token.id, note = token.note, "registration token revoked by the administrator");
    Ok(Json(described(token)))
}

fn described(token: RegistrationToken) -> Token {
    let (uses_left, state) = (token.uses_left(), token.state(now()));
    Token {
        id: token.id,
        note: token.note,
        created: time(token.created),
        expires: token.expires.map(time),
        uses_left,
        registered: token.registered,
        state: match state {
            crate::account::TokenState::Valid => crate::api::TokenState::Valid,
            crate::account::TokenState::Expired => crate::api::TokenState::Expired,
            crate::account::TokenState::UsedUp => crate::api::TokenState::UsedUp,
            crate::account::TokenState::Revoked => crate::api::TokenState::Revoked,
        },
    }
}
