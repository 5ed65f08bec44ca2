//! What there is at the moment of a decision, as the writer's thread sees it.

use std::sync::Arc;

use arc_swap::Guard;

use super::{Records, StoreError};
use crate::zone::{Live, Name, Timestamp, TxtSet, Zones};

/// The zones, and the values as they are after everything that was decided before: nothing can come between what is
/// read here and what is then written.
pub struct State<'a> {
    pub(super) records: &'a mut dyn Records,
    pub(super) live: &'a Live,
    pub(super) now: Timestamp,
}

impl State<'_> {
    /// The values that are served at a name.
    pub fn values(&mut self, name: &Name) -> Result<TxtSet, StoreError> {
        // What no value can be put at has none.
        let Ok(name) = self.live.challenge_name(name) else { return Ok(TxtSet::default()) };
        let mut set = self.records.txt(&name)?;
        set.expire(self.now);
        Ok(set)
    }

    /// The name under which values for this one are kept; the same if none can be put there.
    pub fn kept_at(&self, name: &Name) -> Name {
        self.live.challenge_name(name).unwrap_or_else(|_| name.clone())
    }

    pub fn zones(&self) -> Guard<Arc<Zones>> {
        self.live.zones()
    }

    /// See [`Live::revision`]; what was decided before in the same commit counts.
    pub fn revision(&mut self) -> u32 {
        self.live.revision().wrapping_add(u32::from(self.records.is_changed()))
    }
}
