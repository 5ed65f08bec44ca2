//! lego's HTTP storage: an address with a secret in it, from where the client of a listed domain gets credentials.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Account, CredentialHash, Grant, MAX_CREDENTIALS, secret_key};
use crate::zone::{Name, Timestamp};

/// How many of the credentials that a storage made for one account stay valid, the newest: clients keep none, so each of
/// several that are at work at a time has one of its own.
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
    /// Oldest first.
    minted: Vec<Minted>,
}

/// A domain and the label that its challenges go to, as the administrator decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDomain {
    /// Without `*.`.
    pub domain: Name,
    pub account: Uuid,
    pub grant: Grant,
}

/// A credential that was got from a storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Minted {
    account: Uuid,
    /// Its hash, see [`secret_key`].
    key: String,
}

impl HttpStorage {
    pub fn new(id: String, note: String, created: Timestamp, domains: Vec<StoredDomain>) -> HttpStorage {
        HttpStorage { id, note, created, domains, minted: Vec::new() }
    }

    /// Gives the account one more credential, in the place of the oldest from here if there are too many. False, and
    /// nothing is changed for good, if the account is full of credentials from elsewhere.
    pub fn mint(&mut self, account: &mut Account, credential: CredentialHash) -> bool {
        let username = account.username;
        let of_account = |minted: &Minted| minted.account == username;
        while self.minted.iter().filter(|minted| of_account(minted)).count() >= MINTED_KEPT
            || account.credentials.len() >= MAX_CREDENTIALS
        {
            let Some(oldest) = self.minted.iter().position(of_account) else { return false };
            let old = self.minted.remove(oldest);
            account.credentials.retain(|hash| secret_key(hash) != old.key);
        }
        self.minted.push(Minted { account: username, key: secret_key(&credential) });
        account.credentials.push(credential);
        true
    }

    /// Takes away from the account every credential that it got from here.
    pub fn take_back(&self, account: &mut Account) {
        account.credentials.retain(|hash| !self.minted.iter().any(|minted| minted.key == secret_key(hash)));
    }

    /// How many credentials were got from here and not replaced.
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
        let mut storage = HttpStorage::new(String::new(), String::new(), 0, Vec::new());
        let minted: Vec<CredentialHash> = (0..MINTED_KEPT + 2).map(|_| hash()).collect();
        for hash in &minted {
            assert!(storage.mint(&mut account, hash.clone()));
        }
        assert_eq!(storage.minted(), MINTED_KEPT);
        assert_eq!(account.credentials, [vec![own.clone()], minted[2..].to_vec()].concat());
        storage.take_back(&mut account);
        assert_eq!(account.credentials, [own]);

        let others: Vec<CredentialHash> = (0..MAX_CREDENTIALS - 1).map(|_| hash()).collect();
        account.credentials = others.clone();
        let mut storage = HttpStorage::new(String::new(), String::new(), 0, Vec::new());
        assert!(storage.mint(&mut account, hash()) && storage.mint(&mut account, hash()));
        assert_eq!((account.credentials.len(), storage.minted()), (MAX_CREDENTIALS, 1));
        account.credentials.push(hash());
        storage.take_back(&mut account);
        assert_eq!(account.credentials[..others.len()], others);
        let mut another = HttpStorage::new(String::new(), String::new(), 0, Vec::new());
        assert!(!another.mint(&mut account, hash()), "there is no room, and nothing of its own to take away");
    }
}
