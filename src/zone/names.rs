//! The dynamic names in memory: one allocation for each, found with one hash and no lock.
//!
//! Not a map of structures: a million labels with a value each have to fit beside each other, and an answer should
//! wait for memory as seldom as can be. Each name is one block of octets that never changes; a change puts another block
//! in its place. The table has eight octets for a name: where its block is, and sixteen bits of its hash, so that a
//! look-up goes to the table once and to the block once. Readers take no lock and wait for nobody: a block or a table that
//! was replaced is freed when no reader can still see it (epochs, by crossbeam); now and then it is a reader who does it. `DashMap`, which was here before,
//! takes a lock twice per look-up and waits once more for memory.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_epoch::{Atomic, Guard, Owned};

use super::txt::{Held, Timestamp, TxtSet, TxtValue};
use super::{Key, MAX_NAME, Name};

/// All dynamic names. Any number of readers, one writer at a time.
pub(super) struct Names {
    /// Never null.
    table: Atomic<Table>,
    /// For the writer.
    filled: Mutex<Filled>,
}

#[derive(Debug, Default)]
struct Filled {
    names: usize,
    /// Slots that were emptied, over which a look-up has to go on.
    gaps: usize,
}

/// What is known of a name besides its octets and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// How many dynamic names lie right below; above zero the name exists (RFC 4592 section 2.2.2).
    pub below: u32,
    /// A registered label exists without values too.
    pub registered: bool,
}

/// A dynamic name that exists, as it was when it was looked up: later changes do not touch it.
///
/// The octets of its block: `State::below` and the number of octets of all values, in the order of the machine; the
/// length of the name; `State::registered`; the name; the values.
#[derive(Clone, Copy)]
pub struct Existing<'g>(&'g [u8]);

/// Octets of a block before the name.
const HEAD: usize = 8;
/// Octets before the RDATA of each value: expiry and length.
const VALUE_HEAD: usize = 10;

impl<'g> Existing<'g> {
    fn block(name: &[u8], state: State, values: &[u8]) -> Box<[u8]> {
        // `Name` and `TxtSet` see to both; the length of the allocation is worked out from these numbers again.
        assert!(name.len() <= MAX_NAME && values.len() <= usize::from(u16::MAX), "longer than a set can be");
        let below = state.below.to_ne_bytes();
        let length = (values.len() as u16).to_ne_bytes();
        [&below[..], &length, &[name.len() as u8, u8::from(state.registered)], name, values].concat().into()
    }

    /// # Safety
    ///
    /// `block` points to a whole block that is not freed during `'g`.
    unsafe fn at(block: *const u8) -> Existing<'g> {
        // SAFETY: every block has a head, which says how long it is.
        unsafe {
            let head = &*block.cast::<[u8; HEAD]>();
            Existing(std::slice::from_raw_parts(block, block_len(head)))
        }
    }

    /// Lower-case wire form.
    pub fn name(&self) -> &'g [u8] {
        &self.0[HEAD..HEAD + usize::from(self.0[6])]
    }

    pub fn is_registered(&self) -> bool {
        self.0[7] != 0
    }

    fn state(&self) -> State {
        let below = u32::from_ne_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]);
        State { below, registered: self.is_registered() }
    }

    fn values(&self) -> &'g [u8] {
        &self.0[HEAD + usize::from(self.0[6])..]
    }

    pub(super) fn has_values(&self) -> bool {
        !self.values().is_empty()
    }

    /// The values with their expiry, each as the RDATA of a TXT record, oldest first.
    fn records(&self) -> impl Iterator<Item = (Timestamp, &'g [u8])> + use<'g> {
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
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &'g [u8]> + use<'g> {
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

fn block_len(head: &[u8; HEAD]) -> usize {
    HEAD + usize::from(head[6]) + usize::from(u16::from_ne_bytes([head[4], head[5]]))
}

impl std::fmt::Debug for Existing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Existing").field("name", &Name::from_wire(self.name())).field("state", &self.state()).finish()
    }
}

/// A set as the octets that a block keeps.
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

/// Open addressing with linear probing: a power of two of slots, of which at least a quarter holds nothing.
///
/// A slot holds nothing, or a gap where a block was taken out, or the address of a block below the tag of its hash.
struct Table(Box<[AtomicU64]>);

const NOTHING: u64 = 0;
const GAP: u64 = 1;
/// Linux gives no process an address of more bits that has not asked for it, not with five-level page tables either.
const ADDRESS_BITS: u32 = 48;
const TAG: u64 = u64::MAX << ADDRESS_BITS;
/// Slots of the smallest table.
const SMALLEST: usize = 64;

/// The block that a slot points to.
fn address(slot: u64) -> Option<*mut u8> {
    let address = slot & !TAG;
    (address > GAP).then(|| ptr::with_exposed_provenance_mut(address as usize))
}

impl Table {
    fn new(slots: usize) -> Table {
        Table((0..slots).map(|_| AtomicU64::new(NOTHING)).collect())
    }

    /// The slots in which a name of this hash may be, in the order of the search. The tag is of the other end of the
    /// hash.
    fn way(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let mask = self.0.len() - 1;
        (0..self.0.len()).map(move |step| &self.0[(hash as usize).wrapping_add(step) & mask])
    }

    /// The slot of a name and what it points to.
    ///
    /// # Safety
    ///
    /// Blocks that are taken out during `'g` are not freed before its end.
    unsafe fn find<'g>(&self, key: &Key<'_>) -> Option<(&AtomicU64, Existing<'g>)> {
        for slot in self.way(key.hash()) {
            let held = slot.load(Ordering::Acquire);
            if held == NOTHING {
                return None;
            }
            if (held ^ key.hash()) & TAG == 0
                && let Some(block) = address(held)
            {
                // SAFETY: what a slot points to is a block; it stays, as the caller promises.
                let existing = unsafe { Existing::at(block) };
                if existing.name() == key.name() {
                    return Some((slot, existing));
                }
            }
        }
        None
    }

    /// Asks for the cache line where the search for a name begins.
    fn prefetch_slot(&self, hash: u64) {
        prefetch(ptr::from_ref(&self.0[hash as usize & (self.0.len() - 1)]).cast());
    }

    /// Asks for the block of a name: the first whose tag fits.
    fn prefetch_block(&self, hash: u64) {
        let held = self.way(hash).map(|slot| slot.load(Ordering::Relaxed));
        let fits = held.take_while(|held| *held != NOTHING).find(|held| (held ^ hash) & TAG == 0);
        if let Some(block) = fits.and_then(address) {
            // A name of a registered label and one value take three cache lines at most.
            for line in [0, 64, 128] {
                prefetch(block.wrapping_add(line));
            }
        }
    }

    /// Puts a block whose name is not here into the first place for it; what was there.
    fn insert(&self, hash: u64, block: Box<[u8]>) -> u64 {
        for slot in self.way(hash) {
            let held = slot.load(Ordering::Relaxed);
            if address(held).is_none() {
                slot.store(pointer(hash, block), Ordering::Release);
                return held;
            }
        }
        unreachable!("a quarter of the slots is free")
    }
}

/// Asks the processor to bring a cache line near. Nothing is read: any address will do.
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// What a slot holds for a block.
fn pointer(hash: u64, block: Box<[u8]>) -> u64 {
    let address = Box::into_raw(block).cast::<u8>().expose_provenance() as u64;
    assert!(address & TAG == 0, "an address of more than 48 bits");
    address | hash & TAG
}

impl Names {
    pub(super) fn new() -> Names {
        Names { table: Atomic::new(Table::new(SMALLEST)), filled: Mutex::default() }
    }

    fn table<'g>(&'g self, guard: &'g Guard) -> &'g Table {
        // SAFETY: the pointer is never null, and a table that is replaced is freed when no guard is left that saw it.
        unsafe { self.table.load(Ordering::Acquire, guard).deref() }
    }

    /// The name as it is now.
    pub(super) fn find<'g>(&'g self, key: &Key<'_>, guard: &'g Guard) -> Option<Existing<'g>> {
        // SAFETY: blocks that are taken out are freed when no guard is left that saw them.
        unsafe { self.table(guard).find(key) }.map(|(_, existing)| existing)
    }

    /// Asks for the memory that `prefetch_block` will read.
    pub(super) fn prefetch_slot(&self, key: &Key<'_>, guard: &Guard) {
        self.table(guard).prefetch_slot(key.hash());
    }

    /// Asks for the memory that `find` will read after that.
    pub(super) fn prefetch_block(&self, key: &Key<'_>, guard: &Guard) {
        self.table(guard).prefetch_block(key.hash());
    }

    /// Puts a name into this state, or takes it out if nothing makes it exist. `values` are `encoded`; `None` leaves
    /// them as they are. Whether it existed before, and does now.
    pub(super) fn set(&self, name: &Name, change: impl FnOnce(&mut State), values: Option<&[u8]>) -> (bool, bool) {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = &crossbeam_epoch::pin();
        let key = Key::new(name.as_wire());
        // SAFETY: as in `find`.
        let before = unsafe { self.table(guard).find(&key) };
        let mut state = before.map(|(_, before)| before.state()).unwrap_or_default();
        change(&mut state);
        let values = values.unwrap_or_else(|| before.map_or(&[], |(_, before)| before.values()));
        let exists = state.registered || state.below > 0 || !values.is_empty();
        let block = exists.then(|| Existing::block(name.as_wire(), state, values));
        match (before, block) {
            (Some((slot, _)), block) => {
                if block.is_none() {
                    filled.names -= 1;
                    filled.gaps += 1;
                }
                let held = slot.swap(block.map_or(GAP, |block| pointer(key.hash(), block)), Ordering::AcqRel);
                free_later(held, guard);
            }
            (None, Some(block)) => {
                self.make_room(&mut filled, guard);
                if self.table(guard).insert(key.hash(), block) == GAP {
                    filled.gaps -= 1;
                }
                filled.names += 1;
            }
            (None, None) => {}
        }
        (before.is_some(), exists)
    }

    /// Sees to it that one more name leaves a quarter of the slots free.
    fn make_room(&self, filled: &mut Filled, guard: &Guard) {
        let old = self.table(guard);
        if (filled.names + filled.gaps + 1) * 4 <= old.0.len() * 3 {
            return;
        }
        let new = Table::new(((filled.names + 1) * 2).next_power_of_two().max(SMALLEST));
        for slot in &old.0 {
            let held = slot.load(Ordering::Relaxed);
            let Some(block) = address(held) else { continue };
            // SAFETY: only this writer takes blocks out.
            let hash = Key::new(unsafe { Existing::at(block) }.name()).hash();
            if let Some(free) = new.way(hash).find(|slot| slot.load(Ordering::Relaxed) == NOTHING) {
                free.store(held, Ordering::Relaxed);
            }
        }
        filled.gaps = 0;
        let old = self.table.swap(Owned::new(new), Ordering::AcqRel, guard);
        // SAFETY: nobody who comes from now on can see it. The blocks live on in the new table.
        unsafe { guard.defer_destroy(old) };
        guard.flush(); // large: not to be kept until there is more to free
    }

    /// Every name, as it is when its turn comes. A name that comes or goes meanwhile may be left out or not.
    pub(super) fn iter<'g>(&'g self, guard: &'g Guard) -> impl Iterator<Item = Existing<'g>> {
        let blocks = self.table(guard).0.iter().filter_map(|slot| address(slot.load(Ordering::Acquire)));
        // SAFETY: as in `find`.
        blocks.map(|block| unsafe { Existing::at(block) })
    }
}

/// Frees a block that was taken out, when no guard is left that saw it.
fn free_later(held: u64, guard: &Guard) {
    if let Some(block) = address(held) {
        let block = Taken(block);
        // SAFETY: nobody who comes from now on can see it; it was made by `pointer`, and is freed once.
        unsafe { guard.defer_unchecked(move || block.free()) };
    }
}

/// A block that is in no table any more.
struct Taken(*mut u8);

// SAFETY: it is the only pointer to plain octets.
unsafe impl Send for Taken {}

impl Taken {
    /// # Safety
    ///
    /// Made by `pointer`, seen by nobody else, and freed once.
    unsafe fn free(self) {
        // SAFETY: the head says how long the box was.
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(self.0, Existing::at(self.0).0.len())) });
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: nobody else has it any more.
        let table = unsafe { std::mem::replace(&mut self.table, Atomic::null()).into_owned() };
        for slot in &table.0 {
            if let Some(block) = address(slot.load(Ordering::Relaxed)) {
                // SAFETY: as above.
                unsafe { Taken(block).free() };
            }
        }
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn find<'g>(names: &'g Names, text: &str, guard: &'g Guard) -> Option<Existing<'g>> {
        names.find(&Key::new(name(text).as_wire()), guard)
    }

    #[test]
    fn values_come_back_as_they_were_put() {
        let mut set = TxtSet::default();
        for (value, expires) in [("", 5), ("one", 10), (&"x".repeat(600), 20)] {
            set.add(TxtValue::new(value.as_bytes()).unwrap(), expires);
        }
        let names = Names::new();
        names.set(&name("a.test"), |_| {}, Some(&encoded(&set)));
        let guard = &crossbeam_epoch::pin();
        let held = find(&names, "A.test", guard).unwrap();
        assert_eq!(held.txt_set(), set);
        assert_eq!(held.live(7).next().unwrap(), b"\x03one");
        assert_eq!(held.live(20).count(), 0);
    }

    #[test]
    fn the_fullest_set_comes_back_whole() {
        let mut set = TxtSet::default();
        for number in 0..super::super::MAX_VALUES {
            set.add(
                TxtValue::new(&[number as u8; super::super::MAX_SET_OCTETS / super::super::MAX_VALUES]).unwrap(),
                9,
            );
        }
        let names = Names::new();
        names.set(&name("a.test"), |_| {}, Some(&encoded(&set)));
        let guard = &crossbeam_epoch::pin();
        assert_eq!(find(&names, "a.test", guard).unwrap().txt_set(), set);
    }

    #[test]
    fn a_name_is_gone_when_nothing_makes_it_exist() {
        let names = Names::new();
        assert_eq!(names.set(&name("a.test"), |state| state.below += 1, None), (false, true));
        assert_eq!(names.set(&name("a.test"), |state| state.registered = true, None), (true, true));
        assert_eq!(names.set(&name("a.test"), |state| state.below -= 1, None), (true, true));
        assert_eq!(names.set(&name("a.test"), |state| state.registered = false, None), (true, false));
        let guard = &crossbeam_epoch::pin();
        assert!(find(&names, "a.test", guard).is_none());
        assert_eq!(names.iter(guard).count(), 0);
    }

    #[test]
    fn what_was_found_does_not_change() {
        let names = Names::new();
        names.set(&name("a.test"), |state| state.registered = true, None);
        let guard = &crossbeam_epoch::pin();
        let before = find(&names, "a.test", guard).unwrap();
        names.set(&name("a.test"), |state| state.registered = false, None);
        for number in 0..10_000 {
            names.set(&name(&format!("{number}.test")), |state| state.registered = true, None);
        }
        assert!(before.is_registered() && before.name() == name("a.test").as_wire());
    }

    #[test]
    fn names_that_come_and_go_agree_with_a_plain_map() {
        let names = Names::new();
        let mut plain = BTreeMap::new();
        let mut state = 7u32;
        for _ in 0..50_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (number, registered) = ((state >> 8) % 700, state >> 31 == 1);
            let name = name(&format!("{number}.test"));
            names.set(&name, |state| state.registered = registered, None);
            if registered {
                plain.insert(name, ())
            } else {
                plain.remove(&name)
            };
        }
        let guard = &crossbeam_epoch::pin();
        let mut all: Vec<_> = names.iter(guard).map(|held| Name::from_wire(held.name()).unwrap()).collect();
        all.sort();
        assert!(all.iter().eq(plain.keys()), "{} names, {} in the plain map", all.len(), plain.len());
        for number in 0..700 {
            let known = plain.contains_key(&name(&format!("{number}.test")));
            assert_eq!(find(&names, &format!("{number}.test"), guard).is_some(), known);
        }
        assert!(names.table(guard).0.len() <= 2_048, "gaps are used again");
    }

    /// Readers look while the writer makes names come, change and go, and the table grows: what they find is whole, never
    /// older than what they found before, and what stays is always there.
    #[test]
    fn readers_see_whole_names_at_all_times() {
        const ROUNDS: u16 = 300;
        let names = Names::new();
        let value = |number: usize, round: u16| {
            let mut value = vec![number as u8; 10 + number % 50];
            value[..2].copy_from_slice(&round.to_be_bytes());
            value
        };
        let stay: Vec<_> = (0..50).map(|number| name(&format!("stays{number}.test"))).collect();
        for stays in &stay {
            names.set(stays, |state| state.registered = true, None);
        }
        let changing: Vec<_> = (0..200).map(|number| name(&format!("{number}.test"))).collect();
        let stop = &AtomicBool::new(false);
        let (names, stay, changing) = (&names, &stay, &changing);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    let mut rounds = [0; 200];
                    while !stop.load(Ordering::Relaxed) {
                        let guard = &crossbeam_epoch::pin();
                        assert!(stay.iter().all(|stays| names.find(&stays.key(), guard).is_some()));
                        for (number, wanted) in changing.iter().enumerate() {
                            let Some(held) = names.find(&wanted.key(), guard) else { continue };
                            let round = u16::from_be_bytes([held.values()[0], held.values()[1]]);
                            assert_eq!((held.name(), held.values()), (wanted.as_wire(), &value(number, round)[..]));
                            assert!(round >= rounds[number], "{round} after {}", rounds[number]);
                            rounds[number] = round;
                        }
                    }
                });
            }
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let guard = &crossbeam_epoch::pin();
                    let stays = names.iter(guard).filter(|held| held.name()[1..].starts_with(b"stays")).count();
                    assert_eq!(stays, stay.len());
                }
            });
            for round in 0..ROUNDS {
                for (number, wanted) in changing.iter().enumerate() {
                    let gone = (usize::from(round) + number) % 3 == 0;
                    let values = if gone { Vec::new() } else { value(number, round) };
                    names.set(wanted, |_| {}, Some(&values));
                }
                names.set(&name(&format!("more{round}.test")), |state| state.registered = true, None);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
