//! The doors: a protocol comes in, an [`Update`](crate::zone::Update) goes to the [`Writer`](crate::store::Writer), and
//! what the writer says goes back in the words of the protocol. A door answers "ok" only after the writer has.
//!
//! - [`acmedns`]: the API of acme-dns, byte for byte, for clients that exist; with registration tokens, what an account
//!   may read of itself, and lego's HTTP storage.
//! - `httpreq`: the API of lego's `httpreq` and of acmeproxy, beside it on the same listener.
//! - [`admin`]: the API of the command line, on loopback, with everything an administrator may do.
//! - [`rfc2136`]: UPDATE messages of the DNS, signed with a shared key.
//! - [`Front`]: what stands in front of all doors of the API's listener: whose request it is, and whether it is one
//!   too many; with `client.rs` and `limits.rs`.
//! - `json`: what the doors of the API's listener share.
//! - `openapi`: the documents of both APIs.
//! - `guard`: what stands in front of every HTTP door: deadline, size limit, panics turned into answers.
//!
//! What a refusal of the writer means in each protocol stands side by side in [`refusal`].

pub mod acmedns;
pub mod admin;
mod client;
mod front;
mod guard;
mod httpreq;
mod json;
mod limits;
mod openapi;
pub mod rfc2136;

use axum::http::StatusCode;
pub use client::ClientAddress;
pub use front::Front;
pub use limits::{Limits, RetryAfter};

use crate::account::AllowFrom;
use crate::api::{self, CreatedAccount};
use crate::store::{Registration, UpdateError};
use crate::zone::{NameError, NotAChallengeName, Timestamp, TxtSet};

/// Response codes that an UPDATE is answered with (RFC 2136 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rcode {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    Refused = 5,
    YxDomain = 6,
    YxRrset = 7,
    NxRrset = 8,
    NotAuth = 9,
    NotZone = 10,
}

/// A refusal of the writer in the words of the protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// For programs: [`ApiError::error`](crate::api::ApiError::error).
    pub error: &'static str,
    pub rcode: Rcode,
}

/// What each error of the writer is over HTTP and in an UPDATE.
pub fn refusal(error: &UpdateError) -> Refusal {
    let (status, error, rcode) = match error {
        UpdateError::Forbidden => (StatusCode::UNAUTHORIZED, "forbidden", Rcode::Refused),
        UpdateError::NotAChallengeName(NotAChallengeName::OutOfZone(_)) => {
            (StatusCode::NOT_FOUND, "not_a_challenge_name", Rcode::NotZone)
        }
        UpdateError::NotAChallengeName(_) => (StatusCode::NOT_FOUND, "not_a_challenge_name", Rcode::Refused),
        UpdateError::BadLabel(_) => (StatusCode::BAD_REQUEST, "bad_label", Rcode::Refused),
        UpdateError::LabelTaken { .. } => (StatusCode::CONFLICT, "label_taken", Rcode::Refused),
        UpdateError::NoZone => (StatusCode::CONFLICT, "no_zone", Rcode::Refused),
        UpdateError::AliasTaken { .. } => (StatusCode::CONFLICT, "alias_taken", Rcode::Refused),
        UpdateError::UnknownAccount(_)
        | UpdateError::UnknownLabel(_)
        | UpdateError::NotTheLabel(_)
        | UpdateError::UnknownAlias(_)
        | UpdateError::UnknownId { .. }
        | UpdateError::UnknownTsigKey(_) => (StatusCode::NOT_FOUND, "not_found", Rcode::Refused),
        UpdateError::LastLabel(_) => (StatusCode::CONFLICT, "last_label", Rcode::Refused),
        UpdateError::TooManyCredentials => (StatusCode::CONFLICT, "too_many_credentials", Rcode::Refused),
        UpdateError::ManyLabels(_) | UpdateError::AccountOfStorage(_) => {
            (StatusCode::CONFLICT, "storage_refused", Rcode::Refused)
        }
        UpdateError::TsigKeyRefused(..) | UpdateError::ConfiguredTsigKey(_) => {
            (StatusCode::CONFLICT, "key_refused", Rcode::Refused)
        }
        UpdateError::NoRandomness(_) | UpdateError::Store(_) | UpdateError::Stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", Rcode::ServFail)
        }
    };
    Refusal { status, error, rcode }
}

/// The answer that shows the credential, for the only time.
fn created(registration: &Registration) -> Result<CreatedAccount, NameError> {
    Ok(CreatedAccount {
        username: registration.account.username,
        password: registration.credential.reveal().to_owned(),
        fulldomain: registration.grant.name()?,
        subdomain: registration.grant.label.clone(),
        allowfrom: entries(&registration.account.allow_from),
    })
}

fn entries(list: &AllowFrom) -> Vec<String> {
    list.entries().map(str::to_owned).collect()
}

/// The values that are served at this moment, oldest first.
fn values(set: &TxtSet, now: Timestamp) -> Vec<api::TxtValue> {
    let live = set.held().iter().filter(|held| held.expires > now);
    live.map(|held| api::TxtValue { value: held.value.to_string(), expires: time(held.expires) }).collect()
}

/// Seconds since 1970 as the APIs show them.
fn time(seconds: Timestamp) -> jiff::Timestamp {
    i64::try_from(seconds).ok().and_then(|at| jiff::Timestamp::from_second(at).ok()).unwrap_or(jiff::Timestamp::MAX)
}
