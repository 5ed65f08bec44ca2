//! `[dns.rate_limit]` and `[api.rate_limit]`.

use ipnet::IpNet;

use super::read::{Reader, Table, values};
use super::value::network;
use super::{ApiRateLimit, RateLimit};

/// More than one network can be sent: a limit that is never reached.
const MAX_RATE: i64 = 1_000_000;

pub(super) fn rate_limit(dns: &mut Table, reader: &mut Reader) -> RateLimit {
    let mut limit = RateLimit::default();
    let Some(mut table) = dns.table("rate_limit", "[dns.rate_limit]", reader) else { return limit };
    let rate = table.between("answers_per_second", 0, MAX_RATE, reader);
    limit.answers_per_second = rate.unwrap_or(limit.answers_per_second);
    limit.ipv4_prefix = table.between("ipv4_prefix", 8, 32, reader).unwrap_or(limit.ipv4_prefix);
    limit.ipv6_prefix = table.between("ipv6_prefix", 16, 128, reader).unwrap_or(limit.ipv6_prefix);
    limit.exempt = exempt(&mut table, reader).unwrap_or(limit.exempt);
    limit.dry_run = table.boolean("dry_run", reader).map_or(limit.dry_run, |at| at.value);
    table.finish(reader);
    limit
}

pub(super) fn api_rate_limit(api: &mut Table, reader: &mut Reader) -> ApiRateLimit {
    let mut limit = ApiRateLimit::default();
    let Some(mut table) = api.table("rate_limit", "[api.rate_limit]", reader) else { return limit };
    let numbers = [
        ("requests_per_second", 0, &mut limit.requests_per_second),
        ("burst", 1, &mut limit.burst),
        ("account_updates_per_second", 0, &mut limit.account_updates_per_second),
        ("account_burst", 1, &mut limit.account_burst),
        ("registrations_per_minute", 0, &mut limit.registrations_per_minute),
    ];
    for (key, least, number) in numbers {
        *number = table.between(key, least, MAX_RATE, reader).unwrap_or(*number);
    }
    limit.exempt = exempt(&mut table, reader).unwrap_or(limit.exempt);
    table.finish(reader);
    limit
}

fn exempt(table: &mut Table, reader: &mut Reader) -> Option<Vec<IpNet>> {
    let exempt = table.strings("exempt", reader, network)?;
    reader.distinct(&exempt.items, |network| format!("the network {network}"));
    Some(values(&exempt.items))
}
