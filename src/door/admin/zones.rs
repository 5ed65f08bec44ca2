//! `/v1/zones`: what the zone files say and how much lives in them.

use axum::Json;
use axum::extract::State;

use super::failure::{Failure, Segment};
use super::{AdminState, txt};
use crate::api;
use crate::api::DomainName;
use crate::config::{ZoneConfig, ZoneSource};
use crate::store::Writer;
use crate::zone::master::RecordLine;
use crate::zone::{Live, Name, Zone, rtype};

/// Where a served zone comes from.
#[derive(Clone, Debug)]
pub struct ZoneFacts {
    pub origin: Name,
    pub source: ZoneSource,
    /// Whether labels are registered here.
    pub registration: bool,
}

impl ZoneFacts {
    /// `registration_zone` is `zone` of [`config::Api`](crate::config::Api).
    pub fn new(config: &ZoneConfig, registration_zone: Option<&Name>) -> ZoneFacts {
        let origin = config.zone.origin().clone();
        let registration = registration_zone == Some(&origin);
        ZoneFacts { origin, source: config.source.clone(), registration }
    }
}

/// All zones, in the order of the configuration.
#[utoipa::path(
    get, path = "/v1/zones", tag = "zones", operation_id = "list_zones",
    responses((status = 200, description = "The zones.", body = Vec<api::Zone>)),
    security(("administrator" = [])),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Json<Vec<api::Zone>> {
    let live = state.writer.live();
    let holders = holders(live);
    Json(state.facts.zones.iter().filter_map(|facts| described(&state.writer, facts, &holders)).collect())
}

/// One zone with its records.
#[utoipa::path(
    get, path = "/v1/zones/{origin}", tag = "zones", operation_id = "show_zone",
    params(("origin" = DomainName, Path, description = "Where the zone begins.")),
    responses((status = 200, description = "The zone.", body = api::Zone)),
    security(("administrator" = [])),
)]
pub(super) async fn show(
    State(state): State<AdminState>,
    Segment(origin): Segment,
) -> Result<Json<api::Zone>, Failure> {
    let unknown = || Failure::not_found(format!("`{origin}` is no zone of this server"));
    let name = Name::parse(&origin).map_err(|_| unknown())?;
    let facts = state.facts.zones.iter().find(|facts| facts.origin == name).ok_or_else(unknown)?;
    let live = state.writer.live();
    let mut answer = described(&state.writer, facts, &holders(live)).ok_or_else(unknown)?;
    answer.records = live.zones().get(&name).map(|zone| records(zone)).unwrap_or_default();
    Ok(Json(answer))
}

/// For every name with values the origin of its zone.
fn holders(live: &Live) -> Vec<Name> {
    let zones = live.zones();
    let zone_of = |name: &Name| zones.find(name.as_wire()).map(|zone| zone.origin().clone());
    txt::served(live).iter().filter_map(|holder| zone_of(&holder.name)).collect()
}

fn described(writer: &Writer, facts: &ZoneFacts, holders: &[Name]) -> Option<api::Zone> {
    let live = writer.live();
    let zones = live.zones();
    let zone = zones.get(&facts.origin)?;
    let apex = zone.node(&zone.origin().key());
    let nameservers = apex.and_then(|node| node.rrset(rtype::NS)).map(|set| set.rdata.as_slice()).unwrap_or_default();
    Some(api::Zone {
        origin: facts.origin.clone(),
        file: match &facts.source {
            ZoneSource::File(path) => Some(path.display().to_string()),
            ZoneSource::Nameservers(_) => None,
        },
        serial: zone.soa().serial().wrapping_add(live.revision()),
        nameservers: nameservers.iter().filter_map(|name| Some(Name::from_wire(name).ok()?.to_string())).collect(),
        static_names: zone.nodes().filter(|(_, node)| !node.rrsets.is_empty()).count(),
        names_with_values: holders.iter().filter(|origin| **origin == facts.origin).count(),
        registration: facts.registration,
        records: Vec::new(),
    })
}

/// All static records: the apex first, its SOA at the top, then name by name from the root down (RFC 4034 section 6.1).
fn records(zone: &Zone) -> Vec<String> {
    let mut nodes: Vec<_> = zone.nodes().collect();
    nodes.sort_by_cached_key(|(owner, _)| {
        let mut labels: Vec<Vec<u8>> = owner.labels().map(<[u8]>::to_vec).collect();
        labels.reverse();
        labels
    });
    let mut lines = Vec::new();
    for (owner, node) in nodes {
        let mut sets: Vec<_> = node.rrsets.iter().collect();
        sets.sort_by_key(|set| (set.rtype != rtype::SOA, set.rtype));
        for set in sets {
            let line = |rdata| RecordLine { owner, ttl: set.ttl, rtype: set.rtype, rdata }.to_string();
            lines.extend(set.rdata.iter().map(|rdata| line(rdata)));
        }
    }
    lines
}
