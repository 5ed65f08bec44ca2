//! Dynamic updates (RFC 2136), signed with keys of the configuration: what stock certbot, lego, nsupdate and knsupdate
//! send.
//!
//! Everything is decided inside the writer's transaction, by what there is then, in the order of RFC 2136 section 3:
//! zone, prerequisites, the form of the updates, permission, and only then the first change. NOERROR means that all of
//! it is committed and served.
//!
//! Deviations, each on purpose:
//! - TXT records alone can be changed. Deleting all RRsets of a name deletes its TXT values; SOA, NS and what a zone file
//!   holds stay. TTLs are those of the configuration.
//! - A key that deletes the TXT RRset of a name and adds one value to it, with no prerequisite and nothing else, does not
//!   delete values of the last ten minutes, unless its `replace` is `rfc`; see [`Replace`].
//! - A message that adds more than a name can hold is REFUSED; of what others put in, the oldest leave for new values.
//! - The name of a label and `_acme-challenge` below it are one RRset. A TXT record's value is compared with its
//!   character-strings joined.

mod message;

use std::collections::HashMap;
use std::sync::Arc;

use message::{Data, Entry, UpdateMessage, canonical_rdata};

use super::{Rcode, refusal};
use crate::account::{Replace, TsigKey};
use crate::store::{Actor, State, StoreError, UpdateError, Writer};
use crate::zone::{Edit, MAX_SET_OCTETS, MAX_VALUES, Name, TxtValue, Update, Zone, Zones, rtype};

const IN: u16 = 1;
/// RFC 2136 section 1.3.
const NONE: u16 = 254;
const ANY: u16 = 255;
/// See [`Replace::KeepRecent`]: longer than an order takes, shorter than any two renewals are apart. Seconds.
const RECENT: u64 = 600;

impl From<UpdateError> for Rcode {
    fn from(error: UpdateError) -> Rcode {
        refusal(&error).rcode
    }
}

impl From<StoreError> for Rcode {
    fn from(error: StoreError) -> Rcode {
        UpdateError::Store(error).into()
    }
}

/// Does what an UPDATE says, all of it or nothing. `packet` is the message without its signature; `by` says whose that
/// was, and where the update goes.
pub async fn update(by: Option<(&Writer, Arc<TsigKey>)>, packet: &[u8]) -> Rcode {
    let Ok(message) = UpdateMessage::read(packet) else { return Rcode::FormErr };
    // Whoever it is learns from the DNS what is there, and nothing here.
    let Some((writer, key)) = by else { return Rcode::Refused };
    let replace = key.replace;
    let zone = message.zone.clone();
    // Those of one order; who may change many names does not fill the log.
    let names: Vec<String> = message.updates.iter().map(|entry| entry.name.to_string()).take(4).collect();
    let done: Result<(), Rcode> =
        writer.update_if(Actor::TsigKey(key.clone()), move |state| decide(state, &message, replace)).await;
    match done {
        Ok(()) => {
            tracing::debug!(key = %key.name, %zone, ?names, "values changed by an UPDATE");
            Rcode::NoError
        }
        Err(rcode @ Rcode::Refused) => {
            tracing::warn!(key = %key.name, %zone, ?names, "UPDATE refused: not the key's names, or not only TXT records");
            rcode
        }
        Err(rcode) => {
            tracing::info!(key = %key.name, %zone, ?names, ?rcode, "UPDATE refused");
            rcode
        }
    }
}

fn decide(state: &mut State<'_>, message: &UpdateMessage, replace: Replace) -> Result<Vec<Update>, Rcode> {
    let zones = state.zones();
    let zone = zone_section(&zones, message)?;
    prerequisites(state, &zones, zone, &message.prerequisites)?;
    prescan(&zones, zone, &message.updates)?;
    let mut updates = Vec::with_capacity(message.updates.len());
    for entry in &message.updates {
        updates.push(Update { name: state.kept_at(&entry.name), edit: edit(entry)? });
    }
    if !fit(&updates) {
        return Err(Rcode::Refused);
    }
    if replace == Replace::KeepRecent && message.prerequisites.is_empty() && replaces(&message.updates) {
        updates[0].edit = Edit::RemoveOlder(RECENT);
    }
    Ok(updates)
}

/// RFC 2136 section 3.1.1.
fn zone_section<'z>(zones: &'z Zones, message: &UpdateMessage) -> Result<&'z Zone, Rcode> {
    if message.zone_type != rtype::SOA {
        return Err(Rcode::FormErr);
    }
    zones.get(&message.zone).map(|zone| &**zone).filter(|_| message.zone_class == IN).ok_or(Rcode::NotAuth)
}

/// Whether records of `name` are part of this zone, and not of one below it.
fn is_in_zone(zones: &Zones, zone: &Zone, name: &Name) -> bool {
    let nearest = zones.find(name.as_wire()).is_some_and(|found| found.origin() == zone.origin());
    nearest && zone.cut_above(name.as_wire()).is_none_or(|(cut, _)| cut == name)
}

/// RFC 2136 section 3.2.5.
fn prerequisites(state: &mut State<'_>, zones: &Zones, zone: &Zone, entries: &[Entry]) -> Result<(), Rcode> {
    let mut wanted: Vec<(&Name, u16, Vec<&Data>)> = Vec::new();
    for entry in entries {
        let Entry { name, rtype, class, ttl, data } = entry;
        if *ttl != 0 {
            return Err(Rcode::FormErr);
        }
        if !is_in_zone(zones, zone, name) {
            return Err(Rcode::NotZone);
        }
        match *class {
            ANY | NONE if *data != Data::None => return Err(Rcode::FormErr),
            ANY | NONE => {
                let exists = if *rtype == rtype::ANY {
                    name_is_in_use(state, zone, name)?
                } else {
                    !rrset(state, zone, name, *rtype)?.is_empty()
                };
                match (*class, exists, *rtype) {
                    (ANY, false, rtype::ANY) => return Err(Rcode::NxDomain),
                    (ANY, false, _) => return Err(Rcode::NxRrset),
                    (NONE, true, rtype::ANY) => return Err(Rcode::YxDomain),
                    (NONE, true, _) => return Err(Rcode::YxRrset),
                    _ => {}
                }
            }
            IN if is_meta(*rtype) || matches!(data, Data::Malformed | Data::None) => return Err(Rcode::FormErr),
            IN => match wanted.iter_mut().find(|(owner, of, _)| *owner == name && of == rtype) {
                Some((_, _, rdata)) => rdata.push(data),
                None => wanted.push((name, *rtype, vec![data])),
            },
            _ => return Err(Rcode::FormErr),
        }
    }
    for (name, rtype, wanted) in wanted {
        let held = rrset(state, zone, name, rtype)?;
        let same = held.iter().all(|data| wanted.contains(&data)) && wanted.iter().all(|data| held.contains(data));
        if !same {
            return Err(Rcode::NxRrset);
        }
    }
    Ok(())
}

/// Whether a record of any type is there; an empty non-terminal or a label without values is not in use (RFC 2136
/// section 2.4.4).
fn name_is_in_use(state: &mut State<'_>, zone: &Zone, name: &Name) -> Result<bool, Rcode> {
    let in_file = zone.node(&name.key()).is_some_and(|node| !node.rrsets.is_empty());
    Ok(in_file || !state.values(name)?.is_empty())
}

/// What the zone has of this type at this name; no alias is followed and no wildcard expanded.
fn rrset(state: &mut State<'_>, zone: &Zone, name: &Name, rtype: u16) -> Result<Vec<Data>, Rcode> {
    let node = zone.node(&name.key());
    let in_file = node.and_then(|node| node.rrset(rtype)).map_or(&[][..], |set| &set.rdata);
    if rtype == rtype::TXT {
        let in_file = in_file.iter().filter_map(|rdata| TxtValue::from_rdata(rdata));
        let values = state.values(name)?;
        return Ok(in_file.chain(values.held().iter().map(|held| held.value.clone())).map(Data::Txt).collect());
    }
    if rtype == rtype::SOA && !in_file.is_empty() {
        let soa = zone.soa().served_rdata(state.revision());
        return Ok(canonical_rdata(rtype, &soa).map(Data::Other).into_iter().collect());
    }
    Ok(in_file.iter().filter_map(|rdata| canonical_rdata(rtype, rdata)).map(Data::Other).collect())
}

/// RFC 2136 section 3.4.1.3.
fn prescan(zones: &Zones, zone: &Zone, entries: &[Entry]) -> Result<(), Rcode> {
    for Entry { name, rtype, class, ttl, data } in entries {
        if !is_in_zone(zones, zone, name) {
            return Err(Rcode::NotZone);
        }
        let meta = is_meta(*rtype);
        let good = match *class {
            IN => !meta && !matches!(data, Data::Malformed | Data::None),
            ANY => *ttl == 0 && *data == Data::None && (!meta || *rtype == rtype::ANY),
            NONE => *ttl == 0 && !meta && !matches!(data, Data::Malformed | Data::None),
            _ => false,
        };
        if !good {
            return Err(Rcode::FormErr);
        }
    }
    Ok(())
}

/// Types that no record of a zone has: QTYPEs and the like (RFC 6895 section 3.1).
fn is_meta(rtype: u16) -> bool {
    matches!(rtype, 0 | rtype::OPT | 128..=255)
}

/// What one entry asks for (RFC 2136 section 2.5), if it is TXT. The prescan has seen it.
fn edit(entry: &Entry) -> Result<Edit, Rcode> {
    match (entry.class, entry.rtype, &entry.data) {
        (IN, rtype::TXT, Data::Txt(value)) => Ok(Edit::Add(value.clone())),
        (NONE, rtype::TXT, Data::Txt(value)) => Ok(Edit::Remove(value.clone())),
        (ANY, rtype::TXT | rtype::ANY, _) => Ok(Edit::Replace(Vec::new())),
        _ => Err(Rcode::Refused),
    }
}

/// Whether no name gets more than it can hold: of what one message adds, nothing may be gone when it is done.
fn fit(updates: &[Update]) -> bool {
    let mut added: HashMap<&Name, Vec<&TxtValue>> = HashMap::new();
    updates.iter().all(|Update { name, edit }| {
        let values = added.entry(name).or_default();
        match edit {
            Edit::Add(value) if !values.contains(&value) => values.push(value),
            Edit::Remove(value) => values.retain(|held| *held != value),
            Edit::Replace(_) => values.clear(),
            _ => {}
        }
        values.len() <= MAX_VALUES && values.iter().map(|value| value.octets().len()).sum::<usize>() <= MAX_SET_OCTETS
    })
}

/// Whether this deletes the TXT RRset of a name, then adds one value to it, and does nothing else.
fn replaces(entries: &[Entry]) -> bool {
    let [delete, add] = entries else { return false };
    delete.name == add.name
        && (delete.class, delete.rtype) == (ANY, rtype::TXT)
        && (add.class, add.rtype) == (IN, rtype::TXT)
}
