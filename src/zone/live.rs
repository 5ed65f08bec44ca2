//! What is served at this moment: static zones behind one atomic pointer, TXT values in a concurrent table.
//!
//! Many readers, one writer: `publish` is called by the store's writer alone, after the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Guard};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::key::Lengths;
use super::names::{Existing, Names, State, encoded};
use super::{ACME_CHALLENGE, Change, Key, Name, TxtSet, Zone, proven_domain};

/// All zones of the server, found by origin.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    table: HashTable<Arc<Zone>>,
    lengths: Lengths,
}

impl Zones {
    /// Of two zones with one origin the second is kept.
    pub fn new(zones: impl IntoIterator<Item = Zone>) -> Zones {
        let mut all = Zones::default();
        zones.into_iter().for_each(|zone| all.insert(zone));
        all
    }

    /// Takes the place of a zone with the same origin.
    fn insert(&mut self, zone: Zone) {
        let zone = Arc::new(zone);
        let hash = |zone: &Arc<Zone>| zone.origin().key().hash();
        self.lengths.insert(zone.origin().as_wire());
        let same = |held: &Arc<Zone>| held.origin() == zone.origin();
        match self.table.entry(hash(&zone), same, hash) {
            Entry::Occupied(mut held) => *held.get_mut() = zone,
            Entry::Vacant(free) => drop(free.insert(zone)),
        }
    }

    /// What a change says of zones. A zone of the configuration never makes room for an alias.
    fn change(&mut self, change: Change) {
        match change {
            Change::Aliased { name, target } if self.get(&name).is_none_or(|zone| zone.target().is_some()) => {
                let nameservers = self.find(target.as_wire()).map(|zone| zone.nameservers()).unwrap_or_default();
                // Without a name server the label's own zone is not there, and the server does not start.
                if let Ok(zone) = Zone::shadow(name, &nameservers, target) {
                    self.insert(zone);
                }
            }
            Change::Unaliased { name } => {
                let shadow = |zone: &Arc<Zone>| *zone.origin() == name && zone.target().is_some();
                if let Ok(found) = self.table.find_entry(name.key().hash(), shadow) {
                    found.remove();
                }
            }
            Change::Permitted { origin, identity, account } => {
                let permitting = self.get(&origin).and_then(|zone| zone.permitting(&identity, &account));
                permitting.into_iter().for_each(|zone| self.insert(zone));
            }
            Change::Forbidden { account } => {
                let changed: Vec<Zone> = self.iter().filter_map(|zone| zone.forbidding(&account)).collect();
                changed.into_iter().for_each(|zone| self.insert(zone));
            }
            _ => {}
        }
    }

    /// The zone that a name (lower-case wire form) lies in: the one with the longest origin.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Zone>> {
        let mut at = name;
        loop {
            if self.lengths.contains(at)
                && let Some(zone) = self.at(&Key::new(at))
            {
                return Some(zone);
            }
            match *at.first()? {
                0 => return None,
                len => at = at.get(1 + usize::from(len)..)?,
            }
        }
    }

    fn at(&self, origin: &Key<'_>) -> Option<&Arc<Zone>> {
        self.table.find(origin.hash(), |zone| zone.origin().as_wire() == origin.name())
    }

    pub fn get(&self, origin: &Name) -> Option<&Arc<Zone>> {
        self.at(&origin.key())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.table.iter()
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

    /// What is served, for as long as one or a few answers take.
    pub fn view(&self) -> View<'_> {
        View { live: self, zones: self.zones(), epoch: crossbeam_epoch::pin() }
    }

    /// How many commits the dynamic part has seen; what is added to the serial of each zone file, so that the
    /// served SERIAL moves with every change (RFC 1035 section 3.3.13, serial arithmetic of RFC 1982).
    pub fn revision(&self) -> u32 {
        self.revision.load(Ordering::Acquire)
    }

    /// The one name under which values for `name` are kept, if challenge values may be put there at all: a
    /// registered label, the apex of a challenge zone, or inside a zone a name that a CA looks at, see
    /// [`proven_domain`]. For an alias that is the label's name.
    pub fn challenge_name(&self, name: &Name) -> Result<Name, NotAChallengeName> {
        let zones = self.zones();
        if let Some(label) = name.parent().filter(|_| below_acme_challenge(name.as_wire()).is_some())
            && self.is_registered(&label)
        {
            return Ok(label);
        }
        if self.is_registered(name) {
            return Ok(name.clone());
        }
        let zone = zones.find(name.as_wire()).ok_or_else(|| NotAChallengeName::OutOfZone(name.clone()))?;
        if let Some(target) = zone.target() {
            let served = name == zone.origin() && self.is_registered(target);
            return if served { Ok(target.clone()) } else { Err(NotAChallengeName::NotRegistered(name.clone())) };
        }
        if let Some((cut, _)) = zone.cut_above(name.as_wire()) {
            return Err(NotAChallengeName::BelowCut { name: name.clone(), cut: cut.clone() });
        }
        if zone.is_challenge_zone() && name == zone.origin() {
            return Ok(name.clone());
        }
        if zone.node(&name.key()).is_some_and(|node| !node.rrsets.is_empty()) {
            return Err(NotAChallengeName::Static(name.clone()));
        }
        if proven_domain(name).is_some() {
            return Ok(name.clone());
        }
        Err(NotAChallengeName::NotRegistered(name.clone()))
    }

    /// Whether `name` is a registered label.
    pub fn is_registered(&self, name: &Name) -> bool {
        self.view().held(&name.key()).is_some_and(|existing| existing.is_registered())
    }

    /// Registered names that the zone files, as they are now, leave no place for, with the reason.
    pub fn conflicts(&self) -> Vec<(Name, &'static str)> {
        let view = self.view();
        let reason = |name: &[u8]| {
            let Some(zone) = view.zones.find(name) else {
                return Some("no zone of the configuration contains it");
            };
            if name == zone.origin().as_wire() {
                Some("it is the origin of a zone")
            } else if zone.cut_above(name).is_some() {
                Some("its zone file delegates it away")
            } else if zone.node(&Key::new(name)).is_some() {
                Some("its zone file has records at or below it")
            } else {
                None
            }
        };
        let registered = view.names().filter(Existing::is_registered);
        let taken = registered.filter_map(|held| reason(held.name()).and_then(|reason| Some((name_of(held)?, reason))));
        // A wildcard certificate for the label would be good for names of that zone.
        let above = |zone: &Arc<Zone>| std::iter::successors(zone.origin().parent(), Name::parent);
        let configured = view.zones.iter().filter(|zone| zone.target().is_none());
        let above = configured.flat_map(above).filter(|name| self.is_registered(name));
        taken.chain(above.map(|name| (name, "another zone begins below it"))).collect()
    }

    /// The values at a name, expired ones included; `None` if the name does not exist.
    pub fn txt_set(&self, name: &Name) -> Option<TxtSet> {
        self.view().existing(&name.key()).map(|existing| existing.txt_set())
    }

    /// Names that hold values, with their sets; a copy of this moment, in no particular order.
    pub fn values(&self) -> Vec<(Name, TxtSet)> {
        let view = self.view();
        let held = view.names().filter(Existing::has_values);
        held.filter_map(|held| Some((name_of(held)?, held.txt_set()))).collect()
    }

    /// How many labels are registered.
    pub fn registered_count(&self) -> usize {
        self.view().names().filter(Existing::is_registered).count()
    }

    /// Shows committed changes to every query from now on. For the store's writer alone.
    pub fn publish(&self, changes: impl IntoIterator<Item = Change>, revision: u32) {
        let mut zones = None;
        for change in changes {
            match change {
                Change::Aliased { .. }
                | Change::Unaliased { .. }
                | Change::Permitted { .. }
                | Change::Forbidden { .. } => {
                    zones.get_or_insert_with(|| Zones::clone(&self.zones())).change(change);
                }
                Change::Registered { name } => self.set(&name, |state| state.registered = true, None),
                Change::Retired { name } => self.set(&name, |state| state.registered = false, Some(&[])),
                Change::Txt { name, set } => self.set(&name, |_| {}, Some(&encoded(&set))),
            }
        }
        if let Some(zones) = zones {
            self.zones.store(Arc::new(zones));
        }
        self.revision.store(revision, Ordering::Release);
    }

    /// The name that has the values of this alias, if it is one.
    pub fn alias(&self, name: &Name) -> Option<Name> {
        self.zones().get(name)?.target().cloned()
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

/// What is served, as one reader sees it: the zones stay the same, the dynamic names are those of the moment they are
/// looked up. To be let go soon: what is replaced meanwhile cannot be freed.
pub struct View<'a> {
    live: &'a Live,
    zones: Guard<Arc<Zones>>,
    epoch: crossbeam_epoch::Guard,
}

impl View<'_> {
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// See [`Live::revision`].
    pub fn revision(&self) -> u32 {
        self.live.revision()
    }

    /// The dynamic name, following `_acme-challenge.<label>` to `<label>`; `None` if it does not exist.
    pub fn existing(&self, key: &Key<'_>) -> Option<Existing<'_>> {
        let label = below_acme_challenge(key.name()).and_then(|label| self.held(&Key::new(label)));
        label.filter(Existing::is_registered).or_else(|| self.held(key))
    }

    /// Asks the processor for the memory that a look-up will wait for first. Of use where others are answered
    /// meanwhile.
    pub fn prefetch_slot(&self, key: &Key<'_>) {
        self.live.names.prefetch_slot(&label_or_name(key), &self.epoch);
    }

    /// The same for what it will wait for then.
    pub fn prefetch_block(&self, key: &Key<'_>) {
        self.live.names.prefetch_block(&label_or_name(key), &self.epoch);
    }

    /// The dynamic name as it is kept.
    fn held(&self, key: &Key<'_>) -> Option<Existing<'_>> {
        self.live.names.find(key, &self.epoch)
    }

    fn names(&self) -> impl Iterator<Item = Existing<'_>> {
        self.live.names.iter(&self.epoch)
    }
}

/// `None` cannot be: only names are kept.
fn name_of(held: Existing<'_>) -> Option<Name> {
    Name::from_wire(held.name()).ok()
}

/// What is looked for first.
fn label_or_name<'a>(key: &Key<'a>) -> Key<'a> {
    below_acme_challenge(key.name()).map_or(*key, Key::new)
}

/// What follows a first label `_acme-challenge`; `None` if the name (lower-case wire form) does not begin so.
fn below_acme_challenge(name: &[u8]) -> Option<&[u8]> {
    let (&len, rest) = name.split_first()?;
    (usize::from(len) == ACME_CHALLENGE.len()).then_some(())?;
    rest.strip_prefix(ACME_CHALLENGE)
}
