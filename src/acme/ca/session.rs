//! An account at a CA, and the CA's errors in its own words.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::LOCATION;
use instant_acme::{Account, AccountCredentials, Order};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::authority::{Authority, NoDirectory};
use super::directory::Directory;
use super::http::{Answer, Http, HttpError, NoClient};
use super::jws::{Signer, post};
use super::problem::{self, About, Class, Refusal};
use super::registration::{BeingMade, register};
use super::rollover::{self, NextKey, holder};
use crate::config::Ca;
use crate::store::{Document, UpdateError, Writer, now};
use crate::zone::Timestamp;

/// How often a request is made again whose nonce the CA does not take, each time with three nonces.
const NONCES: usize = 10;

/// Chains of one certificate that are fetched beside the one that the CA sends by itself.
const MOST_CHAINS: usize = 10;

/// Asks a session's CA, and asks again as long as it is only the nonce that the CA does not take: then it has not acted
/// (RFC 8555 section 6.5). instant-acme alone gives up after three. No function: what the request borrows, and that it
/// can be sent between threads, cannot be said in the types of one.
macro_rules! ask {
    ($session:expr, $request:expr) => {{
        let mut tries = 0;
        loop {
            if let Some(outcome) = $session.heard($request, &mut tries) {
                break outcome;
            }
        }
    }};
}
pub(in crate::acme) use ask;

/// What is kept of an account: `Document::CaAccount`. No `Debug`: it holds the account's key.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    pub contact: Vec<String>,
    pub credentials: AccountCredentials,
    pub created: Timestamp,
    /// The key that is to take the place of the account's, and may have done so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<NextKey>,
}

/// An account as the store has it.
enum Stored {
    Account(Box<Kept>),
    /// `{"being_made": …}`
    BeingMade(BeingMade),
}

/// How we stand with a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was asked of it yet.
    Unknown,
    /// There is a key; whether the CA has an account with it is to be seen.
    BeingMade,
    /// URL of our account.
    Account(String),
}

/// A conversation with a CA as the holder of an account.
pub struct Session {
    pub account: Account,
    pub directory: Arc<Directory>,
    http: Http,
}

/// Why the CA did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// A problem document (RFC 8555 section 6.7).
    #[error("{}", .0.words)]
    Refused(Refusal),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the CA's answer from {url} is not what ACME says: {reason}")]
    Protocol { url: String, reason: String },
    #[error(transparent)]
    NoClient(#[from] NoClient),
    #[error("the CA has no profile `{wanted}`; {}", listed(offered))]
    NoProfile { wanted: String, offered: Vec<String> },
    #[error("the CA took the order without the profile `{wanted}`")]
    ProfileIgnored { wanted: String },
    #[error(
        "the CA does not offer {wanted} for {domain}, but {}: change the `challenge` of the certificate, or its CA",
        offered.join(", ")
    )]
    NoSuchChallenge { wanted: &'static str, domain: String, offered: Vec<String> },
    /// RFC 8555 section 7.3.4.
    #[error(
        "the CA `{ca}` makes accounts only for its customers: get a key ID and an HMAC key from it, and set \
         `eab = {{ key_id = \"…\", hmac_key_file = \"…\" }}` in its [[ca]]"
    )]
    NeedsEab { ca: String },
    #[error("the HMAC key of `eab` in the [[ca]] `{ca}` cannot be used: {reason}")]
    EabKey { ca: String, reason: String },
    /// RFC 8555 section 7.3.3.
    #[error(
        "an account at the CA `{ca}` needs your agreement to its terms of service, {url}; its [[ca]] has \
         `agree_to_terms = false`"
    )]
    Terms { ca: String, url: String },
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Store(#[from] UpdateError),
}

impl Session {
    /// Loads the account kept for the CA, or makes one, whose key is kept before the CA hears of it. Callers take turns,
    /// so that no CA gets two accounts; what keeps one of them from it, all hear who are waiting.
    pub async fn open(authority: &Authority, writer: &Writer) -> Result<Session, SessionError> {
        let asked = Instant::now();
        let http = authority.http().map_err(CaError::from)?;
        let directory = authority.directory(&http).await.map_err(CaError::from)?;
        let _turn = authority.turn.lock().await;
        if let Some(error) = authority.refused_since(asked) {
            return Err(error.into());
        }
        let opened = Session::open_in_turn(authority, http, directory, writer).await;
        if let Err(SessionError::Ca(error)) = &opened {
            authority.refused(error.clone());
        }
        opened
    }

    async fn open_in_turn(
        authority: &Authority,
        http: Http,
        directory: Arc<Directory>,
        writer: &Writer,
    ) -> Result<Session, SessionError> {
        let ca = &authority.ca;
        let kept = match stored(ca, writer).await? {
            Some(Stored::Account(kept)) => rollover::settle(ca, &http, &directory, writer, *kept).await?,
            Some(Stored::BeingMade(begun)) => register(ca, &http, &directory, writer, Some(begun)).await?,
            None => register(ca, &http, &directory, writer, None).await?,
        };
        let Kept { contact: known, credentials, created, next_key } = kept;
        let again = copy(&credentials).map_err(|reason| protocol(&ca.directory, reason))?;
        let builder = Account::builder_with_http(Box::new(http.clone()));
        let account = builder.from_credentials(credentials).await.map_err(|error| told(error, &http))?;
        let session = Session { account, directory, http };
        let contact = ca.contact.clone();
        if known != contact && authority.hears_contact(now()) && session.tell_contact(authority).await {
            keep(ca, writer, &Kept { contact, credentials: again, created, next_key }).await?;
        }
        Ok(session)
    }

    /// Tells the CA new contact addresses; whether it took them. Issuing does not depend on it.
    async fn tell_contact(&self, authority: &Authority) -> bool {
        let ca = &authority.ca;
        let contact: Vec<&str> = ca.contact.iter().map(String::as_str).collect();
        self.http.is_common(self.account.id());
        match ask!(self, self.account.update_contacts(&contact).await) {
            Ok(()) => true,
            Err(error) => {
                authority.refused_contact(now(), error.retry_at());
                tracing::warn!(ca = %ca.name, %error, "the CA did not take the new contact addresses");
                false
            }
        }
    }

    /// Whether the CA can be asked for this profile.
    pub fn check_profile(&self, wanted: &str) -> Result<(), CaError> {
        let profiles = &self.directory.meta.profiles;
        if profiles.contains_key(wanted) {
            return Ok(());
        }
        Err(CaError::NoProfile { wanted: wanted.to_owned(), offered: profiles.keys().cloned().collect() })
    }

    /// The names that the CA takes for its own in CAA records (RFC 8555 section 7.1.1).
    pub fn caa_identities(&self) -> &[String] {
        &self.directory.meta.caa_identities
    }

    /// Fetches all authorizations of an order, so that going through them asks nothing any more: what the CA has
    /// answered, for what instant-acme does not read of it.
    pub async fn fetch_authorizations(&self, order: &mut Order) -> Result<Vec<Bytes>, CaError> {
        let mut bodies = Vec::new();
        for index in 0..order.state().authorizations.len() {
            ask!(self, fetch_authorization(order, index).await)?;
            bodies.push(self.http.last().body);
        }
        Ok(bodies)
    }

    /// All chains that the CA offers for the certificate that it has just sent (RFC 8555 section 7.4.2), that one first.
    pub async fn chains(&self, sent: String) -> Vec<String> {
        let urls: Vec<String> = self.http.last().linked("alternate").take(MOST_CHAINS).map(str::to_owned).collect();
        let mut chains = vec![sent];
        for url in urls {
            // instant-acme fetches orders alone. This is none, and is taken from the answer.
            let outcome = ask!(self, self.account.order(url.clone()).await);
            let answer = self.http.last();
            match (String::from_utf8(answer.body.to_vec()), outcome) {
                (Ok(chain), _) if answer.url == url && answer.status.is_success() && !chain.is_empty() => {
                    chains.push(chain);
                }
                (_, Err(error)) => tracing::warn!(%error, "the CA offers another chain, and does not send it"),
                (_, Ok(_)) => {}
            }
        }
        chains
    }

    /// The outcome of a request, if it is not to be made again.
    pub fn heard<T>(&self, outcome: Result<T, instant_acme::Error>, tries: &mut usize) -> Option<Result<T, CaError>> {
        heard(&self.http, outcome, tries)
    }

    /// The error with what the last answer said beside it.
    pub fn told(&self, error: instant_acme::Error) -> CaError {
        told(error, &self.http)
    }

    /// The URL of what the CA made last, if its last answer was that it made something.
    pub fn created(&self) -> Option<String> {
        let last = self.http.last();
        last.location.filter(|_| last.status == http::StatusCode::CREATED)
    }

    /// When the CA's last answer asked us to come back.
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.http.last().retry_at
    }
}

/// Goes through what is fetched already to the one that may not be.
async fn fetch_authorization(order: &mut Order, index: usize) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    for _ in 0..index {
        authorizations.next().await.transpose()?;
    }
    authorizations.next().await.transpose().map(drop)
}

/// The outcome of a request, unless the CA did not take its nonce and `tries` are left.
fn heard<T>(http: &Http, outcome: Result<T, instant_acme::Error>, tries: &mut usize) -> Option<Result<T, CaError>> {
    let outcome = outcome.map_err(|error| told(error, http));
    *tries += 1;
    match outcome {
        Err(CaError::Refused(refusal)) if refusal.is("badNonce") && *tries < NONCES => None,
        outcome => Some(outcome),
    }
}

/// The key of an account's document. A CA whose directory changes, to a staging one and back, has one for each.
fn key_of(ca: &Ca) -> String {
    format!("{} {}", ca.name, ca.directory)
}

/// What the store has of the account at the CA.
async fn stored(ca: &Ca, writer: &Writer) -> Result<Option<Stored>, UpdateError> {
    let text = writer.document(Document::CaAccount, &key_of(ca)).await?.map(Zeroizing::new);
    let Some(text) = text else { return Ok(None) };
    match Stored::read(&text) {
        Ok(stored) => Ok(stored),
        Err(error) => {
            tracing::warn!(ca = %ca.name, %error, "the stored account cannot be read, a new one will be made");
            Ok(None)
        }
    }
}

/// The account at the CA, once it is made.
pub async fn kept(ca: &Ca, writer: &Writer) -> Result<Option<Kept>, UpdateError> {
    Ok(match stored(ca, writer).await? {
        Some(Stored::Account(kept)) => Some(*kept),
        Some(Stored::BeingMade(_)) | None => None,
    })
}

pub async fn keep(ca: &Ca, writer: &Writer, kept: &Kept) -> Result<(), SessionError> {
    put(ca, writer, kept).await
}

/// Keeps this of the account; accounts that were put aside stay.
pub async fn put(ca: &Ca, writer: &Writer, stored: &impl Serialize) -> Result<(), SessionError> {
    #[derive(Serialize)]
    struct Whole<'a, S> {
        #[serde(flatten)]
        stored: &'a S,
        #[serde(skip_serializing_if = "Option::is_none")]
        former: Option<Value>,
    }
    let former = document(ca, writer).await?.and_then(|mut old| old.remove("former"));
    let text = serde_json::to_string(&Whole { stored, former });
    let text = text.map_err(|error| protocol(&ca.directory, error.to_string()))?;
    Ok(writer.put_documents(vec![(Document::CaAccount, key_of(ca), Some(text))]).await?)
}

/// How we stand with the CA.
pub async fn standing(ca: &Ca, writer: &Writer) -> Result<Standing, UpdateError> {
    #[derive(Deserialize)]
    struct Credentials {
        id: String,
    }
    #[derive(Deserialize)]
    struct Known {
        credentials: Option<Credentials>,
        being_made: Option<IgnoredAny>,
    }
    let Some(text) = writer.document(Document::CaAccount, &key_of(ca)).await? else { return Ok(Standing::Unknown) };
    Ok(match serde_json::from_str(&text) {
        Ok(Known { being_made: Some(_), .. }) => Standing::BeingMade,
        Ok(Known { credentials: Some(credentials), .. }) => Standing::Account(credentials.id),
        _ => Standing::Unknown,
    })
}

/// Gives up this account, which the CA has said it does not know, unless it knows its key all the same: whether it is
/// given up. Not one whose key may be another by now; nor one that was made in its place meanwhile, which counts as
/// given up. The next one has a new key, since the old one may be known to the CA as that of an account that is
/// deactivated; the old one is put aside, as an external account may be bound to it for ever.
pub async fn forget(authority: &Authority, writer: &Writer, account: &str) -> Result<bool, SessionError> {
    let http = authority.http().map_err(CaError::from)?;
    let directory = authority.directory(&http).await.map_err(CaError::from)?;
    let _turn = authority.turn.lock().await;
    let ca = &authority.ca;
    let Some(mut kept) = kept(ca, writer).await? else { return Ok(true) };
    let holder = holder(ca, &kept)?;
    if holder.account != account || kept.next_key.is_some() {
        return Ok(holder.account != account);
    }
    let asked = json!({ "onlyReturnExisting": true });
    let signer = (&holder.key, Signer::Key);
    match post(&http, &directory.new_nonce, &directory.new_account, signer, Some(&asked)).await {
        Ok(headers) => {
            let known = headers.get(LOCATION).and_then(|url| url.to_str().ok()).unwrap_or(account);
            if known != account {
                let mut credentials = rollover::read(ca, &kept.credentials)?;
                known.clone_into(&mut credentials.id);
                kept.credentials = rollover::written(ca, &credentials)?;
                keep(ca, writer, &kept).await?;
            }
            tracing::warn!(ca = %ca.name, account = known, "the CA knows our account after all");
            Ok(false)
        }
        Err(error) => match told(error, &http) {
            error if error.is_unknown_account() => {
                put_aside(ca, writer).await?;
                tracing::warn!(ca = %ca.name, account, "the CA does not know our account any more; its key is put aside");
                Ok(true)
            }
            error => Err(error.into()),
        },
    }
}

/// Puts the account aside, in the document that the next one has.
async fn put_aside(ca: &Ca, writer: &Writer) -> Result<(), SessionError> {
    let Some(mut old) = document(ca, writer).await? else { return Ok(()) };
    let mut former = match old.remove("former") {
        Some(Value::Array(former)) => former,
        _ => Vec::new(),
    };
    former.push(Value::Object(old));
    let text = json!({ "former": former }).to_string();
    Ok(writer.put_documents(vec![(Document::CaAccount, key_of(ca), Some(text))]).await?)
}

/// The account's document as it is, if it can be read.
async fn document(ca: &Ca, writer: &Writer) -> Result<Option<Map<String, Value>>, UpdateError> {
    let text = writer.document(Document::CaAccount, &key_of(ca)).await?.map(Zeroizing::new);
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Credentials can be written and read, but not cloned.
fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, String> {
    let text = serde_json::to_string(credentials).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

pub fn protocol(url: &str, reason: String) -> CaError {
    CaError::Protocol { url: url.to_owned(), reason }
}

/// The error with what the last answer said beside it.
pub fn told(error: instant_acme::Error, http: &Http) -> CaError {
    let last = http.last();
    match error {
        instant_acme::Error::Api(problem) => {
            let mut refusal = Refusal::new(&problem, About::Request);
            // The problem may also be one of an object, in an answer that is a success.
            if !last.status.is_success() {
                refusal.status = refusal.status.or(Some(last.status.as_u16()));
            }
            refusal.retry_at = last.retry_at.or(refusal.retry_at);
            if refusal.is("userActionRequired") {
                refusal.see = instance(&last).or_else(|| last.linked("terms-of-service").next().map(str::to_owned));
            }
            CaError::Refused(refusal)
        }
        instant_acme::Error::Other(other) => match other.downcast::<HttpError>() {
            Ok(error) => CaError::Http(*error),
            Err(other) => protocol(&last.url, other.to_string()),
        },
        other => protocol(&last.url, other.to_string()),
    }
}

/// The page that a problem document leads to (RFC 8555 section 7.3.3), which instant-acme does not read.
fn instance(answer: &Answer) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    document.get("instance")?.as_str().filter(|url| url.starts_with("http")).map(str::to_owned)
}

impl Stored {
    /// `None` if there are only accounts that were put aside.
    fn read(text: &str) -> Result<Option<Stored>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Begun {
            being_made: Option<BeingMade>,
            credentials: Option<IgnoredAny>,
            former: Option<IgnoredAny>,
        }
        Ok(match serde_json::from_str::<Begun>(text)? {
            Begun { being_made: Some(begun), .. } => Some(Stored::BeingMade(begun)),
            Begun { credentials: None, former: Some(_), .. } => None,
            _ => Some(Stored::Account(Box::new(serde_json::from_str(text)?))),
        })
    }
}

impl From<NoDirectory> for CaError {
    fn from(error: NoDirectory) -> CaError {
        match error {
            NoDirectory::Http(error) => CaError::Http(error),
            NoDirectory::Bad { url, error } => protocol(&url, error.to_string()),
        }
    }
}

impl CaError {
    /// Who can do something about it, if asked now.
    pub fn class(&self, now: Timestamp) -> Class {
        match self {
            CaError::Refused(refusal) => refusal.class(now),
            CaError::Http(HttpError::Status { status, retry_at, .. }) => {
                problem::class_of_status(*status, *retry_at, now)
            }
            // Down, not speaking ACME, or not set up well: others are.
            _ => Class::Elsewhere,
        }
    }

    /// When the CA wants us to come back, if it said.
    pub fn retry_at(&self) -> Option<Timestamp> {
        match self {
            CaError::Refused(Refusal { retry_at, .. }) | CaError::Http(HttpError::Status { retry_at, .. }) => *retry_at,
            _ => None,
        }
    }

    /// Whether the CA does not know our account (RFC 8555 section 6.7).
    pub fn is_unknown_account(&self) -> bool {
        matches!(self, CaError::Refused(refusal) if refusal.is("accountDoesNotExist"))
    }

    /// Whether the CA has decided against what was asked, so that asking the same again is of no use.
    pub fn is_final(&self) -> bool {
        match self {
            CaError::Refused(refusal) => refusal.is_final(),
            CaError::NoProfile { .. } | CaError::ProfileIgnored { .. } | CaError::NoSuchChallenge { .. } => true,
            _ => false,
        }
    }

    /// Whether the CA is down, broken, or no CA.
    pub fn is_outage(&self) -> bool {
        match self {
            CaError::Refused(refusal) => refusal.is_outage(),
            CaError::Http(HttpError::Status { status, .. }) => {
                !matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            CaError::Http(_) | CaError::Protocol { .. } => true,
            _ => false,
        }
    }

    /// What it means and what to do, where the error does not say so itself.
    pub fn explanation(&self) -> Option<String> {
        match self {
            CaError::Refused(refusal) => Some(refusal.explanation()),
            CaError::Http(error) => Some(problem::explanation_of(error)),
            CaError::Protocol { .. } => Some(problem::NO_ACME.into()),
            _ => None,
        }
    }
}

fn listed(offered: &[String]) -> String {
    if offered.is_empty() { "it has none".into() } else { format!("it has {}", offered.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_as_every_version_has_written_them() {
        let read = |text: &str| Stored::read(text);
        let account = r#"{"contact":["mailto:a@b.test"],"credentials":{"id":"https://ca.test/a/1","key_pkcs8":"AAAA",
            "directory":"https://ca.test/dir"},"created":1"#;
        for next_key in ["}", r#","next_key":{"key_pkcs8":"AAAA","told_at":2}}"#] {
            let kept = read(&format!("{account}{next_key}"));
            assert!(matches!(kept, Ok(Some(Stored::Account(kept))) if kept.created == 1), "{next_key}");
        }
        let begun = read(r#"{"being_made":{"key_pkcs8":"AAAA","since":1}}"#);
        assert!(matches!(begun, Ok(Some(Stored::BeingMade(_)))));
        assert!(matches!(read(&format!(r#"{{"former":[{account}}}]}}"#)), Ok(None)));
        for noise in ["", "{}", r#"{"being_made":{}}"#] {
            assert!(read(noise).is_err(), "{noise}");
        }
    }

    #[test]
    fn the_page_that_a_person_has_to_see_is_found_rfc8555_7_3_3() {
        let instance = |body: &'static str| instance(&Answer { body: body.into(), ..Answer::default() });
        assert_eq!(instance(r#"{"instance":"https://ca.test/agree"}"#).as_deref(), Some("https://ca.test/agree"));
        assert_eq!(instance(r#"{"instance":"urn:x"}"#), None);
        assert_eq!(instance(r#"{"instance":7}"#), None);
        assert_eq!(instance("<html>"), None);
    }
}
