//! `GET /account` on the API of acme-dns: an account reads back what the server knows of it, but never a key.
//!
//! It is authenticated as an update is, by `X-Api-User` and `X-Api-Key`, or by `Authorization: Basic` with the same two,
//! for people with a browser or `curl --user`; and held to the account's `allowfrom`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::{Door, credentials};
use crate::account::{Account, Credential};
use crate::api::{AccountState, LabelState};
use crate::door::json::{self, CHALLENGE, FORBIDDEN, Refused, shown};
use crate::door::{self, ClientAddress};
use crate::store::{UpdateError, now};
use crate::zone::Live;

/// What an account may know of itself.
#[utoipa::path(
    get, path = "/account", tag = "account", operation_id = "account",
    responses((status = 200, description = "The account.", body = AccountState)),
    security(("user" = [], "key" = []), ("account" = [])),
)]
pub(super) async fn show(
    State(door): State<Door>,
    ClientAddress(source): ClientAddress,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let found = match given(&headers) {
        Some((username, credential)) => door.writer.authenticate(username, credential.hash(), source).await,
        None => Err(UpdateError::Forbidden),
    };
    let account = match found {
        Ok(account) => account,
        Err(UpdateError::Forbidden) => {
            let user = headers.get("x-api-user").map(HeaderValue::as_bytes).unwrap_or_default();
            tracing::warn!(client = %source, user = %shown(user), "account not shown: credentials or address");
            // RFC 9110 section 11.6.1
            return Ok(([(header::WWW_AUTHENTICATE, CHALLENGE)], FORBIDDEN).into_response());
        }
        Err(error) => return Err(error.into()),
    };
    let private = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((private, Json(state(&account, door.writer.live()))).into_response())
}

fn state(account: &Account, live: &Live) -> AccountState {
    let now = now();
    let labels = account.grants.iter().filter_map(|grant| {
        let fulldomain = grant.name().ok()?;
        let values = live.txt_set(&fulldomain).map(|set| door::values(&set, now)).unwrap_or_default();
        Some(LabelState { subdomain: grant.label.clone(), fulldomain, values })
    });
    AccountState {
        username: account.username,
        labels: labels.collect(),
        allowfrom: door::entries(&account.allow_from),
        created: door::time(account.created),
        updated: account.updated.map(door::time),
    }
}

/// The headers of acme-dns go first: some clients send a foreign `Authorization` beside them.
fn given(headers: &HeaderMap) -> Option<(Uuid, Credential)> {
    if headers.contains_key("x-api-user") || headers.contains_key("x-api-key") {
        return credentials(headers);
    }
    json::basic(headers)
}
