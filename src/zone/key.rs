//! A name to be looked for, with its hash: made once, good for every table.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use foldhash::fast::RandomState;

/// One key for all tables of the process, drawn at its start: a stranger cannot make names that collide.
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
