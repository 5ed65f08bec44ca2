//! An account at a CA, and the CA's errors in its own words.

use std::sync::Arc;

use instant_acme::{Account, AccountCredentials, NewAccount, Problem};
use serde::{Deserialize, Serialize};

use super::authority::{Authority, NoDirectory};
use super::directory::Directory;
use super::http::{Http, HttpError, NoClient};
use super::problem::Class;
use super::rollover::{self, NextKey};
use crate::config::Ca;
use crate::store::{Document, UpdateError, Writer, now};
use crate::zone::Timestamp;

/// What is kept of an account: `Document::CaAccount`. No `Debug`: it holds the account's key.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) contact: Vec<String>,
    pub(super) credentials: AccountCredentials,
    pub(super) created: Timestamp,
    /// The key that is to take the place of the account's, and may have done so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next_key: Option<NextKey>,
}

/// A conversation with a CA as the holder of an account.
pub(super) struct Session {
    pub(super) account: Account,
    pub(super) directory: Arc<Directory>,
    http: Http,
}

/// Why the CA did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CaError {
    /// A problem document (RFC 8555 section 6.7).
    #[error("{words}")]
    Refused { kind: String, status: Option<u16>, words: String, retry_at: Option<Timestamp> },
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
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Store(#[from] UpdateError),
}

impl Session {
    /// Loads the account kept for the CA, or makes one and keeps it before it is used. Callers take turns, so that no
    /// CA gets two accounts.
    pub(super) async fn open(authority: &Authority, writer: &Writer) -> Result<Session, SessionError> {
        let ca = &authority.ca;
        let http = authority.http().map_err(CaError::from)?;
        let directory = authority.directory(&http).await.map_err(CaError::from)?;
        let contact = ca.contact.clone();
        let builder = Account::builder_with_http(Box::new(http.clone()));
        match kept(ca, writer).await? {
            Some(kept) => {
                let kept = rollover::settle(ca, &http, &directory, writer, kept).await?;
                let Kept { contact: known, credentials, created, next_key } = kept;
                let again = copy(&credentials).map_err(|reason| protocol(&ca.directory, reason))?;
                let account = builder.from_credentials(credentials).await.map_err(|error| told(error, &http))?;
                let session = Session { account, directory, http };
                if known != contact && session.tell_contact(&ca.name, &contact).await {
                    keep(ca, writer, &Kept { contact, credentials: again, created, next_key }).await?;
                }
                Ok(session)
            }
            None => {
                let contact_refs: Vec<&str> = contact.iter().map(String::as_str).collect();
                let wanted =
                    NewAccount { contact: &contact_refs, terms_of_service_agreed: true, only_return_existing: false };
                let created = builder.create(&wanted, ca.directory.clone(), None).await;
                let (account, credentials) = created.map_err(|error| told(error, &http))?;
                tracing::info!(ca = %ca.name, account = account.id(), "made an account at the CA");
                keep(ca, writer, &Kept { contact, credentials, created: now(), next_key: None }).await?;
                Ok(Session { account, directory, http })
            }
        }
    }

    /// Tells the CA new contact addresses; whether it took them. Issuing does not depend on it.
    async fn tell_contact(&self, ca: &str, contact: &[String]) -> bool {
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        match self.account.update_contacts(&contact).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(ca, error = %self.told(error), "the CA did not take the new contact addresses");
                false
            }
        }
    }

    /// Whether the CA can be asked for this profile.
    pub(super) fn check_profile(&self, wanted: &str) -> Result<(), CaError> {
        let profiles = &self.directory.meta.profiles;
        if profiles.contains_key(wanted) {
            return Ok(());
        }
        Err(CaError::NoProfile { wanted: wanted.to_owned(), offered: profiles.keys().cloned().collect() })
    }

    /// The names that the CA takes for its own in CAA records (RFC 8555 section 7.1.1).
    pub(super) fn caa_identities(&self) -> &[String] {
        &self.directory.meta.caa_identities
    }

    /// The error with what the last answer said beside it.
    pub(super) fn told(&self, error: instant_acme::Error) -> CaError {
        told(error, &self.http)
    }

    /// When the CA's last answer asked us to come back.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.http.last().retry_at
    }
}

/// The key of an account's document. A CA whose directory changes, to a staging one and back, has one for each.
fn key_of(ca: &Ca) -> String {
    format!("{} {}", ca.name, ca.directory)
}

pub(super) async fn kept(ca: &Ca, writer: &Writer) -> Result<Option<Kept>, UpdateError> {
    let Some(text) = writer.document(Document::CaAccount, &key_of(ca)).await? else { return Ok(None) };
    match serde_json::from_str(&text) {
        Ok(kept) => Ok(Some(kept)),
        Err(error) => {
            tracing::warn!(ca = %ca.name, %error, "the stored account cannot be read, a new one will be made");
            Ok(None)
        }
    }
}

pub(super) async fn keep(ca: &Ca, writer: &Writer, kept: &Kept) -> Result<(), SessionError> {
    let text = serde_json::to_string(kept).map_err(|error| protocol(&ca.directory, error.to_string()))?;
    Ok(writer.put_documents(vec![(Document::CaAccount, key_of(ca), Some(text))]).await?)
}

/// The URL of our account at the CA, if there is one.
pub(super) async fn account_url(ca: &Ca, writer: &Writer) -> Result<Option<String>, UpdateError> {
    #[derive(Deserialize)]
    struct Credentials {
        id: String,
    }
    #[derive(Deserialize)]
    struct Kept {
        credentials: Credentials,
    }
    let Some(text) = writer.document(Document::CaAccount, &key_of(ca)).await? else { return Ok(None) };
    Ok(serde_json::from_str::<Kept>(&text).ok().map(|kept| kept.credentials.id))
}

/// Forgets an account that the CA does not know any more; not one whose key may be another by now.
pub(super) async fn forget(ca: &Ca, writer: &Writer) -> Result<(), UpdateError> {
    if kept(ca, writer).await?.is_some_and(|kept| kept.next_key.is_some()) {
        return Ok(());
    }
    writer.put_documents(vec![(Document::CaAccount, key_of(ca), None)]).await
}

/// Credentials can be written and read, but not cloned.
fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, String> {
    let text = serde_json::to_string(credentials).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

pub(super) fn protocol(url: &str, reason: String) -> CaError {
    CaError::Protocol { url: url.to_owned(), reason }
}

pub(super) fn told(error: instant_acme::Error, http: &Http) -> CaError {
    let last = http.last();
    match error {
        instant_acme::Error::Api(problem) => CaError::refused(&problem, last.retry_at),
        instant_acme::Error::Other(other) => match other.downcast::<HttpError>() {
            Ok(error) => CaError::Http(*error),
            Err(other) => protocol(&last.url, other.to_string()),
        },
        other => protocol(&last.url, other.to_string()),
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
    /// The problem in the CA's own words.
    pub(super) fn refused(problem: &Problem, retry_at: Option<Timestamp>) -> CaError {
        let kind = problem.r#type.clone().unwrap_or_default();
        CaError::Refused { kind, status: problem.status, words: words(problem), retry_at }
    }

    pub(super) fn class(&self) -> Class {
        match self {
            CaError::Http(_) | CaError::Protocol { .. } | CaError::NoClient(_) => Class::Elsewhere,
            _ if self.is_final() => Class::Elsewhere,
            _ => Class::Later,
        }
    }

    /// Whether something is wrong with the CA itself, or on the way to it.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            CaError::Http { .. } | CaError::Protocol { .. } => true,
            CaError::Refused { status, .. } => status.is_some_and(|status| status >= 500),
            _ => false,
        }
    }

    /// When the CA wants us to come back, if it said.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        match self {
            CaError::Refused { retry_at, .. } | CaError::Http(HttpError::Status { retry_at, .. }) => *retry_at,
            _ => None,
        }
    }

    /// Whether the CA does not know our account (RFC 8555 section 6.7).
    pub(super) fn is_unknown_account(&self) -> bool {
        matches!(self, CaError::Refused { kind, .. } if kind.ends_with(":accountDoesNotExist"))
    }

    /// Whether the CA has decided against what was asked, so that asking the same again is of no use.
    ///
    /// `orderNotReady` is what the CA says to the second of two requests for a certificate, if the answer to the first
    /// was lost: the order is about to be valid.
    pub(super) fn is_final(&self) -> bool {
        const PASSING: [&str; 4] = [":rateLimited", ":serverInternal", ":badNonce", ":orderNotReady"];
        match self {
            CaError::Refused { kind, status, .. } => {
                let busy = status.is_some_and(|status| status == 429 || status >= 500);
                !busy && !PASSING.iter().any(|passing| kind.ends_with(passing))
            }
            CaError::NoProfile { .. } | CaError::ProfileIgnored { .. } => true,
            _ => false,
        }
    }
}

/// `detail (type)`, and the same for each name that has a problem of its own (RFC 8555 section 6.7.1).
pub(super) fn words(problem: &Problem) -> String {
    let one = |detail: &Option<String>, kind: &Option<String>| match (detail, kind) {
        (Some(detail), Some(kind)) => format!("{detail} ({kind})"),
        (Some(text), None) | (None, Some(text)) => text.clone(),
        (None, None) => "the CA gave no reason".into(),
    };
    let mut text = one(&problem.detail, &problem.r#type);
    for sub in &problem.subproblems {
        let words = one(&sub.detail, &sub.r#type);
        match &sub.identifier {
            Some(identifier) => text.push_str(&format!("; {}: {words}", identifier.authorized(false))),
            None => text.push_str(&format!("; {words}")),
        }
    }
    text
}

fn listed(offered: &[String]) -> String {
    if offered.is_empty() { "it has none".into() } else { format!("it has {}", offered.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> Problem {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_ca_is_told_in_its_own_words() {
        let problem = problem(
            r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"Not these","status":400,
                "subproblems":[{"type":"urn:t:caa","detail":"CAA forbids","identifier":{"type":"dns","value":"a.test"}}]}"#,
        );
        let error = CaError::refused(&problem, None);
        assert_eq!(
            error.to_string(),
            "Not these (urn:ietf:params:acme:error:rejectedIdentifier); a.test: CAA forbids (urn:t:caa)"
        );
        assert!(error.is_final());
    }

    #[test]
    fn rate_limits_pass_and_unknown_accounts_are_known() {
        let limited = CaError::refused(&problem(r#"{"type":"urn:ietf:params:acme:error:rateLimited"}"#), Some(9));
        assert!(!limited.is_final());
        assert_eq!(limited.retry_at(), Some(9));
        for passing in [
            r#"{"type":"urn:ietf:params:acme:error:orderNotReady","status":403}"#,
            r#"{"detail":"down for maintenance","status":503}"#,
            r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"slow down","status":429}"#,
        ] {
            assert!(!CaError::refused(&problem(passing), None).is_final(), "{passing}");
        }
        let unknown = problem(r#"{"type":"urn:ietf:params:acme:error:accountDoesNotExist"}"#);
        assert!(CaError::refused(&unknown, None).is_unknown_account());
    }
}
