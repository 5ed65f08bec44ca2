//! What the store has of our account at a CA.

use instant_acme::AccountCredentials;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::error::SessionError;
use super::registration::BeingMade;
use super::rollover::NextKey;
use crate::config::Ca;
use crate::store::{Body, Document, UpdateError, Writer};
use crate::zone::Timestamp;

/// What is kept of an account: `Document::CaAccount`. No `Debug`: it holds the account's key.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    pub contact: Vec<String>,
    pub credentials: AccountCredentials,
    pub created: Timestamp,
    /// The key that is to take the place of the account's, and may have done so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<NextKey>,
    /// Thumbprints of the keys that the account had before (RFC 7638): records may still be of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_keys: Vec<String>,
}

/// The document: an account and those before it, which nobody knows to be gone for ever.
#[derive(Serialize)]
struct Whole<'a, S> {
    #[serde(flatten)]
    stored: &'a S,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    former: Vec<Kept>,
}

#[derive(Serialize)]
struct Nothing {}

/// An account as the store has it.
pub enum Stored {
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

/// The key of an account's document. A CA whose directory changes, to a staging one and back, has one for each.
fn key_of(ca: &Ca) -> String {
    format!("{} {}", ca.name, ca.directory)
}

/// What the store has of the account at the CA.
pub async fn stored(ca: &Ca, writer: &Writer) -> Result<Option<Stored>, UpdateError> {
    let text = writer.document(Document::CaAccount, &key_of(ca)).await?;
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
    let former = former(ca, writer).await?;
    let text = Body::of(&Whole { stored, former }).map_err(UpdateError::from)?;
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

/// Puts the account aside, in the document that the next one has.
pub async fn put_aside(ca: &Ca, writer: &Writer, account: Kept) -> Result<(), SessionError> {
    let mut former = former(ca, writer).await?;
    former.push(account);
    let text = Body::of(&Whole { stored: &Nothing {}, former }).map_err(UpdateError::from)?;
    Ok(writer.put_documents(vec![(Document::CaAccount, key_of(ca), Some(text))]).await?)
}

/// The accounts that were put aside.
async fn former(ca: &Ca, writer: &Writer) -> Result<Vec<Kept>, UpdateError> {
    #[derive(Default, Deserialize)]
    struct Aside {
        #[serde(default)]
        former: Vec<Kept>,
    }
    let text = writer.document(Document::CaAccount, &key_of(ca)).await?;
    // What cannot be read has been told.
    Ok(text.and_then(|text| serde_json::from_str::<Aside>(&text).ok()).unwrap_or_default().former)
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
}
