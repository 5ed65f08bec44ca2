//! A new account at a CA (RFC 8555 section 7.3), so that neither a crash nor a lost answer loses it.
//!
//! Its key is in the store before the CA hears of it. Whoever finds a key that may have an account asks the CA for that
//! one first: an external account may be bound only once (section 7.3.4).

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::account::{Kept, keep, put};
use super::directory::{Directory, Meta};
use super::error::{CaError, SessionError, protocol, told};
use super::http::Http;
use super::jws::{Jws, Key, Signer, base64url, bind, post};
use super::rollover::{Credentials, damaged, key, written};
use crate::acme::secret::Secret;
use crate::acme::source;
use crate::config::{Ca, Eab};
use crate::store::{Writer, now};
use crate::zone::Timestamp;

/// A key that may have an account by now.
#[derive(Serialize, Deserialize)]
pub struct BeingMade {
    /// PKCS#8 in base64url, as in the credentials.
    key_pkcs8: Secret,
    /// When the key was made.
    since: Timestamp,
}

/// An account at another place of the CA that a new one is to be bound to (RFC 8555 section 7.3.4).
struct External<'a> {
    key_id: &'a str,
    hmac_key: Zeroizing<Vec<u8>>,
}

/// What the store has of an account that is being made.
#[derive(Serialize)]
struct Stored<'a> {
    being_made: &'a BeingMade,
}

/// Body of the request (RFC 8555 section 7.3).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    contact: &'a [String],
    terms_of_service_agreed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_account_binding: Option<Jws>,
}

/// Makes an account and keeps it, or the one that was begun before.
pub async fn register(
    ca: &Ca,
    http: &Http,
    directory: &Directory,
    writer: &Writer,
    begun: Option<BeingMade>,
) -> Result<Kept, SessionError> {
    if let Some(begun) = &begun
        && let Some(url) = account_of(ca, http, directory, begun).await?
    {
        tracing::info!(ca = %ca.name, account = url, "the CA has made the account that was being made");
        // It may have heard of other addresses then: it is told again.
        return made(ca, writer, begun, url, Vec::new()).await;
    }
    let eab = external_account(ca, &directory.meta)?;
    let being_made = match begun {
        Some(begun) => begun,
        None => {
            let new = Key::generate().map_err(|error| damaged(ca, &error))?;
            let being_made = BeingMade { key_pkcs8: Secret::new(base64url(&new)), since: now() };
            put(ca, writer, &Stored { being_made: &being_made }).await?;
            being_made
        }
    };
    let key = key(ca, &being_made.key_pkcs8)?;
    let url = &directory.new_account;
    let bound = eab.map(|external| bind(&external.hmac_key, external.key_id, url, key.jwk())).transpose();
    let wanted = NewAccount {
        contact: &ca.contact,
        terms_of_service_agreed: ca.agrees_to_terms,
        external_account_binding: bound.map_err(|error| told(error, http))?,
    };
    let answer = post(http, &directory.new_nonce, url, (&key, Signer::Key), Some(&wanted)).await;
    let account = location(&answer.map_err(|error| told(error, http))?, url)?;
    let is_new = http.last().status == StatusCode::CREATED;
    let contact = if is_new { ca.contact.clone() } else { Vec::new() };
    let kept = made(ca, writer, &being_made, account.clone(), contact).await?;
    let terms = directory.meta.terms_of_service.as_deref().unwrap_or("none");
    tracing::info!(ca = %ca.name, account, terms, "made an account at the CA, agreeing to its terms");
    Ok(kept)
}

/// URL of the account that the CA has made for the key, if it has (RFC 8555 section 7.3.1).
async fn account_of(
    ca: &Ca,
    http: &Http,
    directory: &Directory,
    begun: &BeingMade,
) -> Result<Option<String>, SessionError> {
    let key = key(ca, &begun.key_pkcs8)?;
    let (url, asked) = (&directory.new_account, json!({ "onlyReturnExisting": true }));
    match post(http, &directory.new_nonce, url, (&key, Signer::Key), Some(&asked)).await {
        Ok(headers) => Ok(Some(location(&headers, url)?)),
        Err(error) => match told(error, http) {
            // Also one that does not look without an external account: it is asked for a new one as before.
            error if error.is_final() || error.is_unknown_account() => Ok(None),
            error => Err(error.into()),
        },
    }
}

/// Puts the account in the place of its key.
async fn made(
    ca: &Ca,
    writer: &Writer,
    being_made: &BeingMade,
    url: String,
    contact: Vec<String>,
) -> Result<Kept, SessionError> {
    let key_pkcs8 = being_made.key_pkcs8.clone();
    let credentials = written(ca, &Credentials { id: url, key_pkcs8, directory: Some(ca.directory.clone()) })?;
    let kept = Kept { contact, credentials, created: now(), next_key: None, former_keys: Vec::new() };
    keep(ca, writer, &kept).await?;
    Ok(kept)
}

fn location(headers: &HeaderMap, asked: &str) -> Result<String, CaError> {
    let url = headers.get(LOCATION).and_then(|url| url.to_str().ok());
    url.map(str::to_owned).ok_or_else(|| protocol(asked, "it has no URL of the account".into()))
}

/// Whether an account may be made at a CA that says this of itself; asks nothing of it.
pub fn may_register(ca: &Ca, meta: &Meta) -> Result<(), CaError> {
    external_account(ca, meta).map(drop)
}

/// The external account that the new one is bound to, if any. Fails where no account may be made.
fn external_account<'a>(ca: &'a Ca, meta: &Meta) -> Result<Option<External<'a>>, CaError> {
    if let Some(url) = meta.terms_of_service.clone().filter(|_| !ca.agrees_to_terms) {
        return Err(CaError::Terms { ca: ca.name.clone(), url });
    }
    match &ca.eab {
        Some(eab) => {
            let unusable = |reason| CaError::EabKey { ca: ca.name.clone(), reason };
            Ok(Some(External { key_id: &eab.key_id, hmac_key: hmac_key(eab).map_err(unusable)? }))
        }
        None if meta.external_account_required => Err(CaError::NeedsEab { ca: ca.name.clone() }),
        None => Ok(None),
    }
}

/// The octets of the HMAC key of an external account.
fn hmac_key(eab: &Eab) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = source::read(&eab.hmac_key).map_err(|error| error.to_string())?;
    Eab::decode(text.reveal()).map_err(|why| format!("the `hmac_key` {why}"))
}
