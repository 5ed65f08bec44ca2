//! The limiter, at moments of its own.

use std::mem::size_of;
use std::net::Ipv6Addr;
use std::thread;

use super::*;

/// Some moment, milliseconds.
const NOW: u64 = 1_700_000_000_123;

fn settings() -> Settings {
    Settings {
        per_second: 1_000,
        ipv4_prefix: 24,
        ipv6_prefix: 56,
        exempt: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        dry_run: false,
        table_bits: 16,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// How many of so many answers are allowed.
fn allowed(limiter: &Limiter, source: &str, answers: u32, now: u64) -> u32 {
    (0..answers).map(|_| u32::from(!limiter.limits(ip(source), now))).sum()
}

#[test]
fn a_network_gets_its_share_and_another_one_has_its_own() {
    let limiter = Limiter::new(settings());
    assert_eq!(allowed(&limiter, "192.0.2.1", 5_000, NOW), 1_000);
    assert_eq!(allowed(&limiter, "192.0.2.200", 50, NOW), 0, "the same /24");
    assert_eq!(allowed(&limiter, "192.0.3.1", 50, NOW), 50);
    assert_eq!(allowed(&limiter, "2001:db8:0:0::1", 5_000, NOW), 1_000);
    assert_eq!(allowed(&limiter, "2001:db8:0:ff::1", 50, NOW), 0, "the same /56");
    assert_eq!(allowed(&limiter, "2001:db8:0:100::1", 50, NOW), 50);
    assert_eq!(allowed(&limiter, "::ffff:192.0.2.9", 50, NOW), 0, "IPv4 in IPv6 is IPv4");
    assert_eq!(limiter.limited(), 4_000 + 50 + 4_000 + 50 + 50);
}

#[test]
fn a_bucket_fills_with_time() {
    let limiter = Limiter::new(settings());
    assert_eq!(allowed(&limiter, "192.0.2.1", 2_000, NOW), 1_000);
    assert_eq!(allowed(&limiter, "192.0.2.1", 2_000, NOW + 1), 1);
    assert_eq!(allowed(&limiter, "192.0.2.1", 2_000, NOW + 251), 250);
    assert_eq!(allowed(&limiter, "192.0.2.1", 9_000, NOW + 60_000), 1_000, "but never above one second's worth");
    let steady: u32 = (0..5_000).map(|milli| allowed(&limiter, "192.0.2.1", 3, NOW + 60_000 + milli)).sum();
    assert_eq!(steady, 4_999, "at three times the rate");
    let low = Limiter::new(Settings { per_second: 3, ..settings() });
    assert_eq!(allowed(&low, "192.0.2.1", 10, NOW), 3);
    assert_eq!(allowed(&low, "192.0.2.1", 10, NOW + 300), 0);
    assert_eq!(allowed(&low, "192.0.2.1", 10, NOW + 340), 1);
    let high = Limiter::new(Settings { per_second: 1_000_000, ..settings() });
    assert_eq!(allowed(&high, "192.0.2.1", 1_000_010, NOW), 1_000_000);
}

#[test]
fn who_is_below_the_rate_is_never_limited() {
    let limiter = Limiter::new(settings());
    // longer than a bucket's moment takes to wrap around, in steps of every size
    let mut now = NOW;
    for step in (0..200_000).map(|step| 1 + step * step % 7_001) {
        now += step;
        assert!(!limiter.limits(ip("192.0.2.1"), now));
    }
    assert!(now - NOW > 100 * 3_600_000);
}

#[test]
fn a_clock_that_goes_backwards_stops_nobody_for_long() {
    let limiter = Limiter::new(settings());
    assert_eq!(allowed(&limiter, "192.0.2.1", 2_000, NOW), 1_000);
    // a thread that read its clock a little earlier is no way around the limit
    for earlier in [1, 20, 999] {
        assert_eq!(allowed(&limiter, "192.0.2.1", 10, NOW - earlier), 0);
    }
    assert_eq!(allowed(&limiter, "192.0.2.1", 2_000, NOW - 3_600_000), 1_000);
    assert_eq!(allowed(&limiter, "192.0.2.1", 2_000, 0), 1_000);
    assert_eq!(allowed(&limiter, "192.0.2.1", 2_000, NOW + NOW), 1_000);
}

#[test]
fn loopback_and_who_else_is_exempt_is_not_limited() {
    let exempt = ["127.0.0.0/8", "::1/128", "198.51.100.0/24"].map(|network| network.parse().unwrap());
    let limiter = Limiter::new(Settings { exempt: exempt.into(), ..settings() });
    for source in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "198.51.100.7"] {
        assert_eq!(allowed(&limiter, source, 3_000, NOW), 3_000, "{source}");
    }
    assert_eq!(limiter.limited(), 0);
}

#[test]
fn a_dry_run_counts_and_limits_nothing() {
    let limiter = Limiter::new(Settings { dry_run: true, ..settings() });
    assert_eq!(allowed(&limiter, "192.0.2.1", 3_000, NOW), 3_000);
    assert_eq!(limiter.limited(), 2_000);
    let Checked::Limited { .. } = limiter.check(ip("192.0.2.1"), NOW) else { panic!("not limited") };
}

#[test]
fn without_a_rate_there_is_no_limit_and_no_table() {
    let limiter = Limiter::new(Settings { per_second: 0, ..settings() });
    assert!(limiter.sets.is_empty());
    assert_eq!(allowed(&limiter, "192.0.2.1", 100_000, NOW), 100_000);
}

#[test]
fn prefixes_of_every_length() {
    for (length, share, other) in [(0, "255.255.255.255", None), (32, "192.0.2.1", Some("192.0.2.2"))] {
        let limiter = Limiter::new(Settings { ipv4_prefix: length, ipv6_prefix: 0, ..settings() });
        assert_eq!(allowed(&limiter, "192.0.2.1", 1_001, NOW), 1_000);
        assert_eq!(allowed(&limiter, share, 1, NOW), 0);
        assert_eq!(other.map_or(1, |other| allowed(&limiter, other, 1, NOW)), 1);
        assert_eq!(allowed(&limiter, "2001:db8::1", 1_001, NOW), 1_000);
        assert_eq!(allowed(&limiter, "fe80::1", 1, NOW), 0);
    }
    let limiter = Limiter::new(Settings { ipv6_prefix: 128, table_bits: 0, ..settings() });
    assert_eq!(allowed(&limiter, "2001:db8::1", 1_001, NOW), 1_000);
    assert_eq!(allowed(&limiter, "2001:db8::2", 1_001, NOW), 1_000);
}

/// Flooding with a million networks does not make the table grow, gives a flooding network no new bucket, and is not
/// felt by others.
#[test]
fn a_million_networks() {
    assert_eq!(size_of::<Set>(), 64);
    let limiter = Limiter::new(settings());
    let (before, mut random) = (limiter.sets.len(), 0x9e37_79b9_7f4a_7c15_u64);
    assert_eq!(before * WAYS, 65_536);
    let (mut flooder, mut innocent) = (0, 0);
    for round in 0..1_000_000_u64 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let now = NOW + round / 500; // two seconds
        let source = u128::from(random) << 64 | 1 << 125;
        limiter.limits(Ipv6Addr::from(source).into(), now);
        flooder += u32::from(!limiter.limits(ip("192.0.2.1"), now));
        let host = 0x0a00_0000 | (round as u32 % 1_000) << 8; // a thousand networks, 500 a second each
        innocent += u32::from(limiter.limits(Ipv4Addr::from(host).into(), now));
    }
    assert_eq!(limiter.sets.len(), before);
    assert!((2_900..3_100).contains(&flooder), "a second's worth and two seconds: {flooder}");
    assert_eq!(innocent, 0);
}

#[test]
fn a_network_has_one_line_in_30_seconds() {
    let limiter = Limiter::new(settings());
    let tell = |source: &str, now: u64| match limiter.check(ip(source), now) {
        Checked::Limited { tell } => tell,
        Checked::Allowed => panic!("{source} is not limited"),
    };
    allowed(&limiter, "192.0.2.1", 1_000, NOW);
    assert_eq!(tell("192.0.2.1", NOW), Some(1));
    for _ in 0..10 {
        assert_eq!(tell("192.0.2.1", NOW), None);
    }
    allowed(&limiter, "192.0.3.1", 1_000, NOW);
    assert_eq!(tell("192.0.3.1", NOW), Some(1), "another network has its own");
    allowed(&limiter, "192.0.2.1", 1_000, NOW + 29_800);
    assert_eq!(tell("192.0.2.1", NOW + 29_800), None);
    allowed(&limiter, "192.0.2.1", 100, NOW + 29_900);
    assert_eq!(tell("192.0.2.1", NOW + 29_900), Some(12), "ten, one, and this one");
    assert_eq!(limiter.network_name(ip("192.0.2.77")), "192.0.2.0/24");
    assert_eq!(limiter.network_name(ip("::ffff:192.0.2.77")), "192.0.2.0/24");
    assert_eq!(limiter.network_name(ip("2001:db8:1:2ff::1")), "2001:db8:1:200::/56");
}

#[test]
fn all_networks_together_do_not_fill_the_log() {
    let limiter = Limiter::new(settings());
    let lines = |now| (0..1_000).filter(|_| limiter.may_tell(now)).count();
    assert_eq!((lines(60), lines(89), lines(90)), (100, 0, 100));
    assert_eq!(lines(0), 100, "backwards");
}

#[test]
fn threads_share_a_bucket() {
    let limiter = Limiter::new(settings());
    let sum: u32 = thread::scope(|scope| {
        let flood = || allowed(&limiter, "192.0.2.1", 50_000, NOW);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(flood)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // whoever is disturbed eight times in a row gets an answer
    assert!((1_000..1_100).contains(&sum), "{sum}");
}
