//! A server under attack: the real process, flooded over loopback with everything that a stranger can send. Short here;
//! `cargo bench --bench flood` does it for a minute, on the release build, and asserts how long updates take.

#[path = "../support/mod.rs"]
mod support;

use std::net::UdpSocket;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acmezone::api::{DnsCounters, Status};
use support::flood::{Flooded, Sources, flood};
use support::{Acmezone, Query, RawDns, Reply, Rtype, poll};

const ZONE: &str = "auth.example.org";
const WARM_UP: Duration = Duration::from_millis(1_500);
const TIME: Duration = Duration::from_secs(4);

/// A flood leaves nothing to the test beside it.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(tables: &str) -> Acmezone {
    Acmezone::start(&format!("{tables}[[zone]]\norigin = \"{ZONE}\"\nnameservers = [\"ns1.example.org\"]\n"))
}

fn counters(server: &Acmezone) -> DnsCounters {
    let status = server.cli(&["status", "--json"]).expect_success();
    serde_json::from_str::<Status>(&status.stdout).unwrap().dns_counters
}

#[track_caller]
fn assert_unharmed(server: &mut Acmezone, flooded: &Flooded) {
    println!(
        "{} packets in {:?}, {} of them lost; {} updates, p50 {:?}, p99 {:?}; resident {:?} kB",
        flooded.sent,
        flooded.time,
        flooded.lost,
        flooded.updates.len(),
        flooded.percentile(50),
        flooded.percentile(99),
        flooded.resident
    );
    assert!(flooded.sent > 10_000 && flooded.lost < flooded.sent, "{flooded:?}");
    assert!(flooded.growth() < 5 * 1024, "grown from {} to {} kB", flooded.resident.0, flooded.resident.1);
    assert!(flooded.updates.len() > 20, "only {} updates were answered", flooded.updates.len());
    assert!(server.process().is_running());
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("please report"), "{log}");
    let soa = Query::new(ZONE, Rtype::SOA).bytes();
    assert!(Reply::parse(&RawDns::new(server.dns).tcp(&soa).unwrap()).header.aa());
}

#[test]
fn a_flood_from_eight_sources_costs_no_memory_and_stops_no_update() {
    let _alone = alone();
    let mut server = start("");
    let flooded = flood(&mut server, ZONE, Sources::Eight, WARM_UP, TIME);
    assert_unharmed(&mut server, &flooded);
    assert!(flooded.lines <= 1, "{}", server.log());
    let soa = Query::new(ZONE, Rtype::SOA).bytes();
    // What the flood left in the socket's buffer may have pushed the first ones out.
    let reply = poll(Duration::from_secs(10), "an answer after the flood", || RawDns::new(server.dns).udp(&soa));
    assert!(Reply::parse(&reply).header.aa(), "loopback is exempt");
    assert_eq!(counters(&server).limited, 0);
}

#[test]
fn a_flood_with_forged_addresses_is_limited_by_network_in_a_table_that_does_not_grow() {
    let _alone = alone();
    let mut server = start("[dns.rate_limit]\nexempt = []\nanswers_per_second = 500\n");
    let flooded = flood(&mut server, ZONE, Sources::Forged, WARM_UP, TIME);
    assert_unharmed(&mut server, &flooded);
    // The network of the eight, and the queue of rare messages.
    assert!(flooded.lines <= 2, "{}", server.log());
    let limited = server.log().lines().filter(|line| line.contains("rate limit:")).count();
    assert_eq!(limited, 1, "one line for the one network that is above the limit: {}", server.log());
    assert!(counters(&server).limited > 1_000, "{:?}", counters(&server));
}

#[test]
fn rare_messages_beyond_the_queue_are_dropped_counted_and_told_once() {
    let _alone = alone();
    let server = start("");
    assert_eq!(counters(&server), DnsCounters::default());
    let text = server.cli(&["status"]).expect_success().stdout;
    assert!(text.contains("DNS answers limited:") && text.contains("messages dropped:"), "{text}");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns).unwrap();
    let notify = Query::new(ZONE, Rtype::SOA).opcode(4).edns(1232).bytes();
    let dropped = poll(Duration::from_secs(30), "a full queue", || {
        for _ in 0..20_000 {
            // What the server's own buffer has no room for never reaches the queue.
            let _ = socket.send(&notify);
        }
        Some(counters(&server).dropped).filter(|dropped| *dropped > 1)
    });
    println!("{dropped} dropped");
    let lines: Vec<_> = server.log().lines().filter(|line| line.contains("dropped some")).map(str::to_owned).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    // The next one has a place again.
    let reply = poll(Duration::from_secs(10), "an answer to NOTIFY", || RawDns::new(server.dns).udp(&notify));
    assert_eq!(Reply::parse(&reply).rcode.to_int(), 5);
}
