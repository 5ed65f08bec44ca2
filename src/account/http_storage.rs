//! lego's HTTP storage: an address with a secret in it, from where the client of a listed domain gets credentials.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Account, CredentialHash, Grant, secret_key};
use crate::zone::{Name, Timestamp};

/// How many of the credentials that were made for a domain stay valid, the newest: clients keep none, so each of several
/// that are at work at a time has one of its own.
pub const MINTED_KEPT: usize = 8;

/// What is kept of a storage. Its secret, in the form of a [`Credential`](super::Credential), is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpStorage {
    /// See [`secret_id`](super::secret_id).
    pub id: String,
    /// The administrator's words about it.
    pub note: String,
    pub created: Timestamp,
    /// No domain is there twice.
    pub domains: Vec<StoredDomain>,
}

/// A domain and the label that its challenges go to, as the administrator decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDomain {
    /// Without `*.`.
    pub domain: Name,
    pub account: Uuid,
    pub grant: Grant,
    /// Hashes of the credentials that were made for it, oldest first.
    minted: Vec<String>,
}

impl StoredDomain {
    pub fn new(domain: Name, account: Uuid, grant: Grant) -> StoredDomain {
        StoredDomain { domain, account, grant, minted: Vec::new() }
    }

    /// Gives the account one more credential, and takes away the oldest of those made here if there are too many.
    pub fn mint(&mut self, account: &mut Account, credential: CredentialHash) {
        self.minted.push(secret_key(&credential));
        account.credentials.push(credential);
        let surplus = self.minted.len().saturating_sub(MINTED_KEPT);
        let old: Vec<String> = self.minted.drain(..surplus).collect();
        account.credentials.retain(|hash| !old.contains(&secret_key(hash)));
    }

    /// Takes away every credential that was made here.
    pub fn take_back(&mut self, account: &mut Account) {
        let minted = std::mem::take(&mut self.minted);
        account.credentials.retain(|hash| !minted.contains(&secret_key(hash)));
    }

    /// How many credentials were made and not taken back.
    pub fn minted(&self) -> usize {
        self.minted.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AllowFrom, Credential};
    use crate::zone::Label;

    #[test]
    fn the_newest_credentials_stay_and_those_of_others_are_not_touched() {
        let hash = || Credential::random().unwrap().hash();
        let own = hash();
        let grant = Grant { label: Label::parse("www").unwrap(), zone: Name::parse("auth.example.org").unwrap() };
        let mut account = Account {
            username: Uuid::nil(),
            credentials: vec![own.clone()],
            allow_from: AllowFrom::default(),
            grants: vec![grant.clone()],
            created: 0,
            updated: None,
        };
        let mut stored = StoredDomain::new(Name::parse("example.com").unwrap(), account.username, grant);
        let minted: Vec<CredentialHash> = (0..MINTED_KEPT + 2).map(|_| hash()).collect();
        for hash in &minted {
            stored.mint(&mut account, hash.clone());
        }
        assert_eq!(stored.minted(), MINTED_KEPT);
        assert_eq!(account.credentials, [vec![own.clone()], minted[2..].to_vec()].concat());
        stored.take_back(&mut account);
        assert_eq!((stored.minted(), account.credentials), (0, vec![own]));
    }
}
