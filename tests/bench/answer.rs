//! `answer()` alone, without sockets: nanoseconds for a hit among a million names, NODATA and NXDOMAIN; and the proof
//! that it allocates nothing. One by one as over TCP, and in batches as the threads that answer UDP take them.
//!
//! `cargo bench --bench answer`

#[path = "stand/mod.rs"]
mod stand;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acmezone::answer::{BATCH, Context, Cookies, ReadAhead, Transport, Ttls, Verdict, answer};
use acmezone::zone::{Change, Live, Name, Timestamp, TxtSet, TxtValue, Zone, Zones};
use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

use stand::labels::{self, ORIGIN};

const NAMES: u64 = 1_000_000;
/// Queries asked before criterion measures, to count allocations.
const COUNTED: usize = 200_000;
const NOW: Timestamp = 1_000_000;
const TTLS: Ttls = Ttls { txt: 1, negative: 1 };
const TXT: u16 = 16;
const A: u16 = 1;

/// The system's allocator, and how often it was asked for memory.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system allocator's work, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// CPU time of this thread instead of time on the wall: what else runs on the machine matters less.
struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        // SAFETY: all-zero octets are a valid timespec; it lives during the call.
        let time = unsafe {
            let mut time: libc::timespec = zeroed();
            libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
            time
        };
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        static WALL_TIME: WallTime = WallTime;
        WALL_TIME.formatter()
    }
}

/// Many queries of one kind, all of one length, one after the other in memory: to read them costs next to nothing
/// beside a look-up, which goes to another place in memory each time.
struct Queries {
    name: &'static str,
    octets: Vec<u8>,
    len: usize,
    rcode: u8,
    at: usize,
}

impl Queries {
    fn new(name: &'static str, rcode: u8, query: impl Fn(u64) -> Vec<u8>) -> Queries {
        let octets: Vec<u8> = labels::shuffled(NAMES).into_iter().flat_map(&query).collect();
        let len = query(0).len();
        assert_eq!(octets.len(), len * NAMES as usize, "all queries have one length");
        Queries { name, octets, len, rcode, at: 0 }
    }

    fn next(&mut self) -> &[u8] {
        let start = if self.at == self.octets.len() { 0 } else { self.at };
        self.at = start + self.len;
        &self.octets[start..self.at]
    }

    /// The next so many, or fewer.
    fn batch(&mut self, count: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        let start = if self.at == self.octets.len() { 0 } else { self.at };
        self.at = self.octets.len().min(start + count * self.len);
        self.octets[start..self.at].chunks_exact(self.len)
    }
}

fn main() {
    let live = live();
    let name = |label: String| format!("{label}.{ORIGIN}");
    let known = |number| name(labels::label(number));
    let unknown = |number| name(labels::stranger(number));
    let mixed = |number| labels::mixed_case(&known(number), number);
    let kinds = [
        Queries::new("hit", 0, |number| query(&known(number), TXT, false)),
        Queries::new("hit, EDNS+DO, 0x20", 0, |number| query(&mixed(number), TXT, true)),
        Queries::new("hit below _acme-challenge", 0, |number| {
            query(&format!("_acme-challenge.{}", known(number)), TXT, false)
        }),
        Queries::new("NODATA", 0, |number| query(&known(number), A, false)),
        Queries::new("NXDOMAIN", 3, |number| query(&unknown(number), TXT, false)),
    ];
    let cookies = Cookies::new(&[7; 16], &[]);
    let context = Context {
        ttls: TTLS,
        cookies: &cookies,
        client: Ipv4Addr::LOCALHOST.into(),
        transport: Transport::Udp,
        now: NOW,
        limited: &|| false,
    };
    let mut out = Vec::with_capacity(4096);
    let mut criterion = Criterion::default().with_measurement(ThreadTime).configure_from_args();
    for mut queries in kinds {
        let mut ask = |queries: &mut Queries| {
            let rcode = queries.rcode;
            let verdict = answer(&live, &context, queries.next(), &mut out);
            assert!(verdict == Verdict::Reply && out[3] & 15 == rcode, "{}: {verdict:?}, {out:?}", queries.name);
            black_box(&out);
        };
        ask(&mut queries); // what is made once is made now
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..COUNTED {
            ask(&mut queries);
        }
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(allocations, 0, "{}: {COUNTED} answers allocated", queries.name);
        let id = format!("one by one: {} among a million names", queries.name);
        criterion.bench_function(&id, |bencher| bencher.iter(|| ask(&mut queries)));
        let mut ahead = ReadAhead::new();
        let id = format!("in batches: {} among a million names", queries.name);
        criterion.bench_function(&id, |bencher| {
            bencher.iter_custom(|count| {
                let start = ThreadTime.start();
                let mut left = count as usize;
                while left > 0 {
                    let rcode = queries.rcode;
                    let packets = queries.batch(left.min(BATCH));
                    left -= packets.len();
                    ahead.read(&live, packets, |_, asked| {
                        let verdict = asked.answer(&context, &mut out);
                        assert!(verdict == Verdict::Reply && out[3] & 15 == rcode, "{verdict:?}, {out:?}");
                        black_box(&out);
                    });
                }
                ThreadTime.end(start)
            });
        });
    }
    criterion.final_summary();
}

/// A million registered labels with a value each.
fn live() -> Live {
    let origin = Name::parse(ORIGIN).expect("a name");
    let zone = Zone::from_nameservers(origin, &[Name::parse("ns1.example.org").expect("a name")]).expect("a zone");
    let live = Live::new(Zones::new([zone]));
    for number in 0..NAMES {
        let name = Name::parse(&format!("{}.{ORIGIN}", labels::label(number))).expect("a name");
        let mut set = TxtSet::default();
        set.add(TxtValue::new(labels::value(number).as_bytes()).expect("a value"), NOW + 60);
        live.publish([Change::Registered { name: name.clone() }, Change::Txt { name, set }], number as u32);
    }
    live
}

/// A query as resolvers send it to name servers: RD clear, with or without an OPT record.
fn query(name: &str, qtype: u16, edns: bool) -> Vec<u8> {
    let mut packet = vec![0xab, 0xcd, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&qtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    if edns {
        packet.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    }
    packet
}
