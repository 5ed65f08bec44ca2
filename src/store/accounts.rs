//! The accounts in the store: made, changed and deleted by the one writer, like everything else.

use std::net::IpAddr;

use uuid::Uuid;

use super::records::{Holder, LabelRecord, StoreError};
use super::writer::{authenticated, random_uuid};
use super::{RegisterLabel, Registration, UpdateError, Writer, aliases, now};
use crate::account::{Account, AllowFrom, Credential, CredentialHash, Grant};
use crate::zone::{Change, Label, TxtSet};

impl Writer {
    /// Makes an account with one label and one credential.
    pub async fn register(&self, allow_from: AllowFrom, label: RegisterLabel) -> Result<Registration, UpdateError> {
        let zone = self.policy.zone.clone().ok_or(UpdateError::NoZone)?;
        let no_randomness = |error: getrandom::Error| UpdateError::NoRandomness(error.to_string());
        let credential = Credential::random().map_err(no_randomness)?;
        let username = random_uuid().map_err(no_randomness)?;
        let label = match label {
            RegisterLabel::Random => Label::parse(&random_uuid().map_err(no_randomness)?.to_string())?,
            RegisterLabel::Chosen(label) => label,
        };
        let grant = Grant { label, zone };
        let writer = self.clone();
        self.submit(move |records, changes| {
            let name = writer.check_new_label(records, &grant)?;
            let account = Account {
                username,
                credentials: vec![credential.hash()],
                allow_from,
                grants: vec![grant.clone()],
                created: now(),
                updated: None,
            };
            records.put_account(&account)?;
            records.put_label(&LabelRecord { grant: grant.clone(), holder: Holder::Account(username) })?;
            changes.push(Change::Registered { name });
            Ok(Registration { account, credential, grant })
        })
        .await
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
                let name = grant.name().map_err(|error| StoreError::Damaged(error.to_string()))?;
                records.put_label(&LabelRecord { grant: grant.clone(), holder: Holder::Nobody })?;
                records.put_txt(&name, &TxtSet::default())?;
                aliases::remove_all_of(records, changes, grant)?;
                changes.push(Change::Retired { name });
            }
            records.delete_account(username)?;
            Ok(account)
        })
        .await
    }

    /// Gives an account one more credential; those it has stay valid.
    pub async fn mint(&self, username: Uuid) -> Result<Credential, UpdateError> {
        let credential = Credential::random().map_err(|error| UpdateError::NoRandomness(error.to_string()))?;
        let hash = credential.hash();
        self.change_account(username, move |account| account.credentials.push(hash)).await?;
        Ok(credential)
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
}
