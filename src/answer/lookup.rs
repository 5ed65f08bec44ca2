//! Finds what a zone says about a name: RFC 1034 section 4.3.2 with the wildcards of RFC 4592, over the static zones
//! and the TXT values together.

use crate::zone::{Existing, Key, Name, Node, RrSet, Timestamp, View, Zone, Zones, rtype};

/// What there is at a name.
#[derive(Debug)]
pub enum Found<'a> {
    /// The name lies in no zone of this server.
    OutOfZone,
    /// At or below a cut: the NS RRset there (RFC 1034 section 4.2.1).
    Referral {
        zone: &'a Zone,
        cut: &'a Name,
        nameservers: &'a RrSet,
    },
    Cname {
        zone: &'a Zone,
        cname: &'a RrSet,
    },
    RrSet {
        zone: &'a Zone,
        rrset: &'a RrSet,
    },
    /// Values of the live map, and what the zone file has of TXT at the same name.
    Txt {
        values: Existing<'a>,
        rrset: Option<&'a RrSet>,
    },
    /// The name has records, and the question was for all of them (RFC 8482).
    Any,
    /// The name exists without such records.
    NoData {
        zone: &'a Zone,
    },
    NxDomain {
        zone: &'a Zone,
    },
}

/// Looks up a name and type at the moment `now`.
pub fn lookup<'a>(view: &'a View<'_>, key: &Key<'_>, qtype: u16, now: Timestamp) -> Found<'a> {
    let Some(zone) = authority(view.zones(), key, qtype) else { return Found::OutOfZone };
    if let Some((cut, nameservers)) = zone.cut_above(key.name()) {
        // The DS RRset is the parent's (RFC 4035 section 3.1.4.1).
        if qtype != rtype::DS || cut.as_wire() != key.name() {
            return Found::Referral { zone, cut, nameservers };
        }
    }
    let node = zone.node(key);
    let existing = match zone.target() {
        // the apex of a shadow zone
        Some(target) if key.name() == zone.origin().as_wire() => view.existing(&target.key()),
        _ => view.existing(key),
    };
    match (node, existing) {
        (None, None) => match wildcard(zone, view, key) {
            Some(node) => at_node(zone, node, None, qtype, now),
            None => Found::NxDomain { zone },
        },
        (Some(node), existing) => at_node(zone, node, existing, qtype, now),
        (None, existing) => at_node(zone, &EMPTY, existing, qtype, now),
    }
}

static EMPTY: Node = Node { rrsets: Vec::new() };

/// The zone that answers: the one with the longest origin; for the DS RRset of an origin the parent, if it is here too
/// and delegates.
fn authority<'a>(zones: &'a Zones, key: &Key<'_>, qtype: u16) -> Option<&'a Zone> {
    let zone = zones.find(key.name())?;
    if qtype == rtype::DS
        && zone.origin().as_wire() == key.name()
        && let Some(parent) = key.parent().and_then(|above| zones.find(above.name()))
        && parent.cut_above(key.name()).is_some()
    {
        return Some(parent);
    }
    Some(zone)
}

fn at_node<'a>(
    zone: &'a Zone,
    node: &'a Node,
    existing: Option<Existing<'a>>,
    qtype: u16,
    now: Timestamp,
) -> Found<'a> {
    let values = existing.filter(|existing| existing.live(now).next().is_some());
    match qtype {
        // RFC 8482 section 4.2: nothing is made up where there is a CNAME.
        rtype::ANY if values.is_some() || !node.rrsets.is_empty() => {
            return node.rrset(rtype::CNAME).map_or(Found::Any, |rrset| Found::RrSet { zone, rrset });
        }
        rtype::TXT => {
            if let Some(values) = values {
                return Found::Txt { values, rrset: node.rrset(rtype::TXT) };
            }
        }
        _ => {}
    }
    if let Some(rrset) = node.rrset(qtype) {
        return Found::RrSet { zone, rrset };
    }
    match node.rrset(rtype::CNAME) {
        Some(cname) => Found::Cname { zone, cname },
        None => Found::NoData { zone },
    }
}

/// The source of synthesis: `*.<closest encloser>`, if that name exists (RFC 4592 section 3.3.1).
///
/// Looked for from the origin down: above a name that exists all names exist (RFC 4592 section 2.2.2), so a stranger's
/// hundred labels cost no more than one.
fn wildcard<'a>(zone: &'a Zone, view: &View<'_>, key: &Key<'_>) -> Option<&'a Node> {
    let (name, origin) = (key.name(), zone.origin().as_wire());
    let mut starts = [0u8; crate::zone::MAX_NAME / 2];
    let mut count = 0;
    let mut at = 0;
    while name.len() - at > origin.len() {
        *starts.get_mut(count)? = at as u8; // at most 254
        count += 1;
        at += 1 + usize::from(*name.get(at)?);
    }
    let exists = |key: &Key<'_>| zone.node(key).is_some() || view.existing(key).is_some();
    // The name itself, which is first, is known not to exist.
    let below = starts.get(1..count)?.iter().rev().map(|start| &name[usize::from(*start)..]);
    let encloser = below.take_while(|name| exists(&Key::new(name))).last().unwrap_or(origin);
    let mut source = [0u8; crate::zone::MAX_NAME];
    source[..2].copy_from_slice(b"\x01*");
    source.get_mut(2..2 + encloser.len())?.copy_from_slice(encloser);
    zone.node(&Key::new(&source[..2 + encloser.len()]))
}
