//! The keys that count at this moment: those of the configuration, and those that were made while the server ran.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::TsigKey;
use crate::zone::Name;

/// Keys by their names.
#[derive(Clone, Default)]
pub struct Keys(HashMap<Box<[u8]>, Arc<TsigKey>>);

impl Keys {
    pub fn new(keys: impl IntoIterator<Item = TsigKey>) -> Keys {
        Keys(keys.into_iter().map(|key| (key.name.as_wire().into(), Arc::new(key))).collect())
    }

    /// The key of a name in uncompressed wire form, in any letter case.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<TsigKey>> {
        self.0.get(&*name.to_ascii_lowercase()) // a length octet is no letter
    }

    pub fn get(&self, name: &Name) -> Option<&Arc<TsigKey>> {
        self.0.get(name.as_wire())
    }

    /// In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TsigKey>> {
        self.0.values()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|key| &key.name)).finish()
    }
}

/// Who may sign now. Read by every signed message; changed by the store's writer alone, after the commit.
#[derive(Debug)]
pub struct KeyRing {
    configured: Keys,
    all: ArcSwap<Keys>,
}

impl KeyRing {
    pub fn new(configured: impl IntoIterator<Item = TsigKey>) -> KeyRing {
        let configured = Keys::new(configured);
        KeyRing { all: ArcSwap::from_pointee(configured.clone()), configured }
    }

    /// All keys of this moment.
    pub fn keys(&self) -> Guard<Arc<Keys>> {
        self.all.load()
    }

    /// Whether the configuration has a key of this name.
    pub fn is_configured(&self, name: &Name) -> bool {
        self.configured.get(name).is_some()
    }

    /// Those of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = &Arc<TsigKey>> {
        self.configured.iter()
    }

    /// Whether this very key is still to be believed: a message may wait while its key is revoked.
    pub fn holds(&self, key: &Arc<TsigKey>) -> bool {
        self.keys().get(&key.name).is_some_and(|held| Arc::ptr_eq(held, key))
    }

    /// Takes keys in. One that the configuration has by the same name stays as it is there.
    pub fn add(&self, keys: impl IntoIterator<Item = TsigKey>) {
        let mut all = Keys::clone(&self.keys());
        let new = keys.into_iter().filter(|key| !self.is_configured(&key.name));
        all.0.extend(new.map(|key| (key.name.as_wire().into(), Arc::new(key))));
        self.all.store(Arc::new(all));
    }

    /// Takes a key out. It is not found from now on, unless it is the configuration's.
    pub fn remove(&self, name: &Name) {
        if self.is_configured(name) {
            return;
        }
        let mut all = Keys::clone(&self.keys());
        all.0.remove(name.as_wire());
        self.all.store(Arc::new(all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Replace, TsigAlgorithm, TsigSecret};

    fn key(name: &str, algorithm: TsigAlgorithm) -> TsigKey {
        let secret = TsigSecret::new(Default::default());
        TsigKey { name: Name::parse(name).unwrap(), algorithm, secret, grants: Vec::new(), replace: Replace::Rfc }
    }

    #[test]
    fn keys_come_and_go_and_those_of_the_configuration_stay() {
        let [one, two] = ["one.test", "two.test"].map(|name| Name::parse(name).unwrap());
        let ring = KeyRing::new([key("one.test", TsigAlgorithm::HmacSha256)]);
        ring.add([key("one.test", TsigAlgorithm::HmacSha1), key("Two.test", TsigAlgorithm::HmacSha512)]);
        assert_eq!(ring.keys().get(&one).unwrap().algorithm, TsigAlgorithm::HmacSha256);
        let held = ring.keys().find(b"\x03TWO\x04test\0").unwrap().clone();
        assert!(ring.holds(&held));
        ring.remove(&one);
        ring.remove(&two);
        assert!(!ring.holds(&held) && ring.keys().get(&two).is_none() && ring.keys().get(&one).is_some());
        ring.add([key("two.test", TsigAlgorithm::HmacSha512)]);
        assert!(!ring.holds(&held), "another key of the same name");
    }
}
