//! A name to be looked for, with its hash: made once, good for every table.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use foldhash::fast::RandomState;

/// One key for all tables of the process, drawn at its start, so that names that collide cannot be prepared. It need not
/// be better than that: strangers only ask, and put no name into any table.
static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A name in lower-case wire form and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    name: &'a [u8],
    hash: u64,
}

impl<'a> Key<'a> {
    /// `name` in lower-case wire form.
    pub fn new(name: &'a [u8]) -> Key<'a> {
        let mut hasher = HASH.build_hasher();
        hasher.write(name);
        Key { name, hash: hasher.finish() }
    }

    /// Lower-case wire form.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Key<'a>> {
        match *self.name.first()? {
            0 => None,
            len => self.name.get(1 + usize::from(len)..).map(Key::new),
        }
    }
}

/// Which lengths the names of a table have, in octets: a name of any other length is not there, and nothing has to be
/// looked up, nor hashed, to know it.
#[derive(Clone, Debug, Default)]
pub(super) struct Lengths([u64; 4]);

impl Lengths {
    pub fn insert(&mut self, name: &[u8]) {
        if let Some(bits) = self.0.get_mut(name.len() / 64) {
            *bits |= 1 << (name.len() % 64);
        }
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.0.get(name.len() / 64).is_some_and(|bits| bits >> (name.len() % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_of_a_name_is_known_by_itself() {
        let names: Vec<_> = (1..=255).map(|len| vec![0; len]).collect();
        for one in &names {
            let mut lengths = Lengths::default();
            lengths.insert(one);
            assert!(names.iter().all(|other| lengths.contains(other) == (other.len() == one.len())));
        }
    }

    #[test]
    fn a_key_is_that_of_the_octets() {
        let (one, other) = (Key::new(b"\x01a\x01b\0"), Key::new(b"\x01b\0"));
        assert_ne!(one.hash(), other.hash());
        assert_eq!((one.parent().unwrap().hash(), one.parent().unwrap().name()), (other.hash(), other.name()));
        assert!(Key::new(b"\0").parent().is_none() && Key::new(b"").parent().is_none());
    }
}
