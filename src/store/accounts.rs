//! The accounts in the store: made, changed and deleted by the one writer, like everything else.

use std::net::IpAddr;

use uuid::Uuid;

use super::permission::authenticated;
use super::records::{Holder, LabelRecord, Records, StoreError};
use super::writer::random_uuid;
use super::{RegisterLabel, Registration, UpdateError, Writer, aliases, now, storages};
use crate::account::{Account, AllowFrom, Credential, CredentialHash, Grant, MAX_CREDENTIALS};
use crate::zone::{Change, Label, TxtSet};

impl Writer {
    /// Makes an account with one label and one credential.
    pub async fn register(&self, allow_from: AllowFrom, label: RegisterLabel) -> Result<Registration, UpdateError> {
        let wanted = self.draft(allow_from, label)?;
        let writer = self.clone();
        self.submit(move |records, changes| writer.enter(records, changes, wanted)).await
    }

    /// A new account that nobody knows of yet.
    pub(super) fn draft(&self, allow_from: AllowFrom, label: RegisterLabel) -> Result<Registration, UpdateError> {
        let grant = self.new_grant(label)?;
        let credential = Credential::random().map_err(no_randomness)?;
        let username = random_uuid().map_err(no_randomness)?;
        let account = Account {
            username,
            credentials: vec![credential.hash()],
            allow_from,
            grants: vec![grant.clone()],
            created: now(),
            updated: None,
        };
        Ok(Registration { account, credential, grant })
    }

    /// Enters a new account, if its label can be registered.
    pub(super) fn enter(
        &self,
        records: &mut dyn Records,
        changes: &mut Vec<Change>,
        new: Registration,
    ) -> Result<Registration, UpdateError> {
        let name = self.check_new_label(records, &new.grant)?;
        records.put_account(&new.account)?;
        let holder = Holder::Account(new.account.username);
        records.put_label(&LabelRecord { grant: new.grant.clone(), holder })?;
        changes.push(Change::Registered { name });
        Ok(new)
    }

    /// The account of a user who has shown this credential; [`UpdateError::Forbidden`] for everybody else.
    pub async fn authenticate(
        &self,
        username: Uuid,
        credential: CredentialHash,
        source: IpAddr,
    ) -> Result<Account, UpdateError> {
        self.submit(move |records, _| authenticated(records, username, &credential, source)).await
    }

    /// All accounts, oldest first.
    pub async fn accounts(&self) -> Result<Vec<Account>, UpdateError> {
        self.submit(|records, _| Ok(records.accounts()?)).await
    }

    pub async fn account(&self, username: Uuid) -> Result<Account, UpdateError> {
        self.submit(move |records, _| records.account(username)?.ok_or(UpdateError::UnknownAccount(username))).await
    }

    /// Deletes an account. Its labels and their values are gone from the DNS and stay tombstones for ever.
    pub async fn delete_account(&self, username: Uuid) -> Result<Account, UpdateError> {
        self.submit(move |records, changes| {
            let account = records.account(username)?.ok_or(UpdateError::UnknownAccount(username))?;
            for grant in &account.grants {
                retire(records, changes, grant)?;
            }
            records.delete_account(username)?;
            Ok(account)
        })
        .await
    }

    /// Gives an account one more label. Not one that credentials are got for from a storage: they would open it too.
    pub async fn add_label(&self, username: Uuid, label: RegisterLabel) -> Result<Grant, UpdateError> {
        let grant = self.new_grant(label)?;
        let writer = self.clone();
        self.submit(move |records, changes| {
            records.account(username)?.ok_or(UpdateError::UnknownAccount(username))?;
            if storages::has_account(records, username)? {
                return Err(UpdateError::AccountOfStorage(username));
            }
            let name = writer.check_new_label(records, &grant)?;
            records.put_label(&LabelRecord { grant: grant.clone(), holder: Holder::Account(username) })?;
            changes.push(Change::Registered { name });
            Ok(grant)
        })
        .await
    }

    /// Takes a label away from an account, but not its last one. The label and its values are gone from the DNS, and it
    /// stays a tombstone for ever. The account as it is then.
    pub async fn remove_label(&self, username: Uuid, label: Label) -> Result<Account, UpdateError> {
        self.submit(move |records, changes| {
            let mut account = records.account(username)?.ok_or(UpdateError::UnknownAccount(username))?;
            let grant = account.grant(&label).cloned().ok_or_else(|| UpdateError::NotTheLabel(label.clone()))?;
            account.grants.retain(|other| *other != grant);
            if account.grants.is_empty() {
                return Err(UpdateError::LastLabel(label));
            }
            retire(records, changes, &grant)?;
            Ok(account)
        })
        .await
    }

    /// Gives an account one more credential, up to [`MAX_CREDENTIALS`]; those it has stay valid. The account as it is
    /// then.
    pub async fn mint(&self, username: Uuid) -> Result<(Account, Credential), UpdateError> {
        let credential = Credential::random().map_err(no_randomness)?;
        let hash = credential.hash();
        let account = self.submit(move |records, _| {
            let mut account = records.account(username)?.ok_or(UpdateError::UnknownAccount(username))?;
            if account.credentials.len() >= MAX_CREDENTIALS {
                return Err(UpdateError::TooManyCredentials);
            }
            account.credentials.push(hash);
            records.put_account(&account)?;
            Ok(account)
        });
        Ok((account.await?, credential))
    }

    /// Puts one new credential in the place of all that an account has; it keeps its labels. The account as it is then.
    pub async fn rotate(&self, username: Uuid) -> Result<(Account, Credential), UpdateError> {
        let credential = Credential::random().map_err(no_randomness)?;
        let hash = credential.hash();
        let account = self.change_account(username, move |account| account.credentials = vec![hash]).await?;
        Ok((account, credential))
    }

    /// Changes what is kept of an account, but not its labels; the account as it is then.
    pub async fn change_account(
        &self,
        username: Uuid,
        change: impl FnOnce(&mut Account) + Send + 'static,
    ) -> Result<Account, UpdateError> {
        self.submit(move |records, _| {
            let mut account = records.account(username)?.ok_or(UpdateError::UnknownAccount(username))?;
            change(&mut account);
            records.put_account(&account)?;
            Ok(account)
        })
        .await
    }

    /// In the zone that labels are registered in now.
    fn new_grant(&self, label: RegisterLabel) -> Result<Grant, UpdateError> {
        let zone = self.policy.zone.clone().ok_or(UpdateError::NoZone)?;
        let label = match label {
            RegisterLabel::Random => Label::parse(&random_uuid().map_err(no_randomness)?.to_string())?,
            RegisterLabel::Chosen(label) => label,
        };
        Ok(Grant { label, zone })
    }
}

/// Every label that is given up goes through here: it becomes a tombstone, its name and values leave the DNS.
fn retire(records: &mut dyn Records, changes: &mut Vec<Change>, grant: &Grant) -> Result<(), StoreError> {
    let name = grant.name().map_err(|error| StoreError::Damaged(error.to_string()))?;
    records.put_label(&LabelRecord { grant: grant.clone(), holder: Holder::Nobody })?;
    records.put_txt(&name, &TxtSet::default())?;
    aliases::remove_all_of(records, changes, grant)?;
    changes.push(Change::Retired { name });
    Ok(())
}

fn no_randomness(error: getrandom::Error) -> UpdateError {
    UpdateError::NoRandomness(error.to_string())
}
