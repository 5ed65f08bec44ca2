//! `Update` is what a door asks for; `Change` is what was decided and committed.

use super::{Name, TxtSet, TxtValue};

/// One edit of the TXT set of one name, as a door asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Any spelling of the name: `_acme-challenge.<label>.<zone>` is `<label>.<zone>`.
    pub name: Name,
    pub edit: Edit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Adds a value, or refreshes it if it is there.
    Add(TxtValue),
    /// Removes a value; no error if it is not there.
    Remove(TxtValue),
    /// Removes the values that were last put in so many seconds ago or longer.
    RemoveOlder(u64),
    /// Removes all values and puts these in their place.
    Replace(Vec<TxtValue>),
}

/// A decided, committed change of what the DNS serves. Only the writer makes them, only `Live` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The name exists from now on, with or without values.
    Registered { name: Name },
    /// The name exists no more and its values are gone.
    Retired { name: Name },
    /// The name has exactly this set.
    Txt { name: Name, set: TxtSet },
    /// `name`, a challenge name outside our zones, is served as a zone of its own with the values of `target`.
    Aliased { name: Name, target: Name },
    /// And is so no more.
    Unaliased { name: Name },
    /// The account may have certificates of the CA with this CAA identity for names in the zone.
    Permitted { origin: Name, identity: String, account: String },
    /// And may so no more, in any zone.
    Forbidden { account: String },
}
