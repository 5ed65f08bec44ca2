//! HTTP storages in the store, and the credentials that are got from them.

use std::net::IpAddr;

use uuid::Uuid;

use super::records::{Document, Records, StoreError};
use super::{RegisterLabel, Registration, UpdateError, Writer, now};
use crate::account::{
    Account, AllowFrom, Credential, CredentialHash, Grant, HttpStorage, StoredDomain, secret_id, secret_key,
};
use crate::zone::Name;

const KIND: Document = Document::HttpStorage;

/// Why a storage has nothing for somebody. Who asks is not told.
#[derive(Debug, Clone)]
pub enum StorageRefused {
    UnknownSecret,
    /// The storage is there. Its id and note, and why not.
    Nothing {
        id: String,
        note: String,
        why: &'static str,
    },
}

/// What a storage has for a domain.
#[derive(Debug)]
struct Found {
    storage: HttpStorage,
    /// Which of the domains.
    at: usize,
    account: Account,
}

impl Writer {
    /// Makes a storage for these domains, each bound to the given label of an account or to a random one of a new account
    /// of its own, and keeps the hash of its secret. The secret itself is to be shown once.
    ///
    /// A credential opens all labels of its account, so the account must not have another label than the bound one.
    pub async fn create_storage(
        &self,
        domains: Vec<Name>,
        holder: Option<(Uuid, Grant)>,
        note: String,
    ) -> Result<(Credential, HttpStorage), UpdateError> {
        let secret = Credential::random().map_err(|error| UpdateError::NoRandomness(error.to_string()))?;
        let key = secret_key(&secret.hash());
        let id = secret_id(&key).to_owned();
        let mut bound = Vec::new();
        for domain in domains {
            let new = match &holder {
                Some(_) => None,
                None => Some(self.draft(AllowFrom::default(), RegisterLabel::Random)?),
            };
            bound.push((domain, new));
        }
        let writer = self.clone();
        let storage = self.submit(move |records, changes| {
            if let Some((username, grant)) = &holder {
                let account = records.account(*username)?.ok_or(UpdateError::UnknownAccount(*username))?;
                account.grants.iter().find(|held| *held == grant).ok_or(UpdateError::UnknownAccount(*username))?;
                if account.grants.len() > 1 {
                    return Err(UpdateError::ManyLabels(*username));
                }
            }
            let mut domains = Vec::new();
            for (domain, new) in bound {
                let (username, grant) = match (new, &holder) {
                    (Some(mut new), _) => {
                        // Nobody gets to know the first one.
                        new.account.credentials.clear();
                        let entered = writer.enter(records, changes, new)?;
                        (entered.account.username, entered.grant)
                    }
                    (None, Some((username, grant))) => (*username, grant.clone()),
                    (None, None) => continue,
                };
                domains.push(StoredDomain { domain, account: username, grant });
            }
            let storage = HttpStorage::new(id, note, now(), domains);
            records.write(KIND, &key, &storage)?;
            Ok(storage)
        });
        Ok((secret, storage.await?))
    }

    /// All storages, oldest first.
    pub async fn storages(&self) -> Result<Vec<HttpStorage>, UpdateError> {
        let all = self.submit(|records, _| Ok(records.read_all::<HttpStorage>(KIND)?)).await?;
        let mut storages: Vec<HttpStorage> = all.into_iter().map(|(_, storage)| storage).collect();
        storages.sort_by_key(|storage| storage.created);
        Ok(storages)
    }

    /// Ends a storage and the credentials that were got from it; the storage as it was. The labels and their accounts
    /// stay.
    pub async fn revoke_storage(&self, id: String) -> Result<HttpStorage, UpdateError> {
        self.submit(move |records, _| {
            let all = records.read_all::<HttpStorage>(KIND)?;
            let found = all.into_iter().find(|(_, storage)| storage.id == id);
            let (key, storage) = found.ok_or(UpdateError::UnknownId { what: "storage", id })?;
            for stored in &storage.domains {
                if let Some(mut account) = records.account(stored.account)? {
                    storage.take_back(&mut account);
                    records.put_account(&account)?;
                }
            }
            records.put_document(KIND, &key, None)?;
            Ok(storage)
        })
        .await
    }

    /// Makes a credential for the label that the domain is bound to; the oldest of many ends. The storage and the account.
    pub async fn mint_stored(
        &self,
        secret: CredentialHash,
        domain: Name,
        source: IpAddr,
    ) -> Result<Result<(HttpStorage, Registration), StorageRefused>, UpdateError> {
        let credential = Credential::random().map_err(|error| UpdateError::NoRandomness(error.to_string()))?;
        self.submit(move |records, _| {
            let key = secret_key(&secret);
            let Found { mut storage, at, mut account } = match found(records, &key, &domain, source)? {
                Ok(found) => found,
                Err(refused) => return Ok(Err(refused)),
            };
            let Some(grant) = storage.domains.get(at).map(|stored| stored.grant.clone()) else {
                return Ok(Err(StorageRefused::UnknownSecret));
            };
            if !storage.mint(&mut account, credential.hash()) {
                return Err(UpdateError::TooManyCredentials);
            }
            records.put_account(&account)?;
            records.write(KIND, &key, &storage)?;
            Ok(Ok((storage, Registration { account, credential, grant })))
        })
        .await
    }

    /// The label that the domain is bound to, for somebody who could get a credential for it.
    pub async fn stored_label(
        &self,
        secret: CredentialHash,
        domain: Name,
        source: IpAddr,
    ) -> Result<Result<(HttpStorage, Grant), StorageRefused>, UpdateError> {
        self.submit(move |records, _| {
            Ok(found(records, &secret_key(&secret), &domain, source)?.and_then(|Found { storage, at, .. }| {
                let grant = storage.domains.get(at).map(|stored| stored.grant.clone());
                grant.map(|grant| (storage, grant)).ok_or(StorageRefused::UnknownSecret)
            }))
        })
        .await
    }
}

/// Whether credentials for this account are to be had from a storage.
pub(super) fn has_account(records: &mut dyn Records, username: Uuid) -> Result<bool, StoreError> {
    let all = records.read_all::<HttpStorage>(KIND)?;
    Ok(all.iter().flat_map(|(_, storage)| &storage.domains).any(|stored| stored.account == username))
}

fn found(
    records: &mut dyn Records,
    key: &str,
    domain: &Name,
    source: IpAddr,
) -> Result<Result<Found, StorageRefused>, StoreError> {
    let Some(storage) = records.read::<HttpStorage>(KIND, key)? else { return Ok(Err(StorageRefused::UnknownSecret)) };
    let nothing = |why| Ok(Err(StorageRefused::Nothing { id: storage.id.clone(), note: storage.note.clone(), why }));
    let Some((at, stored)) = storage.domains.iter().enumerate().find(|(_, stored)| stored.domain == *domain) else {
        return nothing("the domain is not listed");
    };
    let account = records.account(stored.account)?;
    let Some(account) = account.filter(|account| account.grants.contains(&stored.grant)) else {
        return nothing("the account of the domain's label was deleted");
    };
    if account.grants.len() > 1 {
        return nothing("the account has other labels too");
    }
    if !account.allows(source) {
        return nothing("the account may not be used from this address");
    }
    Ok(Ok(Found { storage, at, account }))
}
