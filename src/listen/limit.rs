//! Response rate limiting: how many answers over UDP a network gets, so that somebody who forges its addresses cannot
//! have us flood it.
//!
//! Never by name: a stranger could otherwise use up what a CA is to get. A limited answer is an empty TC, never
//! silence, so who really asks comes back over TCP, where addresses cannot be forged; a valid cookie passes by.
//!
//! Each network has a bucket that fills with time (as GCRA keeps it: one number, the moment at which the bucket will be
//! full again). The table never grows. A network has a set of four buckets to be found in, one cache line; a new one
//! takes the place of the one that is nearest to full, so a network that is being limited keeps its bucket whatever
//! else comes in. No lock: the state of a bucket is one atomic number. The hash is keyed with a random key, so nobody
//! outside knows which networks share a set.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ipnet::IpNet;

use super::throttle::{LINE_EVERY, Throttle};

/// Buckets in a set.
const WAYS: usize = 4;
/// Parts of a second that a bucket's moment is counted in.
const TICKS_PER_MILLI: u64 = 16_000;
const TICKS_PER_SECOND: u64 = 1_000 * TICKS_PER_MILLI;
/// A bucket holds what a network gets in one second.
const BURST: u64 = TICKS_PER_SECOND;
/// Clocks that are read before the answer may be this much behind the one that the bucket was changed by; what is
/// further in the future is no moment of a bucket in use: it is from before the clock was set back, or very old.
const SLACK: u64 = TICKS_PER_SECOND;
/// A bucket's moment wraps around after 19 hours; the other bits tell the network.
const MOMENT_BITS: u32 = 40;
const MOMENT: u64 = (1 << MOMENT_BITS) - 1;
/// How often a change of the same bucket by another thread is waited out.
const TRIES: usize = 8;

/// Lines about all networks in the time between two lines about the same.
const LINES: u64 = 100;

/// What is limited, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Answers a second for one network, up to a million; 0: no limit.
    pub per_second: u32,
    /// Length of the prefix that makes a network.
    pub ipv4_prefix: u8,
    pub ipv6_prefix: u8,
    /// Networks that are never limited.
    pub exempt: Vec<IpNet>,
    /// Counts and tells, but limits nothing.
    pub dry_run: bool,
    /// The table has 2 to this power buckets of 16 octets.
    pub table_bits: u8,
}

/// Whether one more answer may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    Allowed,
    Limited {
        /// There is to be a line about this network: how many of its answers have been limited since the last one.
        tell: Option<u32>,
    },
}

/// One bucket. All zero: nobody's.
#[derive(Debug, Default)]
struct Bucket {
    /// Which network, and when the bucket will be full.
    state: AtomicU64,
    /// Lines about this network, with how many of its answers have been limited.
    told: Throttle,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([Bucket; WAYS]);

/// The buckets of all networks; shared by all threads.
#[derive(Debug)]
pub struct Limiter {
    settings: Settings,
    /// Ticks that one answer takes out of a bucket.
    cost: u64,
    ipv4_mask: u128,
    ipv6_mask: u128,
    /// Network and mask of those that are exempt.
    exempt: Box<[(u128, u128)]>,
    key: [u64; 4],
    /// 2 to some power of them; none if there is no limit.
    sets: Box<[Set]>,
    limited: AtomicU64,
    /// Which span of 30 seconds it is, and how many lines there were in it: 32 bits each.
    lines: AtomicU64,
}

impl Limiter {
    pub fn new(settings: Settings) -> Limiter {
        let sets = match settings.per_second {
            0 => 0,
            _ => (1 << settings.table_bits.clamp(2, 30)) / WAYS,
        };
        let exempt = settings.exempt.iter().map(|network| {
            let mapped = if network.addr().is_ipv4() { 96 } else { 0 };
            let mask = mask(mapped + u32::from(network.prefix_len()));
            (bits(network.addr()) & mask, mask)
        });
        let random = RandomState::new();
        Limiter {
            cost: TICKS_PER_SECOND / u64::from(settings.per_second.clamp(1, 1_000_000)),
            ipv4_mask: mask(96 + u32::from(settings.ipv4_prefix.min(32))),
            ipv6_mask: mask(u32::from(settings.ipv6_prefix)),
            exempt: exempt.collect(),
            key: [0, 1, 2, 3].map(|part: u64| random.hash_one(part)),
            sets: (0..sets).map(|_| Set::default()).collect(),
            limited: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            settings,
        }
    }

    /// Whether the answer to `source` is to be an empty TC. Logs what is limited.
    pub fn limits(&self, source: IpAddr, now_millis: u64) -> bool {
        let Checked::Limited { tell } = self.check(source, now_millis) else { return false };
        if let Some(answers) = tell.filter(|_| self.may_tell(now_millis / 1_000)) {
            let network = self.network_name(source);
            if self.settings.dry_run {
                tracing::warn!(%network, answers, "rate limit (dry run): would have limited answers");
            } else {
                tracing::warn!(%network, answers, "rate limit: sent empty answers with TC instead");
            }
        }
        !self.settings.dry_run
    }

    /// Takes one answer out of the bucket of the network that `source` is in.
    pub fn check(&self, source: IpAddr, now_millis: u64) -> Checked {
        if self.sets.is_empty() {
            return Checked::Allowed;
        }
        let address = bits(source);
        if self.exempt.iter().any(|(network, mask)| address & mask == *network) {
            return Checked::Allowed;
        }
        let hash = self.hash(self.network(address));
        let owner = (hash >> MOMENT_BITS).max(1); // 0 is nobody
        let Set(set) = &self.sets[hash as usize & (self.sets.len() - 1)];
        let now = now_millis.wrapping_mul(TICKS_PER_MILLI) & MOMENT;
        for _ in 0..TRIES {
            match take(set, owner, now, self.cost) {
                Taken::Yes => return Checked::Allowed,
                Taken::Empty(bucket) => {
                    self.limited.fetch_add(1, Relaxed);
                    return Checked::Limited { tell: bucket.told.count(now_millis / 1_000) };
                }
                Taken::Disturbed => {}
            }
        }
        Checked::Allowed
    }

    /// How many answers have been limited since the start, or would have been.
    pub fn limited(&self) -> u64 {
        self.limited.load(Relaxed)
    }

    /// The network of an address.
    fn network(&self, address: u128) -> u128 {
        address & if is_ipv4(address) { self.ipv4_mask } else { self.ipv6_mask }
    }

    /// Two multiplications with a secret key. Nothing stronger is needed: whoever can forge an address that shares a
    /// bucket with a victim's could have forged the victim's.
    fn hash(&self, network: u128) -> u64 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            product as u64 ^ (product >> 64) as u64
        };
        let [k0, k1, k2, k3] = self.key;
        fold(fold((network >> 64) as u64 ^ k0, network as u64 ^ k1) ^ k2, k3 | 1)
    }

    fn network_name(&self, source: IpAddr) -> String {
        let address = bits(source);
        let network = self.network(address);
        if is_ipv4(address) {
            return format!("{}/{}", Ipv4Addr::from(network as u32), self.settings.ipv4_prefix);
        }
        format!("{}/{}", Ipv6Addr::from(network), self.settings.ipv6_prefix)
    }

    /// Whether there may be one more line: many networks together must not fill the log either.
    fn may_tell(&self, now: u64) -> bool {
        let span = (now / LINE_EVERY) << 32;
        let one_more = |lines: u64| match lines & !0xffff_ffff {
            same if same == span => (lines - span < LINES).then_some(lines + 1),
            _ => Some(span + 1),
        };
        self.lines.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }
}

enum Taken<'a> {
    Yes,
    /// This bucket, the network's, has not enough.
    Empty(&'a Bucket),
    /// Another thread was faster.
    Disturbed,
}

/// Takes `cost` out of the owner's bucket of a set, which is full if there was none.
fn take(set: &[Bucket; WAYS], owner: u64, now: u64, cost: u64) -> Taken<'_> {
    let mut place = None;
    let mut least = u64::MAX;
    for bucket in set {
        let state = bucket.state.load(Relaxed);
        let missing = missing(state, now);
        if state >> MOMENT_BITS == owner {
            if missing + cost > BURST {
                return Taken::Empty(bucket);
            }
            return put(bucket, state, owner, now + missing + cost);
        }
        if least > missing {
            (least, place) = (missing, Some((bucket, state)));
        }
    }
    let Some((bucket, state)) = place else { return Taken::Yes };
    let taken = put(bucket, state, owner, now + cost);
    if matches!(taken, Taken::Yes) {
        bucket.told.reset();
    }
    taken
}

/// Ticks until a bucket is full: at most those of an empty one.
fn missing(state: u64, now: u64) -> u64 {
    match (state & MOMENT).wrapping_sub(now) & MOMENT {
        missing if missing <= BURST => missing,
        missing if missing <= BURST + SLACK => BURST,
        _ => 0,
    }
}

fn put(bucket: &Bucket, before: u64, owner: u64, full_at: u64) -> Taken<'_> {
    let after = owner << MOMENT_BITS | full_at & MOMENT;
    match bucket.state.compare_exchange(before, after, Relaxed, Relaxed) {
        Ok(_) => Taken::Yes,
        Err(_) => Taken::Disturbed,
    }
}

/// An address as 128 bits, IPv4 as it is mapped into IPv6 (RFC 4291 section 2.5.5.2).
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn is_ipv4(address: u128) -> bool {
    address >> 32 == 0xffff
}

/// A mask of this many leading ones.
fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
