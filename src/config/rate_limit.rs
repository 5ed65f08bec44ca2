//! `[dns.rate_limit]`.

use super::RateLimit;
use super::read::{At, Complaint, Reader, Table, values};
use super::value::network;

/// More than one network can be sent: a limit that is never reached.
const MAX_RATE: i64 = 1_000_000;

pub(super) fn rate_limit(dns: &mut Table, reader: &mut Reader) -> RateLimit {
    let mut limit = RateLimit::default();
    let Some(mut table) = dns.table("rate_limit", "[dns.rate_limit]", reader) else { return limit };
    let rate = between(&mut table, "answers_per_second", 0, MAX_RATE, reader);
    limit.answers_per_second = rate.unwrap_or(limit.answers_per_second);
    limit.ipv4_prefix = between(&mut table, "ipv4_prefix", 8, 32, reader).unwrap_or(limit.ipv4_prefix);
    limit.ipv6_prefix = between(&mut table, "ipv6_prefix", 16, 128, reader).unwrap_or(limit.ipv6_prefix);
    if let Some(exempt) = table.strings("exempt", reader, network) {
        reader.distinct(&exempt.items, |network| format!("the network {network}"));
        limit.exempt = values(&exempt.items);
    }
    limit.dry_run = table.boolean("dry_run", reader).map_or(limit.dry_run, |at| at.value);
    table.finish(reader);
    limit
}

/// A whole number between two, both included.
fn between<T: TryFrom<i64>>(
    table: &mut Table,
    key: &'static str,
    least: i64,
    most: i64,
    reader: &mut Reader,
) -> Option<T> {
    let At { value, span } = table.integer(key, reader)?;
    if !(least..=most).contains(&value) {
        reader.refuse(&span, Complaint::new(format!("`{key}` is from {least} to {most}, not {value}")));
        return None;
    }
    T::try_from(value).ok()
}
