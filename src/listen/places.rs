//! Places for connections: how many there may be, in all and from one network, and who leaves when somebody new comes.
//!
//! A connection is never turned away for want of a place: the longest-idle one leaves (RFC 7766 section 6.2.3 lets a
//! server close idle connections at any time). If a network has used up its own places, it is one of that network; if
//! all places are taken, one of the network that holds the most. So a flood pushes out itself, and a certificate
//! authority that comes with a few connections is let in and stays.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub connections: usize,
    /// From one network: /24 of IPv4, /56 of IPv6. Loopback has no bound of its own.
    pub per_prefix: usize,
}

impl Caps {
    /// Fewer connections if they could be more than this share of the files that the process may have open.
    pub fn within(self, files: Option<u64>, one_of: u64, what: &str) -> Caps {
        let most = files.map_or(usize::MAX, |files| usize::try_from(files / one_of).unwrap_or(usize::MAX)).max(1);
        if most < self.connections {
            tracing::warn!(
                asked = self.connections,
                given = most,
                "fewer {what} connections than configured: the limit of open files (RLIMIT_NOFILE) is low"
            );
        }
        Caps { connections: self.connections.min(most), ..self }
    }
}

/// Connections that were told to leave and are still about, at most; more newcomers than that are turned away.
const LEAVING: usize = 64;
/// Between two lines in the log that say that places are used up.
const QUIET: Duration = Duration::from_secs(30);

/// The network of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Prefix(IpAddr);

impl Prefix {
    fn of(peer: IpAddr) -> Prefix {
        Prefix(match peer.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & !0 << 8).into()),
            IpAddr::V6(v6) if v6.is_loopback() => IpAddr::V6(v6),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !0 << 72).into()),
        })
    }
}

/// All places of one kind of connections. A connection holds one as long as its [`Place`] lives.
#[derive(Debug)]
pub struct Places {
    caps: Caps,
    /// What it is that connects, for the log.
    what: &'static str,
    /// Networks that have no bound of their own, as loopback.
    unbounded: Vec<IpNet>,
    began: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    by_id: HashMap<u64, Arc<Guest>>,
    /// How many of `by_id` are of this network; never 0.
    of_prefix: HashMap<Prefix, usize>,
    /// Told to leave: not in `by_id` any more.
    leaving: usize,
    told: Option<Instant>,
}

#[derive(Debug)]
struct Guest {
    prefix: Prefix,
    /// When it was last of use: microseconds since `Places::began`.
    active: AtomicU64,
    /// Cancelled when it is to leave, or when the server stops.
    leave: CancellationToken,
}

/// The place of one connection.
#[derive(Debug)]
pub struct Place {
    id: u64,
    guest: Arc<Guest>,
    places: Arc<Places>,
}

impl Places {
    /// `what` connects, for the log; the networks in `unbounded` have no bound of their own.
    pub fn new(caps: Caps, what: &'static str, unbounded: Vec<IpNet>) -> Arc<Places> {
        Arc::new(Places { caps, what, unbounded, began: Instant::now(), taken: Mutex::default() })
    }

    /// A place for a new connection; somebody else may have to leave for it. `None` if too many are leaving already:
    /// close it. The place's token is cancelled with `stop`.
    pub fn take(self: &Arc<Places>, peer: IpAddr, stop: &CancellationToken) -> Option<Place> {
        let prefix = Prefix::of(peer);
        let mut taken = self.taken();
        if taken.leaving >= LEAVING {
            return None;
        }
        let of_prefix = taken.of_prefix.get(&prefix).copied().unwrap_or(0);
        if of_prefix >= self.caps.per_prefix && !self.is_unbounded(peer) {
            taken.push_out(Some(prefix), self.what);
        } else if taken.by_id.len() >= self.caps.connections {
            taken.push_out(None, self.what);
        }
        let id = taken.next;
        taken.next += 1;
        let active = AtomicU64::new(self.moment(Instant::now()));
        let guest = Arc::new(Guest { prefix, active, leave: stop.child_token() });
        *taken.of_prefix.entry(prefix).or_insert(0) += 1;
        taken.by_id.insert(id, guest.clone());
        Some(Place { id, guest, places: self.clone() })
    }

    /// Somebody has to leave because the system can give no more.
    pub fn make_room(&self) {
        self.taken().push_out(None, self.what);
    }

    fn is_unbounded(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback() || self.unbounded.iter().any(|network| network.contains(&peer))
    }

    fn moment(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing in here can panic half-way.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Tells the longest-idle connection of the network to leave; without a network, of the one that holds the most.
    fn push_out(&mut self, prefix: Option<Prefix>, what: &str) {
        let crowd = |guest: &Guest| self.of_prefix.get(&guest.prefix).copied().unwrap_or(0);
        let candidates = self.by_id.iter().filter(|(_, guest)| prefix.is_none_or(|prefix| guest.prefix == prefix));
        let longest_idle = candidates
            .min_by_key(|(id, guest)| (std::cmp::Reverse(crowd(guest)), guest.active.load(Ordering::Relaxed), **id));
        let Some(id) = longest_idle.map(|(id, _)| *id) else { return };
        if let Some(guest) = self.remove(id) {
            self.leaving += 1;
            guest.leave.cancel();
        }
        let now = Instant::now();
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET) {
            self.told = Some(now);
            let network = prefix.map_or("all networks".into(), |prefix| format!("the network of {}", prefix.0));
            tracing::info!("the {what} connections of {network} are used up: those idle the longest are closed");
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Guest>> {
        let guest = self.by_id.remove(&id)?;
        if let Some(count) = self.of_prefix.get_mut(&guest.prefix) {
            *count -= 1;
            if *count == 0 {
                self.of_prefix.remove(&guest.prefix);
            }
        }
        Some(guest)
    }
}

impl Place {
    /// It is of use now: it will not be the next to leave.
    pub fn active(&self, now: Instant) {
        self.guest.active.store(self.places.moment(now), Ordering::Relaxed);
    }

    /// When it was last of use.
    pub fn last_active(&self) -> Instant {
        self.places.began + Duration::from_micros(self.guest.active.load(Ordering::Relaxed))
    }

    /// Cancelled when the connection is to leave, or when the server stops.
    pub fn leave(&self) -> &CancellationToken {
        &self.guest.leave
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if taken.remove(self.id).is_none() {
            taken.leaving = taken.leaving.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, per_prefix: usize) -> (Arc<Places>, CancellationToken) {
        (Places::new(Caps { connections, per_prefix }, "test", Vec::new()), CancellationToken::new())
    }

    fn has_to_leave(place: &Place) -> bool {
        place.leave().is_cancelled()
    }

    #[test]
    fn networks_are_24_and_56_bits_long() {
        let prefix = |text: &str| Prefix::of(text.parse().unwrap());
        assert_eq!(prefix("192.0.2.1"), prefix("192.0.2.255"));
        assert_eq!(prefix("192.0.2.1"), prefix("::ffff:192.0.2.7"));
        assert_ne!(prefix("192.0.2.1"), prefix("192.0.3.1"));
        assert_eq!(prefix("2001:db8:0:100::1"), prefix("2001:db8:0:1ff:ffff::2"));
        assert_ne!(prefix("2001:db8:0:100::1"), prefix("2001:db8:0:200::1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_has_its_own_bound_and_pushes_out_itself() {
        let (places, stop) = places(100, 3);
        let take = |peer: &str| places.take(peer.parse().unwrap(), &stop).unwrap();
        let stranger = take("198.51.100.1");
        let guests: Vec<Place> = (0..3).map(|host| take(&format!("192.0.2.{host}"))).collect();
        tokio::time::advance(Duration::from_secs(1)).await;
        guests[0].active(Instant::now());
        let newcomer = take("192.0.2.77");
        assert_eq!(guests.iter().map(has_to_leave).collect::<Vec<_>>(), [false, true, false]);
        assert!(!has_to_leave(&stranger) && !has_to_leave(&newcomer));
        drop((stranger, guests, newcomer));
        let taken = places.taken();
        assert!(taken.by_id.is_empty() && taken.of_prefix.is_empty() && taken.leaving == 0, "{taken:?}");
    }

    #[test]
    fn connections_leave_files_for_everything_else() {
        let caps = Caps { connections: 1024, per_prefix: 64 };
        assert_eq!(caps.within(None, 2, "test"), caps);
        assert_eq!(caps.within(Some(65_536), 2, "test"), caps);
        assert_eq!(caps.within(Some(1024), 2, "test"), Caps { connections: 512, ..caps });
        assert_eq!(caps.within(Some(0), 2, "test").connections, 1);
    }

    #[test]
    fn loopback_has_no_bound_of_its_own() {
        let (places, stop) = places(100, 1);
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let guests: Vec<_> = (0..3).map(|_| places.take(peer.parse().unwrap(), &stop).unwrap()).collect();
            assert!(!guests.iter().any(has_to_leave), "{peer}");
        }
    }

    #[test]
    fn neither_have_the_networks_that_are_named() {
        let caps = Caps { connections: 100, per_prefix: 1 };
        let places = Places::new(caps, "test", vec!["192.0.2.0/28".parse().unwrap()]);
        for (peer, leaving) in [("192.0.2.15", 0), ("::ffff:192.0.2.1", 0), ("192.0.2.16", 2), ("198.51.100.1", 2)] {
            let stop = CancellationToken::new();
            let guests: Vec<_> = (0..3).map(|_| places.take(peer.parse().unwrap(), &stop).unwrap()).collect();
            assert_eq!(guests.iter().filter(|guest| has_to_leave(guest)).count(), leaving, "{peer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_many_networks_does_not_push_out_a_quiet_one() {
        let (places, stop) = places(64, 8);
        let authority = places.take("203.0.113.5".parse().unwrap(), &stop).unwrap();
        let mut guests = Vec::new();
        for round in 0..1000_u32 {
            tokio::time::advance(Duration::from_micros(10)).await;
            // 16 networks that need 128 places of the 64
            let peer = IpAddr::from([10, 0, (round % 16) as u8, 1]);
            guests.extend(places.take(peer, &stop));
            guests.retain(|guest| !has_to_leave(guest));
            assert!(guests.len() < 64);
        }
        assert!(!has_to_leave(&authority));
        stop.cancel();
        assert!(has_to_leave(&authority));
    }

    #[test]
    fn who_does_not_go_keeps_the_door_shut() {
        let (places, stop) = places(1, 1);
        let guests: Vec<_> = (0..1000).map_while(|_| places.take("192.0.2.1".parse().unwrap(), &stop)).collect();
        assert_eq!(guests.len(), 1 + LEAVING);
        drop(guests);
        assert!(places.take("192.0.2.1".parse().unwrap(), &stop).is_some());
    }
}
