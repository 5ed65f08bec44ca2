//! Registration with a token: in a header, or in the path for clients that can send no header of their own.
//!
//! Such a client has `https://…/<token>` as the server's address, so its updates come to `/<token>/update`. There the
//! token means nothing, so that revoking it ends no account.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use utoipa::OpenApi;

use super::{NewAccount, NewValue, Txt};
use crate::account::{AllowFrom, Credential, RegistrationToken, TokenState};
use crate::api::CreatedAccount;
use crate::door::admin::bearer;
use crate::door::json::{Failed, Refusal, Refused};
use crate::store::{RegisterLabel, Registration, TokenRefused, Writer};

const REQUIRED: Refused = Refused(StatusCode::UNAUTHORIZED, "token_required");
const UNKNOWN: Refused = Refused(StatusCode::UNAUTHORIZED, "token_unknown");
const EXPIRED: Refused = Refused(StatusCode::UNAUTHORIZED, "token_expired");
const USED_UP: Refused = Refused(StatusCode::UNAUTHORIZED, "token_used_up");
const REVOKED: Refused = Refused(StatusCode::UNAUTHORIZED, "token_revoked");

/// A token that was taken out of the path; in the extensions of its request.
#[derive(Clone, Debug)]
pub(super) struct PathToken(Credential);

/// Takes the first part of `/<token>/register` and `/<token>/update` away, if it has the form of a token.
pub(super) fn take_from_path(parts: &mut Vec<&str>) -> Option<PathToken> {
    let [first, route] = parts.as_slice() else { return None };
    let served = ["register", "update"].iter().any(|known| known.eq_ignore_ascii_case(route));
    let token = Credential::parse(first).filter(|_| served)?;
    parts.remove(0);
    Some(PathToken(token))
}

/// The token of a request: that of the path, else of `X-Registration-Token`, else of `Authorization: Bearer`. What else
/// is in `Authorization` belongs to somebody in front of us.
pub(super) fn shown(head: &Parts, client: IpAddr) -> Result<Credential, Refused> {
    if let Some(PathToken(token)) = head.extensions.get() {
        return Ok(token.clone());
    }
    let text = |name| head.headers.get(name)?.to_str().ok();
    let own = head.headers.get("x-registration-token").map(|value| value.to_str().unwrap_or_default().trim());
    let Some(given) = own.or_else(|| bearer(text(header::AUTHORIZATION)?)) else {
        tracing::warn!(%client, "registration refused: no token");
        return Err(REQUIRED);
    };
    Credential::parse(given).ok_or_else(|| unknown(client))
}

/// Registers, if the token is good. Whether it is comes before what is wrong with the body.
pub(super) async fn register(
    writer: &Writer,
    token: &Credential,
    allow_from: Result<AllowFrom, Refused>,
    client: IpAddr,
) -> Result<(Registration, RegistrationToken), Failed> {
    let outcome = match allow_from {
        Ok(allow_from) => writer.register_with_token(token.hash(), allow_from, RegisterLabel::Random).await?,
        Err(bad_body) => match writer.check_token(token.hash()).await? {
            Ok(()) => return Err(bad_body.into()),
            Err(refused) => Err(refused),
        },
    };
    Ok(outcome.map_err(|refused| match refused {
        TokenRefused::Unknown => unknown(client),
        TokenRefused::NotValid { token, state } => {
            let (refused, why) = match state {
                TokenState::Expired => (EXPIRED, "expired"),
                TokenState::UsedUp => (USED_UP, "used up"),
                TokenState::Revoked => (REVOKED, "revoked"),
                TokenState::Valid => (UNKNOWN, "valid"),
            };
            tracing::warn!(%client, token = token.id, note = token.note, "registration refused: the token is {why}");
            refused
        }
    })?)
}

fn unknown(client: IpAddr) -> Refused {
    tracing::warn!(%client, "registration refused: unknown token");
    UNKNOWN
}

/// What the paths with a token are, for the document of the listener: their requests go to the plain ones.
#[derive(OpenApi)]
#[openapi(paths(register_at_token, update_at_token, remove_at_token))]
pub(super) struct Described;

/// As `/register`, for clients that can send no header of their own.
#[utoipa::path(
    post, path = "/{token}/register", tag = "acme-dns", operation_id = "register_at_token",
    params(("token" = String, Path, description = "A registration token.", pattern = "^[A-Za-z0-9_-]{40}$")),
    request_body = Option<NewAccount>,
    responses(
        (status = 201, description = "The account.", body = CreatedAccount),
        (status = 401, description = "The token is not good.", body = Refusal),
        (status = 403, description = "Nobody can register.", body = Refusal),
    ),
)]
#[expect(dead_code, reason = "only described")]
fn register_at_token() {}

/// As `/update`, whatever the token is.
#[utoipa::path(
    post, path = "/{token}/update", tag = "acme-dns", operation_id = "update_at_token",
    params(("token" = String, Path, description = "Means nothing here.", pattern = "^[A-Za-z0-9_-]{40}$")),
    request_body = NewValue,
    responses((status = 200, description = "The value.", body = Txt)),
    security(("user" = [], "key" = [])),
)]
#[expect(dead_code, reason = "only described")]
fn update_at_token() {}

/// As `DELETE /update`, whatever the token is.
#[utoipa::path(
    delete, path = "/{token}/update", tag = "acme-dns", operation_id = "remove_at_token",
    params(("token" = String, Path, description = "Means nothing here.", pattern = "^[A-Za-z0-9_-]{40}$")),
    request_body = NewValue,
    responses((status = 200, description = "The value.", body = Txt)),
    security(("user" = [], "key" = [])),
)]
#[expect(dead_code, reason = "only described")]
fn remove_at_token() {}
