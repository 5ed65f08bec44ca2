//! The alias table: challenge names elsewhere whose values are those of a label here.
//!
//! A client that does not follow the CNAME at `_acme-challenge.customer.example` asks for a zone of that name and updates
//! it. For an alias there is one, a shadow of the label.

use super::records::{Document, Holder, Records, StoreError};
use super::{UpdateError, Writer};
use crate::account::{Alias, Grant};
use crate::zone::{ACME_CHALLENGE, Change, Label, Name};

impl Writer {
    /// All aliases, in the order of their domains' text.
    pub async fn aliases(&self) -> Result<Vec<Alias>, UpdateError> {
        self.submit(|records, _| Ok(all(records)?)).await
    }

    /// Makes the challenge name of `domain` an alias of a registered label. Nothing changes if it is one already.
    pub async fn add_alias(&self, domain: Name, label: Label) -> Result<Alias, UpdateError> {
        let writer = self.clone();
        self.submit(move |records, changes| {
            let taken = |reason: String| UpdateError::AliasTaken { domain: domain.clone(), reason };
            let record = records.label(&label)?.filter(|record| matches!(record.holder, Holder::Account(_)));
            let grant = record.ok_or(UpdateError::UnknownLabel(label))?.grant;
            let name = challenge_name(&domain).map_err(|error| taken(error.to_string()))?;
            if let Some(held) = records.read::<Grant>(Document::Alias, &domain.to_string())? {
                if held != grant {
                    return Err(taken(format!("it is an alias of the label `{}`: remove that first", held.label)));
                }
                return Ok(Alias { domain, grant });
            }
            let zones = writer.live().zones();
            if let Some(zone) = zones.find(name.as_wire()) {
                return Err(taken(format!("{name} lies in the zone {}, which this server has anyway", zone.origin())));
            }
            if zones.iter().any(|zone| zone.origin().is_at_or_below(&name)) {
                return Err(taken(format!("a zone of this server lies below {name}")));
            }
            let target = target(&grant)?;
            records.write(Document::Alias, &domain.to_string(), &grant)?;
            changes.push(Change::Aliased { name, target });
            Ok(Alias { domain, grant })
        })
        .await
    }

    /// The alias as it was.
    pub async fn remove_alias(&self, domain: Name) -> Result<Alias, UpdateError> {
        self.submit(move |records, changes| {
            let held = records.read::<Grant>(Document::Alias, &domain.to_string())?;
            let alias = Alias { grant: held.ok_or_else(|| UpdateError::UnknownAlias(domain.clone()))?, domain };
            remove(records, changes, &alias)?;
            Ok(alias)
        })
        .await
    }
}

/// Takes away all aliases of a label, which is about to be a tombstone.
pub(super) fn remove_all_of(
    records: &mut dyn Records,
    changes: &mut Vec<Change>,
    grant: &Grant,
) -> Result<(), StoreError> {
    let aliases = all(records)?;
    aliases.iter().filter(|alias| alias.grant == *grant).try_for_each(|alias| remove(records, changes, alias))
}

/// What the DNS has to show of the aliases when the server starts.
pub(super) fn shown(records: &mut dyn Records) -> Result<Vec<Change>, StoreError> {
    let aliased = |alias: &Alias| Ok(Change::Aliased { name: name_of(alias)?, target: target(&alias.grant)? });
    all(records)?.iter().map(aliased).collect()
}

fn all(records: &mut dyn Records) -> Result<Vec<Alias>, StoreError> {
    let held = records.read_all::<Grant>(Document::Alias)?.into_iter();
    let alias = |(domain, grant): (String, Grant)| {
        let domain = Name::parse(&domain).map_err(|error| StoreError::Damaged(error.to_string()))?;
        Ok(Alias { domain, grant })
    };
    held.map(alias).collect()
}

fn remove(records: &mut dyn Records, changes: &mut Vec<Change>, alias: &Alias) -> Result<(), StoreError> {
    records.put_document(Document::Alias, &alias.domain.to_string(), None)?;
    changes.push(Change::Unaliased { name: name_of(alias)? });
    Ok(())
}

fn name_of(alias: &Alias) -> Result<Name, StoreError> {
    challenge_name(&alias.domain).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn target(grant: &Grant) -> Result<Name, StoreError> {
    grant.name().map_err(|error| StoreError::Damaged(error.to_string()))
}

/// `_acme-challenge.<domain>`.
fn challenge_name(domain: &Name) -> Result<Name, crate::zone::NameError> {
    domain.child(ACME_CHALLENGE)
}
