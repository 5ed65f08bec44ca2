//! What is served at this moment: static zones behind one atomic pointer, TXT values in a concurrent map.
//!
//! Many readers, one writer: `publish` is called by the store's writer alone, after the commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Guard};
use dashmap::DashMap;

use super::{ACME_CHALLENGE, Change, Name, TxtSet, Zone};

/// All zones of the server, found by origin.
#[derive(Debug, Default)]
pub struct Zones(HashMap<Name, Arc<Zone>>);

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

/// One name of the dynamic part.
#[derive(Debug, Default)]
struct Entry {
    /// A registered label exists without values too.
    registered: bool,
    txt: Option<Arc<TxtSet>>,
    /// How many dynamic names lie right below; above zero the name exists (RFC 4592 section 2.2.2).
    below: u32,
}

impl Entry {
    fn holds_something(&self) -> bool {
        self.registered || self.txt.is_some()
    }

    fn exists(&self) -> bool {
        self.holds_something() || self.below > 0
    }
}

/// A dynamic name that exists, as a reader sees it: a snapshot, no lock held.
#[derive(Debug, Clone)]
pub struct Existing {
    pub registered: bool,
    pub txt: Option<Arc<TxtSet>>,
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
    names: DashMap<Name, Entry>,
    revision: AtomicU32,
}

impl Live {
    pub fn new(zones: Zones) -> Live {
        Live { zones: ArcSwap::from_pointee(zones), names: DashMap::new(), revision: AtomicU32::new(0) }
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
        let snapshot = |entry: &Entry| Existing { registered: entry.registered, txt: entry.txt.clone() };
        if let Some(label) = below_acme_challenge(name)
            && let Some(entry) = self.names.get(label)
            && entry.registered
        {
            return Some(snapshot(&entry));
        }
        self.names.get(name).filter(|entry| entry.exists()).map(|entry| snapshot(&entry))
    }

    /// The one name under which values for `name` are kept, if challenge values may be put there at all: a
    /// registered label, the apex of a challenge zone, or an `_acme-challenge` name inside a zone.
    pub fn challenge_name(&self, name: &Name) -> Result<Name, NotAChallengeName> {
        if let Some(label) = below_acme_challenge(name.as_wire())
            && let Some(entry) = self.names.get(label).filter(|entry| entry.registered)
        {
            return Ok(entry.key().clone());
        }
        if self.names.get(name).is_some_and(|entry| entry.registered) {
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
        self.names.get(name).is_some_and(|entry| entry.registered)
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
        let registered = self.names.iter().filter(|entry| entry.registered);
        registered.filter_map(|entry| Some((entry.key().clone(), reason(entry.key())?))).collect()
    }

    /// Names that hold values, with their sets; a copy of this moment, in no particular order.
    pub fn values(&self) -> Vec<(Name, Arc<TxtSet>)> {
        self.names.iter().filter_map(|entry| Some((entry.key().clone(), entry.txt.clone()?))).collect()
    }

    /// How many labels are registered.
    pub fn registered_count(&self) -> usize {
        self.names.iter().filter(|entry| entry.registered).count()
    }

    /// Shows committed changes to every query from now on. For the store's writer alone.
    pub fn publish(&self, changes: impl IntoIterator<Item = Change>, revision: u32) {
        for change in changes {
            match change {
                Change::Registered { name } => self.edit(&name, |entry| entry.registered = true),
                Change::Retired { name } => self.edit(&name, |entry| {
                    entry.registered = false;
                    entry.txt = None;
                }),
                Change::Txt { name, set } => {
                    let set = (!set.is_empty()).then(|| Arc::new(set));
                    self.edit(&name, |entry| entry.txt = set);
                }
            }
        }
        self.revision.store(revision, Ordering::Release);
    }

    /// Edits one entry and keeps the counts of the names above it right.
    fn edit(&self, name: &Name, edit: impl FnOnce(&mut Entry)) {
        let mut entry = self.names.entry(name.clone()).or_default();
        let before = entry.exists();
        edit(&mut entry);
        let after = entry.exists();
        drop(entry);
        if before != after {
            self.count_above(name, after);
        }
        if !after {
            self.names.remove_if(name, |_, entry| !entry.exists());
        }
    }

    /// A name appeared or vanished: its ancestors up to the origin become, or stop being, empty non-terminals.
    fn count_above(&self, name: &Name, appeared: bool) {
        let zones = self.zones();
        let Some(zone) = zones.find(name.as_wire()) else { return };
        if name == zone.origin() {
            return;
        }
        let Some(parent) = name.parent().filter(|parent| parent != zone.origin()) else { return };
        self.edit(&parent, |entry| {
            entry.below = if appeared { entry.below + 1 } else { entry.below.saturating_sub(1) };
        });
    }
}

/// What follows a first label `_acme-challenge`; `None` if the name (lower-case wire form) does not begin so.
fn below_acme_challenge(name: &[u8]) -> Option<&[u8]> {
    let (&len, rest) = name.split_first()?;
    (usize::from(len) == ACME_CHALLENGE.len()).then_some(())?;
    rest.strip_prefix(ACME_CHALLENGE)
}
