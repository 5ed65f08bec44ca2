//! The dynamic names in memory: one allocation for each, found with one hash.
//!
//! Not a map of structures: a million labels with a value each have to fit beside each other, and an answer should
//! touch few cache lines. Each name is one block of octets that never changes; a change puts another block in its
//! place. Readers hold a lock only to find the block, never while they answer.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use triomphe::ThinArc;

use super::txt::{Held, Timestamp, TxtSet, TxtValue};
use super::{MAX_NAME, Name};

/// Locks; a power of two. With as many, a writer is hardly ever in the way of a reader.
const SHARDS: usize = 64;

/// All dynamic names. Any number of readers, one writer. A map without values: the block that is the key has it all.
pub(super) struct Names(DashMap<Existing, (), RandomState>);

/// What is known of a name besides its octets and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// How many dynamic names lie right below; above zero the name exists (RFC 4592 section 2.2.2).
    pub below: u32,
    /// A registered label exists without values too.
    pub registered: bool,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    state: State,
    name_len: u8,
}

/// A dynamic name that exists, as it was at one moment: later changes do not touch it. Cheap to clone.
#[derive(Clone)]
pub struct Existing(ThinArc<Head, u8>);

/// Octets before the RDATA of each value: expiry and length.
const VALUE_HEAD: usize = 10;

impl Existing {
    fn new(name: &[u8], state: State, values: &[u8]) -> Existing {
        debug_assert!(name.len() <= MAX_NAME);
        let octets = [name, values].concat();
        Existing(ThinArc::from_header_and_slice(Head { state, name_len: name.len() as u8 }, &octets))
    }

    /// Lower-case wire form.
    pub fn name(&self) -> &[u8] {
        &self.0.slice[..usize::from(self.0.header.header.name_len)]
    }

    pub fn is_registered(&self) -> bool {
        self.state().registered
    }

    pub(super) fn state(&self) -> State {
        self.0.header.header.state
    }

    fn values(&self) -> &[u8] {
        &self.0.slice[usize::from(self.0.header.header.name_len)..]
    }

    pub(super) fn has_values(&self) -> bool {
        !self.values().is_empty()
    }

    /// The values with their expiry, each as the RDATA of a TXT record, oldest first.
    fn records(&self) -> impl Iterator<Item = (Timestamp, &[u8])> {
        let mut rest = self.values();
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_first_chunk::<VALUE_HEAD>()?;
            let [expires @ .., high, low] = *head;
            let (rdata, next) = tail.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
            rest = next;
            Some((Timestamp::from_be_bytes(expires), rdata))
        })
    }

    /// The RDATA of the TXT records served at `now`, oldest first.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &[u8]> {
        self.records().filter(move |(expires, _)| *expires > now).map(|(_, rdata)| rdata)
    }

    /// The values as a set, expired ones included.
    pub fn txt_set(&self) -> TxtSet {
        TxtSet::from_held(
            self.records()
                .filter_map(|(expires, rdata)| Some(Held { value: TxtValue::from_rdata(rdata)?, expires }))
                .collect(),
        )
    }
}

/// Found by its name alone, whatever is known of it.
impl Borrow<[u8]> for Existing {
    fn borrow(&self) -> &[u8] {
        self.name()
    }
}

impl Hash for Existing {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.name().hash(hasher);
    }
}

impl PartialEq for Existing {
    fn eq(&self, other: &Existing) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Existing {}

impl std::fmt::Debug for Existing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Existing").field("name", &Name::from_wire(self.name())).field("state", &self.state()).finish()
    }
}

/// A set as the octets that an [`Existing`] keeps.
pub(super) fn encoded(set: &TxtSet) -> Vec<u8> {
    let mut octets = Vec::new();
    for Held { value, expires } in set.held() {
        octets.extend_from_slice(&expires.to_be_bytes());
        // A value has at most 4,096 octets, its RDATA at most 17 more.
        octets.extend_from_slice(&(value.rdata_len() as u16).to_be_bytes());
        for string in value.strings() {
            octets.push(string.len() as u8);
            octets.extend_from_slice(string);
        }
    }
    octets
}

impl Names {
    pub(super) fn new() -> Names {
        Names(DashMap::with_hasher_and_shard_amount(RandomState::default(), SHARDS))
    }

    /// The name (lower-case wire form) as it is now.
    pub(super) fn get(&self, name: &[u8]) -> Option<Existing> {
        self.0.get(name).map(|held| held.key().clone())
    }

    /// Puts a name into this state, or takes it out if nothing makes it exist. `values` are `encoded`; `None` leaves
    /// them as they are. Whether it existed before, and does now. For the one writer.
    pub(super) fn set(&self, name: &Name, change: impl FnOnce(&mut State), values: Option<&[u8]>) -> (bool, bool) {
        let before = self.get(name.as_wire());
        let mut state = before.as_ref().map(Existing::state).unwrap_or_default();
        change(&mut state);
        let values = values.unwrap_or_else(|| before.as_ref().map_or(&[], Existing::values));
        let exists = state.registered || state.below > 0 || !values.is_empty();
        // Made before the lock is taken: readers wait for a pointer, not for a copy.
        let after = exists.then(|| Existing::new(name.as_wire(), state, values));
        match after.map(|after| self.0.entry(after)) {
            Some(Entry::Occupied(place)) => drop(place.replace_entry(())),
            Some(Entry::Vacant(place)) => drop(place.insert(())),
            None => drop(self.0.remove(name.as_wire())),
        }
        (before.is_some(), exists)
    }

    /// Every name, as it is when its turn comes.
    pub(super) fn iter(&self) -> impl Iterator<Item = Existing> {
        self.0.iter().map(|held| held.key().clone())
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn values_come_back_as_they_were_put() {
        let mut set = TxtSet::default();
        for (value, expires) in [("", 5), ("one", 10), (&"x".repeat(600), 20)] {
            set.add(TxtValue::new(value.as_bytes()).unwrap(), expires);
        }
        let names = Names::new();
        names.set(&name("a.test"), |_| {}, Some(&encoded(&set)));
        let held = names.get(name("A.test").as_wire()).unwrap();
        assert_eq!(held.txt_set(), set);
        assert_eq!(held.live(7).next().unwrap(), b"\x03one");
        assert_eq!(held.live(20).count(), 0);
    }

    #[test]
    fn a_name_is_gone_when_nothing_makes_it_exist() {
        let names = Names::new();
        assert_eq!(names.set(&name("a.test"), |state| state.below += 1, None), (false, true));
        assert_eq!(names.set(&name("a.test"), |state| state.registered = true, None), (true, true));
        assert_eq!(names.set(&name("a.test"), |state| state.below -= 1, None), (true, true));
        assert_eq!(names.set(&name("a.test"), |state| state.registered = false, None), (true, false));
        assert!(names.get(name("a.test").as_wire()).is_none());
        assert_eq!(names.iter().count(), 0);
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let names = Names::new();
        names.set(&name("a.test"), |state| state.registered = true, None);
        let before = names.get(name("a.test").as_wire()).unwrap();
        names.set(&name("a.test"), |state| state.registered = false, None);
        assert!(before.is_registered());
    }
}
