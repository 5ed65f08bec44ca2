//! Why a CA did not do what it was asked, in its own words.

use http::StatusCode;

use super::authority::NoDirectory;
use super::http::{Answer, Http, HttpError, NoClient};
use super::problem::{self, About, Class, Refusal};
use crate::store::UpdateError;
use crate::zone::Timestamp;

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
    fn the_page_that_a_person_has_to_see_is_found_rfc8555_7_3_3() {
        let instance = |body: &'static str| instance(&Answer { body: body.into(), ..Answer::default() });
        assert_eq!(instance(r#"{"instance":"https://ca.test/agree"}"#).as_deref(), Some("https://ca.test/agree"));
        assert_eq!(instance(r#"{"instance":"urn:x"}"#), None);
        assert_eq!(instance(r#"{"instance":7}"#), None);
        assert_eq!(instance("<html>"), None);
    }
}
