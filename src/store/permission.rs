//! Who may change which name: asked inside the transaction that makes the change.

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::records::{Holder, Records};
use super::{Actor, UpdateError, Writer};
use crate::account::{Account, CredentialHash, TsigGrant, TsigKey};
use crate::zone::{Label, Name, NotAChallengeName, proven_domain};

impl Writer {
    /// The name under which values are kept, if `actor` may change it.
    pub(super) fn authorised_name(
        &self,
        records: &mut dyn Records,
        actor: &Actor,
        name: &Name,
    ) -> Result<Name, UpdateError> {
        let (username, credential, source) = match actor {
            Actor::Account { username, credential, source } => (username, credential, source),
            Actor::TsigKey(key) => return self.granted_name(records, key, name),
            Actor::Administrator | Actor::AcmeClient => {
                let name = self.live.challenge_name(name)?;
                return self.holder(records, &name).map(|_| name);
            }
        };
        let account = authenticated(records, *username, credential, *source)?;
        // Whether the name exists is nothing that a stranger learns.
        let name = self.live.challenge_name(name).map_err(|_| UpdateError::Forbidden)?;
        let granted = account.grants.iter().any(|grant| grant.name().is_ok_and(|granted| granted == name));
        if granted { Ok(name) } else { Err(UpdateError::Forbidden) }
    }

    /// Who has the label whose name this is, if it is one. That a label was given up a moment before, in the same commit,
    /// the DNS does not show yet.
    fn holder(&self, records: &mut dyn Records, name: &Name) -> Result<Option<Holder>, UpdateError> {
        if !self.live.is_registered(name) {
            return Ok(None);
        }
        let first = name.labels().next().and_then(|first| Label::parse(std::str::from_utf8(first).ok()?).ok());
        let record = first.map(|label| records.label(&label)).transpose()?.flatten();
        match record.map(|record| record.holder) {
            None | Some(Holder::Nobody) => Err(NotAChallengeName::NotRegistered(name.clone()).into()),
            holder => Ok(holder),
        }
    }

    /// The same for the holder of a key.
    fn granted_name(&self, records: &mut dyn Records, key: &Arc<TsigKey>, name: &Name) -> Result<Name, UpdateError> {
        // It may have been revoked while the update was waiting.
        if !self.keys.holds(key) {
            return Err(UpdateError::Forbidden);
        }
        let name = self.live.challenge_name(name)?;
        // What our own certificates are proved with is in nobody else's hands.
        let proven = proven_domain(&name);
        for name in std::iter::once(&name).chain(&proven) {
            if let Some(Holder::Domain(_)) = self.holder(records, name)? {
                return Err(UpdateError::Forbidden);
            }
        }
        let granted = key.grants.iter().any(|grant| match grant {
            // The zone that a challenge zone was delegated from may be here as well.
            TsigGrant::Below(origin)
                if name.is_at_or_below(origin)
                    && proven.is_some()
                    && proven == proven_domain(origin)
                    && self.live.zones().get(origin).is_some() =>
            {
                true
            }
            grant => grant.covers(&name, &self.live) && !self.is_of_static_host(&name),
        });
        if granted { Ok(name) } else { Err(UpdateError::Forbidden) }
    }

    /// Whether `name`, under which values are kept, is a challenge name of a host of our own: one of a zone file, also
    /// by a wildcard, or that of the API. A certificate for such a host is for the administrator alone to get.
    fn is_of_static_host(&self, name: &Name) -> bool {
        let Some(host) = proven_domain(name).filter(|_| !self.live.is_registered(name)) else { return false };
        let zones = self.live.zones();
        let Some(zone) = zones.find(host.as_wire()) else { return false };
        let is_there = |name: &Name| zone.node(&name.key()).is_some();
        // RFC 4592 section 3.3.1
        let closest = std::iter::successors(host.parent(), Name::parent).find(is_there);
        let wildcard = closest.and_then(|closest| closest.child(b"*").ok());
        // A wildcard certificate for the host is good for these.
        let zones_below = self.origins.iter().filter(|origin| proven_domain(origin).is_none());
        let covered = self.policy.reserved.iter().chain(zones_below).any(|name| name.is_at_or_below(&host));
        covered || is_there(&host) || wildcard.is_some_and(|wildcard| is_there(&wildcard))
    }
}

/// The account, if its user has shown one of its credentials and comes from where it may be used.
pub(super) fn authenticated(
    records: &mut dyn Records,
    username: Uuid,
    credential: &CredentialHash,
    source: IpAddr,
) -> Result<Account, UpdateError> {
    let account = records.account(username)?;
    let known = match &account {
        Some(account) => account.accepts(credential),
        None => CredentialHash::of_nobody().matches(credential),
    };
    account.filter(|account| known && account.allows(source)).ok_or(UpdateError::Forbidden)
}
