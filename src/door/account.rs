//! `GET /account` on the API of acme-dns: an account reads back what the server knows of it, but never a key.
//!
//! It is authenticated as an update is, by `X-Api-User` and `X-Api-Key`, or by `Authorization: Basic` with the same two,
//! for people with a browser or `curl --user`; and held to the account's `allowfrom`.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use uuid::Uuid;

use super::acmedns::{Door, FORBIDDEN, Refused, credentials, shown};
use crate::account::{Account, Credential};
use crate::api::{AccountState, LabelState};
use crate::store::{UpdateError, now};
use crate::zone::Live;

/// With or without padding. What is no letter or digit in one of the alphabets of base64 never comes up in a UUID and a key.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) async fn show(
    State(door): State<Door>,
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let found = match given(&headers) {
        Some((username, credential)) => door.writer.authenticate(username, credential.hash(), source.ip()).await,
        None => Err(UpdateError::Forbidden),
    };
    let account = match found {
        Ok(account) => account,
        Err(UpdateError::Forbidden) => {
            let user = headers.get("x-api-user").map(HeaderValue::as_bytes).unwrap_or_default();
            tracing::warn!(client = %source.ip(), user = %shown(user), "account not shown: credentials or address");
            // RFC 9110 section 11.6.1
            let challenge = HeaderValue::from_static("Basic realm=\"acmezone\"");
            return Ok(([(header::WWW_AUTHENTICATE, challenge)], FORBIDDEN).into_response());
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
        let values = live.txt_set(&fulldomain).map(|set| super::values(&set, now)).unwrap_or_default();
        Some(LabelState { subdomain: grant.label.clone(), fulldomain, values })
    });
    AccountState {
        username: account.username,
        labels: labels.collect(),
        allowfrom: super::entries(&account.allow_from),
        created: super::time(account.created),
        updated: account.updated.map(super::time),
    }
}

/// The headers of acme-dns go first: some clients send a foreign `Authorization` beside them.
fn given(headers: &HeaderMap) -> Option<(Uuid, Credential)> {
    if headers.contains_key("x-api-user") || headers.contains_key("x-api-key") {
        return credentials(headers);
    }
    basic(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// User name and key of `Basic …` (RFC 7617 section 2).
fn basic(authorization: &str) -> Option<(Uuid, Credential)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(encoded.trim()).ok()?;
    let (user, key) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((Uuid::parse_str(&user.to_ascii_lowercase()).ok()?, Credential::parse(key)?))
}
