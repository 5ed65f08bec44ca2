//! A new key for an account (RFC 8555 section 7.3.5), so that neither a crash nor a lost answer loses the account.
//!
//! The new key is stored beside the old one before the CA hears of it, and takes its place in one commit afterwards.
//! Whoever finds both asks the CA which one the account has.

use std::fmt::Display;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::LOCATION;
use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::account::{Kept, keep, kept};
use super::authority::Authority;
use super::directory::Directory;
use super::error::{CaError, SessionError, told};
use super::http::Http;
use super::jws::{BadKey, Key, Signer, base64url, post};
use crate::acme::Issuer;
use crate::acme::secret::Secret;
use crate::api::Progress;
use crate::config::{Ca, Challenge};
use crate::store::{StoreError, UpdateError, Writer, now};
use crate::zone::Timestamp;

/// A CA may act on a request long after we have stopped to wait for its answer. After this long it does not, seconds.
const IN_FLIGHT: u64 = 60 * 60;

/// A key that the account may have by now.
#[derive(Serialize, Deserialize)]
pub struct NextKey {
    /// PKCS#8 in base64url, as in the credentials.
    key_pkcs8: Secret,
    /// Before the CA was told of it for the last time.
    told_at: Timestamp,
}

/// instant-acme's [`AccountCredentials`], which have no way to another key.
#[derive(Serialize, Deserialize)]
pub struct Credentials {
    pub id: String,
    /// PKCS#8 in base64url.
    pub key_pkcs8: Secret,
    pub directory: Option<String>,
}

/// An account that signs requests of our own.
pub struct Holder {
    pub key: Key,
    /// URL of the account.
    pub account: String,
}

/// Why an account has no new key.
#[derive(Debug, thiserror::Error)]
enum RolloverError {
    #[error("there is no account at {0} yet: it is made for the first order, with a new key")]
    NoAccount(String),
    #[error("{0} does not let accounts change their key")]
    NotOffered(String),
    #[error("{0}; the account keeps its key")]
    Refused(CaError),
    #[error(
        "{0}; the CA may have taken the new key all the same: both are kept, and before the next request the CA is asked which one it is"
    )]
    Unknown(CaError),
    #[error("cannot make a key")]
    NoKey(BadKey),
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Issuer {
    /// Gives the account at this CA a new key and tells each step; the last line is `Done` or `Failed`. `None` if the
    /// configuration has no CA of this name.
    ///
    /// Waits until no attempt speaks as the account. Must be called inside the runtime.
    pub fn roll_over(&self, ca: &str) -> Option<mpsc::Receiver<Progress>> {
        let authority = self.authority(ca)?.clone();
        Some(self.telling(move |issuer, listener| async move {
            if authority.signing.try_write().is_err() {
                listener.step("waiting until no order is under way at the CA".into());
            }
            match roll_over(&authority, &issuer.shared.writer).await {
                Ok(Changed { account, key, hashed }) => {
                    tracing::info!(ca = %authority.ca.name, account, "the account has a new key");
                    let thumbprint = key.jwk().thumbprint();
                    let certificates = if hashed { issuer.proven_by_records(&authority.ca) } else { Vec::new() };
                    let message = format!(
                        "the account {account} has a new key, with the thumbprint {thumbprint}; nothing else has changed{}",
                        of_former_key(&certificates)
                    );
                    Progress::Done { message, path: String::new() }
                }
                Err(error) => {
                    tracing::warn!(ca = %authority.ca.name, %error, "the account has no new key");
                    Progress::Failed { message: error.to_string() }
                }
            }
        }))
    }

    /// The certificates from this CA whose names may be proven by records that stand for good.
    fn proven_by_records(&self, ca: &Ca) -> Vec<&str> {
        let slots = self.shared.slots.iter().filter(|slot| slot.certificate.challenge == Challenge::DnsPersist01);
        slots.filter(|slot| slot.certificate.cas.contains(&ca.name)).map(|slot| slot.name()).collect()
    }
}

/// An account with a new key.
struct Changed {
    /// Its URL.
    account: String,
    key: Key,
    /// dns-persist-01 records are of the account's key, from draft -02 on.
    hashed: bool,
}

/// What to say about certificates with records of the account's key.
fn of_former_key(certificates: &[&str]) -> String {
    if certificates.is_empty() {
        return String::new();
    }
    let names = certificates.join(", ");
    format!(", and the CA has to take records of the former key still, which were made by hand for {names}")
}

async fn roll_over(authority: &Authority, writer: &Writer) -> Result<Changed, RolloverError> {
    let _alone = authority.signing.write().await;
    let _turn = authority.turn.lock().await;
    let ca = &authority.ca;
    let http = authority.http().map_err(|error| SessionError::Ca(error.into()))?;
    let directory = authority.directory(&http).await.map_err(|error| SessionError::Ca(error.into()))?;
    let found = kept(ca, writer).await.map_err(SessionError::from)?;
    let found = found.ok_or_else(|| RolloverError::NoAccount(ca.name.clone()))?;
    let hashed = directory.meta.account_hash_prefix.is_some();
    let url = directory.key_change.as_ref().ok_or_else(|| RolloverError::NotOffered(ca.name.clone()))?;
    let mut found = settle(ca, &http, &directory, writer, found).await?;

    // A key that the CA may still be about to take is told again: there are never more than two.
    let key_pkcs8 = match found.next_key.take() {
        Some(next) => next.key_pkcs8,
        None => Secret::new(base64url(&Key::generate().map_err(RolloverError::NoKey)?)),
    };
    let new = key(ca, &key_pkcs8)?;
    found.next_key = Some(NextKey { key_pkcs8, told_at: now() });
    keep(ca, writer, &found).await?;

    let old = holder(ca, &found)?;
    let change = json!({ "account": old.account, "oldKey": old.key.jwk() });
    let told = match new.sign(Signer::Key, None, url, Some(&change)) {
        Ok(inner) => {
            let signer = (&old.key, Signer::Account(&old.account));
            post(&http, &directory.new_nonce, url, signer, Some(&inner)).await
        }
        Err(error) => Err(error),
    };
    let error = match told {
        Ok(_) => {
            promote(ca, writer, found, None).await?;
            return Ok(Changed { account: old.account, key: new, hashed });
        }
        Err(error) => self::told(error, &http),
    };
    // Did the CA do it before the answer was lost?
    let Ok(mut found) = settle(ca, &http, &directory, writer, found).await else {
        return Err(RolloverError::Unknown(error));
    };
    if found.next_key.is_none() {
        return Ok(Changed { account: old.account, key: new, hashed });
    }
    if !error.is_final() {
        return Err(RolloverError::Unknown(error));
    }
    found.next_key = None;
    keep(ca, writer, &found).await?;
    Err(RolloverError::Refused(error))
}

/// Finds out which key the account has, if there is a choice of two. The new one takes the place of the old one if it
/// is; it is forgotten if the CA will not take it any more.
pub async fn settle(
    ca: &Ca,
    http: &Http,
    directory: &Directory,
    writer: &Writer,
    mut found: Kept,
) -> Result<Kept, SessionError> {
    let Some(next) = &found.next_key else { return Ok(found) };
    match which(ca, http, directory, &found, next).await? {
        Which::New(url) => {
            let settled = promote(ca, writer, found, url.as_deref()).await?;
            tracing::info!(ca = %ca.name, "the CA has the new key of the account");
            Ok(settled)
        }
        Which::Old => {
            if next.told_at.saturating_add(IN_FLIGHT) < now() {
                found.next_key = None;
                keep(ca, writer, &found).await?;
                tracing::warn!(ca = %ca.name, "the CA has not taken the new key of the account: it keeps its old one");
            }
            Ok(found)
        }
    }
}

/// The key that an account has at its CA.
enum Which {
    Old,
    /// With the URL of the account, if the CA named it.
    New(Option<String>),
}

/// Asks the CA which of two keys the account has.
async fn which(
    ca: &Ca,
    http: &Http,
    directory: &Directory,
    found: &Kept,
    next: &NextKey,
) -> Result<Which, SessionError> {
    let (old, new) = (holder(ca, found)?, key(ca, &next.key_pkcs8)?);
    // Nobody but us has this key: if there is an account with it, it is ours (RFC 8555 section 7.3.1).
    let asked = json!({ "onlyReturnExisting": true });
    let signer = (&new, Signer::Key);
    let refusal = match post(http, &directory.new_nonce, &directory.new_account, signer, Some(&asked)).await {
        Ok(headers) => {
            let url = headers.get(LOCATION).and_then(|url| url.to_str().ok());
            return Ok(Which::New(url.map(str::to_owned)));
        }
        Err(error) => match told(error, http) {
            error if error.is_unknown_account() => return Ok(Which::Old),
            error if error.is_final() => error,
            error => return Err(error.into()),
        },
    };
    // It says nothing to who has no external account, or has no answer to this question. Nobody reads an account but
    // with its key (sections 6.2 and 7.3).
    for (key, which) in [(&old.key, Which::Old), (&new, Which::New(None))] {
        let signer = (key, Signer::Account(&old.account));
        match post(http, &directory.new_nonce, &old.account, signer, None::<&()>).await {
            Ok(_) => return Ok(which),
            Err(error) => match told(error, http) {
                error if error.is_final() => {}
                error => return Err(error.into()),
            },
        }
    }
    Err(refusal.into())
}

/// Puts the new key in the place of the old one, which is forgotten; and this URL of the account, if the CA named it.
async fn promote(ca: &Ca, writer: &Writer, found: Kept, account: Option<&str>) -> Result<Kept, SessionError> {
    let Some(next) = found.next_key else { return Ok(found) };
    let mut credentials = read(ca, &found.credentials)?;
    let mut former_keys = found.former_keys;
    former_keys.push(key(ca, &credentials.key_pkcs8)?.jwk().thumbprint());
    credentials.key_pkcs8 = next.key_pkcs8;
    if let Some(account) = account {
        account.clone_into(&mut credentials.id);
    }
    let promoted = Kept { credentials: written(ca, &credentials)?, next_key: None, former_keys, ..found };
    keep(ca, writer, &promoted).await?;
    Ok(promoted)
}

/// The account of a CA as a signer of requests; `None` if there is none.
pub async fn existing(
    authority: &Authority,
    http: &Http,
    directory: &Directory,
    writer: &Writer,
) -> Result<Option<Holder>, SessionError> {
    let _turn = authority.turn.lock().await;
    let ca = &authority.ca;
    let Some(found) = kept(ca, writer).await? else { return Ok(None) };
    let found = settle(ca, http, directory, writer, found).await?;
    Ok(Some(holder(ca, &found)?))
}

/// The account as a signer of requests, with the key that it is known to have.
pub fn holder(ca: &Ca, found: &Kept) -> Result<Holder, SessionError> {
    let credentials = read(ca, &found.credentials)?;
    Ok(Holder { key: key(ca, &credentials.key_pkcs8)?, account: credentials.id })
}

pub fn key(ca: &Ca, key_pkcs8: &Secret) -> Result<Key, SessionError> {
    let der = BASE64_URL_SAFE_NO_PAD.decode(key_pkcs8.reveal()).map_err(|_| damaged(ca, &BadKey::Unreadable))?;
    Key::from_der(&Zeroizing::new(der)).map_err(|error| damaged(ca, &error))
}

pub fn read(ca: &Ca, credentials: &AccountCredentials) -> Result<Credentials, SessionError> {
    let text = serde_json::to_string(credentials).map(Zeroizing::new);
    text.and_then(|text| serde_json::from_str(&text)).map_err(|error| damaged(ca, &error))
}

pub fn written(ca: &Ca, credentials: &Credentials) -> Result<AccountCredentials, SessionError> {
    let text = serde_json::to_string(credentials).map(Zeroizing::new);
    text.and_then(|text| serde_json::from_str(&text)).map_err(|error| damaged(ca, &error))
}

pub fn damaged(ca: &Ca, error: &dyn Display) -> SessionError {
    SessionError::Store(UpdateError::Store(StoreError::Damaged(format!("the account at {}: {error}", ca.name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_records_of_the_former_key_is_told() {
        assert_eq!(of_former_key(&[]), "");
        assert!(of_former_key(&["a", "b"]).ends_with("by hand for a, b"));
    }
}
