//! The vocabulary of the DNS, pure: names, records, zones, TXT sets, and what is asked for and decided about them.

mod challenge;
mod denial;
mod key;
mod label;
mod live;
mod made;
pub mod master;
mod name;
mod names;
pub mod record;
mod txt;
mod update;
#[expect(clippy::module_inception, reason = "a zone is what this room is about")]
mod zone;

pub use challenge::{ACME_CHALLENGE, VALIDATION_PERSIST, proven_domain};
pub use denial::Denial;
pub use key::Key;
pub use label::{Label, LabelError};
pub use live::{Live, NotAChallengeName, View, Zones};
pub use name::{MAX_NAME, Name, NameError, wire_len};
pub use names::Existing;
pub use record::{Located, Place, Record, ZoneProblem, rtype};
pub use txt::{
    Held, MAX_SET_OCTETS, MAX_VALUE_OCTETS, MAX_VALUES, Timestamp, TxtSet, TxtValue, TxtValueError, ValueTooLong,
};
pub use update::{Change, Edit, Update};
pub use zone::{Node, RrSet, Soa, Zone};
