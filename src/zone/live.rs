//! What is served at this moment: static zones behind one atomic pointer, TXT values in a concurrent map.
//!
//! Many readers, one writer: `publish` is called by the store's writer alone, after the commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;

use super::names::{Existing, Names, State, encoded};
use super::{ACME_CHALLENGE, Change, Name, TxtSet, Zone};

/// All zones of the server, found by origin.
#[derive(Debug, Default)]
pub struct Zones(HashMap<Name, Arc<Zone>, RandomState>);

impl Zones {
    pub fn new(zones: impl IntoIterator<Item = Zone>) -> Zones {
        Zones(zones.into_iter().map(|zone| (zone.origin().clone(), Arc::new(zone))).collect())
    }

    /// The zone that `name` (lower-case wire form) lies in: the one with the longest origin.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Zone>> {
        let mut at = name;
        loop {
            if let Some(zone) = self.0.get(at) {
                return Some(zone);
            }
            match *at.first()? {
                0 => return None,
                len => at = at.get(1 + usize::from(len)..)?,
            }
        }
    }

    pub fn get(&self, origin: &Name) -> Option<&Arc<Zone>> {
        self.0.get(origin)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.0.values()
    }
}

/// Why no challenge value can be put at a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAChallengeName {
    #[error("{0} is in no zone of this server")]
    OutOfZone(Name),
    #[error("{name} lies at or below the delegation of {cut}")]
    BelowCut { name: Name, cut: Name },
    #[error("{0} is no registered label, no challenge zone and no `_acme-challenge` name")]
    NotRegistered(Name),
    #[error("{0} has static records in its zone file")]
    Static(Name),
}

/// The zones and the TXT values. Cheap to read from any thread.
#[derive(Debug)]
pub struct Live {
    zones: ArcSwap<Zones>,
    names: Names,
    revision: AtomicU32,
}

impl Live {
    pub fn new(zones: Zones) -> Live {
        Live { zones: ArcSwap::from_pointee(zones), names: Names::new(), revision: AtomicU32::new(0) }
    }

    /// The static zones of this moment.
    pub fn zones(&self) -> Guard<Arc<Zones>> {
        self.zones.load()
    }

    /// How many commits the dynamic part has seen; what is added to the serial of each zone file, so that the
    /// served SERIAL moves with every change (RFC 1035 section 3.3.13, serial arithmetic of RFC 1982).
    pub fn revision(&self) -> u32 {
        self.revision.load(Ordering::Acquire)
    }

    /// The dynamic name (lower-case wire form), following `_acme-challenge.<label>` to `<label>`; `None` if it does
    /// not exist.
    pub fn existing(&self, name: &[u8]) -> Option<Existing> {
        let label = below_acme_challenge(name).and_then(|label| self.names.get(label));
        label.filter(Existing::is_registered).or_else(|| self.names.get(name))
    }

    /// The one name under which values for `name` are kept, if challenge values may be put there at all: a
    /// registered label, the apex of a challenge zone, or an `_acme-challenge` name inside a zone.
    pub fn challenge_name(&self, name: &Name) -> Result<Name, NotAChallengeName> {
        if let Some(label) = name.parent().filter(|_| below_acme_challenge(name.as_wire()).is_some())
            && self.is_registered(&label)
        {
            return Ok(label);
        }
        if self.is_registered(name) {
            return Ok(name.clone());
        }
        let zones = self.zones();
        let zone = zones.find(name.as_wire()).ok_or_else(|| NotAChallengeName::OutOfZone(name.clone()))?;
        if let Some(cut) = zone.cut_above(name.as_wire()) {
            return Err(NotAChallengeName::BelowCut { name: name.clone(), cut: cut.clone() });
        }
        if zone.is_challenge_zone() && name == zone.origin() {
            return Ok(name.clone());
        }
        if zone.node(name.as_wire()).is_some_and(|node| !node.rrsets.is_empty()) {
            return Err(NotAChallengeName::Static(name.clone()));
        }
        if below_acme_challenge(name.as_wire()).is_some() {
            return Ok(name.clone());
        }
        Err(NotAChallengeName::NotRegistered(name.clone()))
    }

    /// Whether `name` is a registered label.
    pub fn is_registered(&self, name: &Name) -> bool {
        self.names.get(name.as_wire()).is_some_and(|existing| existing.is_registered())
    }

    /// Registered names that the zone files, as they are now, leave no place for, with the reason.
    pub fn conflicts(&self) -> Vec<(Name, &'static str)> {
        let zones = self.zones();
        let reason = |name: &Name| {
            let Some(zone) = zones.find(name.as_wire()) else {
                return Some("no zone of the configuration contains it");
            };
            if name == zone.origin() {
                Some("it is the origin of a zone")
            } else if zone.cut_above(name.as_wire()).is_some() {
                Some("its zone file delegates it away")
            } else if zone.node(name.as_wire()).is_some() {
                Some("its zone file has records at or below it")
            } else {
                None
            }
        };
        let registered = self.names.iter().filter(Existing::is_registered).filter_map(|held| name_of(&held));
        registered.filter_map(|name| reason(&name).map(|reason| (name, reason))).collect()
    }

    /// Names that hold values, with their sets; a copy of this moment, in no particular order.
    pub fn values(&self) -> Vec<(Name, TxtSet)> {
        let held = self.names.iter().filter(Existing::has_values);
        held.filter_map(|held| Some((name_of(&held)?, held.txt_set()))).collect()
    }

    /// How many labels are registered.
    pub fn registered_count(&self) -> usize {
        self.names.iter().filter(Existing::is_registered).count()
    }

    /// Shows committed changes to every query from now on. For the store's writer alone.
    pub fn publish(&self, changes: impl IntoIterator<Item = Change>, revision: u32) {
        for change in changes {
            match change {
                Change::Registered { name } => self.set(&name, |state| state.registered = true, None),
                Change::Retired { name } => self.set(&name, |state| state.registered = false, Some(&[])),
                Change::Txt { name, set } => self.set(&name, |_| {}, Some(&encoded(&set))),
            }
        }
        self.revision.store(revision, Ordering::Release);
    }

    /// Changes one name and keeps the counts of the names above it right: when it appears or vanishes, its ancestors
    /// up to the origin become, or stop being, empty non-terminals.
    fn set(&self, name: &Name, change: impl FnOnce(&mut State), values: Option<&[u8]>) {
        let (before, after) = self.names.set(name, change, values);
        let zones = self.zones();
        let Some(origin) = zones.find(name.as_wire()).map(|zone| zone.origin()) else { return };
        let (mut at, mut changed) = (name.clone(), before != after);
        while changed && at != *origin {
            let Some(parent) = at.parent().filter(|parent| parent != origin) else { return };
            let count = |state: &mut State| {
                state.below = if after { state.below + 1 } else { state.below.saturating_sub(1) };
            };
            let (before, after) = self.names.set(&parent, count, None);
            changed = before != after;
            at = parent;
        }
    }
}

/// `None` cannot be: only names are kept.
fn name_of(held: &Existing) -> Option<Name> {
    Name::from_wire(held.name()).ok()
}

/// What follows a first label `_acme-challenge`; `None` if the name (lower-case wire form) does not begin so.
fn below_acme_challenge(name: &[u8]) -> Option<&[u8]> {
    let (&len, rest) = name.split_first()?;
    (usize::from(len) == ACME_CHALLENGE.len()).then_some(())?;
    rest.strip_prefix(ACME_CHALLENGE)
}
