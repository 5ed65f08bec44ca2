//! Who may change what: accounts, their credentials, and where they may come from.

mod allow_from;
mod credential;
mod http_storage;
mod keys;
mod registration_token;
mod tsig_key;

pub use allow_from::{AllowFrom, AllowFromError};
pub use credential::{Credential, CredentialHash};
pub use http_storage::{HttpStorage, MINTED_KEPT, StoredDomain};
pub use keys::{KeyRing, Keys};
pub use registration_token::{RegistrationToken, TokenState, secret_id, secret_key};
pub use tsig_key::{Replace, TsigAlgorithm, TsigGrant, TsigKey, TsigSecret};

use std::net::IpAddr;

use uuid::Uuid;

use crate::zone::{Label, Name, Timestamp};

/// Most credentials of one account; every update compares with each of them.
pub const MAX_CREDENTIALS: usize = 16;

/// A holder of labels, known by a random user name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub username: Uuid,
    /// Hashes of the valid credentials; one is enough to authenticate.
    pub credentials: Vec<CredentialHash>,
    pub allow_from: AllowFrom,
    /// What the account may change.
    pub grants: Vec<Grant>,
    pub created: Timestamp,
    /// When this account last put in or took out a value.
    pub updated: Option<Timestamp>,
}

/// A label in a zone, registered for one holder for ever.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Grant {
    pub label: Label,
    /// Origin of the zone that the label is in.
    pub zone: Name,
}

impl Grant {
    /// `<label>.<zone>`.
    pub fn name(&self) -> Result<Name, crate::zone::NameError> {
        self.zone.child(self.label.as_str().as_bytes())
    }
}

/// A domain whose challenge name, `_acme-challenge.<domain>`, has the values of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub domain: Name,
    pub grant: Grant,
}

impl Account {
    /// Whether one of the account's credentials is `given`. Takes the same time whichever it is.
    pub fn accepts(&self, given: &CredentialHash) -> bool {
        self.credentials.iter().fold(false, |found, hash| found | hash.matches(given))
    }

    /// Whether the account may be used from `source`.
    pub fn allows(&self, source: IpAddr) -> bool {
        self.allow_from.allows(source)
    }

    /// The grant of exactly this label.
    pub fn grant(&self, label: &Label) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.label == *label)
    }
}
