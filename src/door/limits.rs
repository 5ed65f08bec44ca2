//! How much one source and one account may ask of the API.
//!
//! Each has a bucket of its own, which fills with time (GCRA, as `governor` keeps it). A source is an IPv4 address or an
//! IPv6 /64. An account is counted only once its credentials have been found good: a stranger who knows its name must
//! not be able to use its bucket up.
//!
//! A table holds [`KEYS`] buckets and no more, about 3 MB. A bucket that is full again is nobody's: it is swept out every
//! minute, and at once, but not more than once a second, when the table is full. As long as that makes no room, all
//! newcomers share one bucket, and whoever has one of their own keeps it.

use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use uuid::Uuid;

use super::guard::refused;
use crate::config::ApiRateLimit;

/// Most buckets in a table; threads that come at the same moment may each add one more.
const KEYS: usize = 65_536;
/// Shortest time between two sweeps of a table that is full.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);
/// Shortest time between two lines in the log.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// The limits of the API, counted together for all its doors. A handler takes them as an argument. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Tables>);

struct Tables {
    requests: Option<Table<u128, MonotonicClock>>,
    registrations: Option<Table<u128, MonotonicClock>>,
    accounts: Option<Table<Uuid, MonotonicClock>>,
    exempt: Vec<IpNet>,
    lines: DefaultDirectRateLimiter,
    /// Requests that were limited since the last line.
    limited: AtomicU64,
}

/// Too much was asked: whole seconds after which to try again, at least 1. Answered with 429 (RFC 6585 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub u64);

impl Limits {
    pub fn new(limit: &ApiRateLimit) -> Limits {
        fn table<K: Hash + Eq + Clone>(
            quota: fn(NonZeroU32) -> Quota,
            rate: u32,
            burst: u32,
        ) -> Option<Table<K, MonotonicClock>> {
            let quota = quota(NonZeroU32::new(rate)?).allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN));
            Some(Table::new(quota, MonotonicClock, KEYS))
        }
        let per_minute = limit.registrations_per_minute;
        // Its bucket holds one line: the period is not 0.
        let lines = Quota::with_period(LINE_EVERY).unwrap_or(Quota::per_hour(NonZeroU32::MIN));
        Limits(Arc::new(Tables {
            requests: table(Quota::per_second, limit.requests_per_second, limit.burst),
            registrations: table(Quota::per_minute, per_minute, per_minute),
            accounts: table(Quota::per_second, limit.account_updates_per_second, limit.account_burst),
            exempt: limit.exempt.clone(),
            lines: RateLimiter::direct(lines),
            limited: AtomicU64::new(0),
        }))
    }

    /// Counts a request of whatever kind.
    pub(super) fn request(&self, client: IpAddr) -> Result<(), RetryAfter> {
        self.count(&self.0.requests, source(client), client, "requests of a source")
    }

    /// Counts an attempt to register.
    pub fn registration(&self, client: IpAddr) -> Result<(), RetryAfter> {
        self.count(&self.0.registrations, source(client), client, "registrations of a source")
    }

    /// Counts an update of an account, when its credentials have been found good.
    pub fn account(&self, username: Uuid, client: IpAddr) -> Result<(), RetryAfter> {
        self.count(&self.0.accounts, username, client, "updates of an account")
    }

    /// Takes out what need not be remembered, and gives its memory back.
    pub fn sweep(&self) {
        let Tables { requests, registrations, accounts, .. } = &*self.0;
        requests.iter().chain(registrations).for_each(Table::sweep);
        accounts.iter().for_each(Table::sweep);
        let limited = self.0.limited.swap(0, Relaxed);
        if limited > 0 {
            tracing::warn!(limited, "rate limit of the API: answered with 429 since the last line");
        }
    }

    fn count<K: Hash + Eq + Clone>(
        &self,
        table: &Option<Table<K, MonotonicClock>>,
        key: K,
        client: IpAddr,
        what: &str,
    ) -> Result<(), RetryAfter> {
        let Some(table) = table else { return Ok(()) };
        if self.0.exempt.iter().any(|network| network.contains(&client.to_canonical())) {
            return Ok(());
        }
        table.count(&key).inspect_err(|_| {
            self.0.limited.fetch_add(1, Relaxed);
            if self.0.lines.check().is_ok() {
                let limited = self.0.limited.swap(0, Relaxed);
                tracing::warn!(limited, last = %client, "rate limit of the API: answered with 429, the last for {what}");
            }
        })
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limits")
    }
}

impl<S: Sync> FromRequestParts<S> for Limits {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Limits, Response> {
        let internal = || refused(StatusCode::INTERNAL_SERVER_ERROR, "internal");
        parts.extensions.get().cloned().ok_or_else(internal)
    }
}

impl IntoResponse for RetryAfter {
    fn into_response(self) -> Response {
        let mut response = refused(StatusCode::TOO_MANY_REQUESTS, "rate_limited");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(self.0));
        response
    }
}

/// What is counted together: an IPv4 address, or an IPv6 /64, of which one host can have every address.
fn source(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

/// The buckets of one limit.
struct Table<K: Hash + Eq + Clone, C: Clock + Clone> {
    limiter: RateLimiter<K, Bounded<K>, C, NoOpMiddleware<C::Instant>>,
    /// One sweep a second, if it is full.
    sweeps: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    full: Arc<AtomicBool>,
}

impl<K: Hash + Eq + Clone, C: Clock + Clone> Table<K, C> {
    fn new(quota: Quota, clock: C, most: usize) -> Table<K, C> {
        let full = Arc::new(AtomicBool::new(false));
        let store = Bounded {
            known: DashMapStateStore::default(),
            newcomers: InMemoryState::default(),
            most,
            full: full.clone(),
        };
        let again = Quota::with_period(SWEEP_AGAIN).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        Table {
            limiter: RateLimiter::new(quota, store, clock.clone()),
            sweeps: RateLimiter::direct_with_clock(again, clock.clone()),
            clock,
            full,
        }
    }

    fn count(&self, key: &K) -> Result<(), RetryAfter> {
        let counted = self.limiter.check_key(key);
        if self.full.load(Relaxed) && self.sweeps.check().is_ok() {
            self.sweep();
        }
        counted.map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            RetryAfter((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
        })
    }

    fn sweep(&self) {
        self.full.store(false, Relaxed);
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// A table that does not grow beyond its bound.
struct Bounded<K> {
    known: DashMapStateStore<K>,
    /// The bucket of all who find the table full.
    newcomers: InMemoryState,
    most: usize,
    /// Somebody found it full.
    full: Arc<AtomicBool>,
}

impl<K: Hash + Eq + Clone> StateStore for Bounded<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if self.known.len() < self.most || self.known.contains_key(key) {
            return self.known.measure_and_replace(key, f);
        }
        self.full.store(true, Relaxed);
        self.newcomers.measure_and_replace(&NotKeyed::NonKey, f)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Bounded<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.known.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        self.known.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.known.len()
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn quota(per_second: u32, burst: u32) -> Quota {
        Quota::per_second(NonZeroU32::new(per_second).unwrap()).allow_burst(NonZeroU32::new(burst).unwrap())
    }

    fn table(quota: Quota, most: usize) -> (Table<u128, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Table::new(quota, clock.clone(), most), clock)
    }

    /// How many more are let through.
    fn left(table: &Table<u128, FakeRelativeClock>, key: u128) -> usize {
        (0..1000).take_while(|_| table.count(&key).is_ok()).count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (table, clock) = table(quota(20, 200), KEYS);
        assert_eq!((left(&table, 1), left(&table, 2)), (200, 200));
        clock.advance(Duration::from_secs(2));
        assert_eq!((left(&table, 1), left(&table, 3)), (40, 200));
        clock.advance(Duration::from_secs(3600));
        assert_eq!(left(&table, 1), 200);
    }

    #[test]
    fn retry_after_is_in_whole_seconds_rounded_up_and_at_least_1() {
        let (fast, _) = table(quota(1000, 1), KEYS);
        assert_eq!((fast.count(&1), fast.count(&1)), (Ok(()), Err(RetryAfter(1))));
        let ten_a_minute = Quota::per_minute(NonZeroU32::new(10).unwrap());
        let (slow, clock) = table(ten_a_minute, KEYS);
        assert_eq!((left(&slow, 1), slow.count(&1)), (10, Err(RetryAfter(6))));
        clock.advance(Duration::from_millis(900));
        assert_eq!(slow.count(&1), Err(RetryAfter(6)), "5.1 seconds");
        clock.advance(Duration::from_millis(100));
        assert_eq!(slow.count(&1), Err(RetryAfter(5)));
        clock.advance(Duration::from_secs(5));
        assert_eq!((slow.count(&1), slow.count(&1)), (Ok(()), Err(RetryAfter(6))));
    }

    #[test]
    fn a_table_stays_within_its_bound_and_newcomers_share_one_bucket() {
        let (table, clock) = table(quota(1, 10), 1000);
        for known in 0..1000 {
            assert_eq!(left(&table, known), 10);
        }
        let newcomers = (1000..20_000).filter(|newcomer| table.count(newcomer).is_ok()).count();
        assert_eq!((newcomers, table.limiter.len()), (10, 1000));
        clock.advance(Duration::from_secs(3));
        assert_eq!(left(&table, 7), 3, "who is known keeps a bucket");
        assert_eq!(table.limiter.len(), 1000);
        clock.advance(Duration::from_secs(60));
        assert_eq!((table.count(&5_000), table.limiter.len()), (Ok(()), 0), "who finds the table full has it swept");
        assert_eq!((left(&table, 5_000), left(&table, 5_001), table.limiter.len()), (10, 10, 2));
    }

    #[test]
    fn idle_buckets_are_swept() {
        let (table, clock) = table(quota(20, 200), KEYS);
        (0..50_000).for_each(|key| assert_eq!(table.count(&key), Ok(())));
        clock.advance(Duration::from_secs(1));
        assert_eq!(left(&table, 7), 200);
        table.sweep();
        assert_eq!(table.limiter.len(), 1);
        assert_eq!(left(&table, 7), 0, "what is not full is kept");
    }

    #[test]
    fn sources_are_ipv4_addresses_and_ipv6_64s() {
        let source = |text: &str| source(text.parse().unwrap());
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(source("0.0.0.1"), source("::"));
    }

    #[test]
    fn exempt_clients_and_zero_rates_have_no_limit() {
        let count = |limit: &ApiRateLimit, client: &str| {
            let (limits, client) = (Limits::new(limit), client.parse().unwrap());
            let passed = |count: &dyn Fn() -> bool| (0..500).take_while(|_| count()).count();
            [
                passed(&|| limits.request(client).is_ok()),
                passed(&|| limits.registration(client).is_ok()),
                passed(&|| limits.account(Uuid::nil(), client).is_ok()),
            ]
        };
        let limit = ApiRateLimit { burst: 7, account_burst: 9, ..ApiRateLimit::default() };
        assert_eq!(count(&limit, "192.0.2.1"), [7, 10, 9]);
        for exempt in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(count(&limit, exempt), [500; 3], "{exempt}");
        }
        let off = ApiRateLimit {
            requests_per_second: 0,
            account_updates_per_second: 0,
            registrations_per_minute: 0,
            ..limit
        };
        assert_eq!(count(&off, "192.0.2.1"), [500; 3]);
    }
}
