//! What is known about the configured CAs, for people: what each says of itself, and how we stand with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Issuer;
use super::ca::account::{self, Standing};
use super::ca::authority::Authority;
use super::ca::directory::Directory;
use super::order::challenge::method;
use super::slot::Slot;
use crate::api::{CaStatus, Profile};
use crate::config::{Ca, Challenge};
use crate::store::UpdateError;

/// How long a CA may take to say something about itself to somebody who is waiting for it.
const PATIENCE: Duration = Duration::from_secs(5);

impl Issuer {
    /// All configured CAs, in the order of the configuration. Each is asked for its directory, unless that is known, all
    /// at the same time; one that does not answer within seconds is shown with that.
    pub async fn cas(&self) -> Result<Vec<CaStatus>, UpdateError> {
        let all = self.shared.authorities.iter().map(|authority| self.ca_status(authority));
        join_all(all).await.into_iter().collect()
    }

    /// One configured CA; `None` if the configuration has none of this name.
    pub async fn ca(&self, name: &str) -> Result<Option<CaStatus>, UpdateError> {
        match self.shared.authorities.iter().find(|authority| authority.ca.name == name) {
            Some(authority) => self.ca_status(authority).await.map(Some),
            None => Ok(None),
        }
    }

    async fn ca_status(&self, authority: &Arc<Authority>) -> Result<CaStatus, UpdateError> {
        let ca = &authority.ca;
        let standing = account::standing(ca, &self.shared.writer).await?;
        let account_being_made = standing == Standing::BeingMade;
        let account = if let Standing::Account(url) = standing { Some(url) } else { None };
        let (meta, error) = match directory(authority).await {
            Ok(directory) => (directory.meta.clone(), None),
            Err(error) => (Default::default(), Some(error)),
        };
        let methods = self.methods(ca);
        let caa_records = match &account {
            Some(account) => {
                meta.caa_identities.iter().map(|identity| caa_record(identity, &methods, account)).collect()
            }
            None => Vec::new(),
        };
        let profiles = meta.profiles.into_iter().map(|(name, description)| Profile { name, description });
        Ok(CaStatus {
            name: ca.name.clone(),
            directory: ca.directory.clone(),
            error,
            website: meta.website,
            account,
            account_being_made,
            contact: ca.contact.clone(),
            terms_of_service: meta.terms_of_service,
            agrees_to_terms: ca.agrees_to_terms,
            external_account_required: meta.external_account_required,
            external_account: ca.eab.as_ref().map(|eab| eab.key_id.clone()),
            profiles: profiles.collect(),
            caa_identities: meta.caa_identities,
            caa_records,
        })
    }

    /// How the certificates that may come from this CA prove their names, for CAA (RFC 8657 section 4).
    fn methods(&self, ca: &Ca) -> String {
        let uses = |slot: &&Arc<Slot>| {
            let all = slot.authorities.iter().chain(slot.rehearsals.iter().flatten());
            all.into_iter().any(|authority| authority.ca.name == ca.name)
        };
        let slots = self.shared.slots.iter().filter(uses);
        let methods: BTreeSet<&str> = slots.map(|slot| method(slot.certificate.challenge)).collect();
        if methods.is_empty() { method(Challenge::Dns01).to_owned() } else { Vec::from_iter(methods).join(",") }
    }
}

/// The directory of a CA for somebody who is waiting; otherwise what is wrong.
pub(super) async fn directory(authority: &Authority) -> Result<Arc<Directory>, String> {
    let http = authority.http().map_err(|error| error.to_string())?;
    let directory = tokio::time::timeout(PATIENCE, authority.directory(&http)).await;
    let slow = |_| format!("the CA did not answer at {} within {} s", authority.ca.directory, PATIENCE.as_secs());
    directory.map_err(slow)?.map_err(|error| error.to_string())
}

/// A CAA record (RFC 8659) that lets this account alone issue, by these methods alone (RFC 8657).
fn caa_record(identity: &str, methods: &str, account: &str) -> String {
    format!("CAA 0 issue \"{identity}; validationmethods={methods}; accounturi={account}\"")
}
