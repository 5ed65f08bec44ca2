//! Zones with everything that an answer can depend on, for the fuzz targets and for `tests/differential`. The same for
//! every input, so that a finding can be repeated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use acmezone::answer::{self, Cookies, ReadAhead, Transport, Ttls, Verdict};
use acmezone::listen::{Answerer, Limiter, LimiterSettings, Rare};
use acmezone::zone::{Change, Live, Name, Timestamp, TxtSet, TxtValue, Zone, Zones, master};
use hickory_server::net::xfer::Protocol;

pub const NOW: Timestamp = 1_000_000;
/// Of the server cookies.
pub const SECRET: [u8; 16] = [7; 16];
pub const TTLS: Ttls = Ttls { txt: 1, negative: 1 };

/// Short names, so that a mutation soon leads from one to another.
const ZONE: &str = r#"
$TTL 1h
@         SOA   ns1 hostmaster.example.org. 7 4h 1h 2w 300
@         NS    ns1
@         NS    ns.elsewhere.net.
@         CAA   0 issue "ca.example"
ns1       A     192.0.2.1
ns1       AAAA  2001:db8::1
a.b.c     A     192.0.2.2
*.w       TXT   "from the wildcard"
x.w       A     192.0.2.3
*.v       CNAME www.example.net.
*.u       CNAME y.x.u
*         A     192.0.2.9
alias     CNAME ns1
out       CNAME www.example.net.
none      CNAME nothing.a.b.c
to        CNAME full
to1       CNAME one
down      CNAME deep.sub
l1        CNAME l2
l2        CNAME l1
c1        CNAME c2
c2        CNAME c3
c3        CNAME c4
c4        CNAME c5
c5        CNAME c6
c6        CNAME c7
c7        CNAME c8
c8        CNAME c9
c9        CNAME one
sub       NS    ns.sub
sub       NS    ns.sister
ns.sub    A     192.0.2.4
ns.sister A     192.0.2.5
wide      NS    n1.wide
wide      NS    n2
n1.wide   A     192.0.2.6
n2        AAAA  2001:db8::1
n2        AAAA  2001:db8::2
n2        AAAA  2001:db8::3
n2        AAAA  2001:db8::4
n2        AAAA  2001:db8::5
n2        AAAA  2001:db8::6
n2        AAAA  2001:db8::7
n2        AAAA  2001:db8::8
signed    NS    ns.sister
signed    DS    12345 13 2 49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC1234
mixed     TXT   "Case Stays" "and so do strings"
empty     TXT   ""
mail      MX    10 Ns1
_s._tcp   SRV   0 5 5060 Ns1
h         HTTPS 1 . alpn="h2,h3" port=8443
odd       TYPE65280 \# 4 0a000001
"#;

/// Alternately longer than a packet may be and hardly, for a chain of CNAMEs that must be cut.
fn long_chain() -> String {
    let name = |n: u8| format!("{0}.{0}.{0}.g{n}", "x".repeat(58));
    (1..6u8).map(|n| format!("{} 60 CNAME {}\n", name(n), name(n + 1))).collect()
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn values(count: usize, octets: usize, expires: Timestamp) -> TxtSet {
    let mut set = TxtSet::default();
    for n in 0..count {
        set.add(TxtValue::new(format!("{n:0octets$}").as_bytes()).expect("a value"), expires);
    }
    set
}

/// What is served at `now`, and an hour from then.
pub fn world(now: Timestamp) -> Live {
    let values = |count, octets| values(count, octets, now + 3_600);
    let origin = name("auth.example.org");
    let text = format!("{ZONE}{}", long_chain());
    let records = master::read(&text, &origin).expect("a master file");
    let zone = Zone::from_records(origin, records).expect("a zone");
    let outside = |origin| Zone::from_nameservers(name(origin), &[name("ns1.auth.example.org")]).expect("a zone");
    // The last one lies below a cut of the first.
    let zones = [zone, outside("_acme-challenge.example.net"), outside("signed.auth.example.org")];
    let live = Live::new(Zones::new(zones));
    let labels = [
        ("idle", TxtSet::default()),
        ("one", values(1, 43)),
        ("few", values(9, 43)),
        ("many", values(22, 43)), // hardly too long for UDP
        ("full", values(64, 43)),
        ("long", values(4, 4096)),
        ("void", values(1, 0)),
    ];
    for (label, set) in labels {
        let name = name(&format!("{label}.auth.example.org"));
        live.publish([Change::Registered { name: name.clone() }, Change::Txt { name, set }], live.revision() + 1);
    }
    let mut expired = TxtSet::default();
    expired.add(TxtValue::new(b"expired").expect("a value"), now);
    let others = [
        ("_acme-challenge.example.net", values(2, 43)),
        ("_acme-challenge.www.shop.auth.example.org", values(2, 43)),
        ("_acme-challenge.old.auth.example.org", expired),
        ("mixed.auth.example.org", values(2, 43)),
    ];
    for (at, set) in others {
        live.publish([Change::Txt { name: name(at), set }], live.revision() + 1);
    }
    for (at, label) in [("_acme-challenge.example.com", "few"), ("_acme-challenge.idle.example.com", "idle")] {
        let target = name(&format!("{label}.auth.example.org"));
        live.publish([Change::Aliased { name: name(at), target }], live.revision() + 1);
    }
    live
}

/// Answers from the world of `now`, without a limit: how many answers there have been must not matter.
pub fn rare(now: Timestamp) -> Rare {
    let limiter = LimiterSettings {
        per_second: 0,
        ipv4_prefix: 24,
        ipv6_prefix: 56,
        exempt: Vec::new(),
        dry_run: false,
        table_bits: 2,
    };
    Rare::new(Answerer {
        live: Arc::new(world(now)),
        ttls: TTLS,
        cookies: Arc::new(Cookies::new(&SECRET, &[])),
        limiter: Arc::new(Limiter::new(limiter)),
    })
}

/// What the handler says to any message; `None` for silence. `now` is in milliseconds.
pub fn handled(rare: &Rare, message: &[u8], peer: SocketAddr, transport: Transport, now: u64) -> Option<Vec<u8>> {
    let protocol = match transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
    };
    let handling = std::pin::pin!(rare.handle(message.to_vec(), peer, protocol, now));
    match handling.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => reply,
        Poll::Pending => panic!("the handler has nothing to wait for"),
    }
}

/// What the fast path of UDP says: the message is read between others, and answered after the first of them.
pub fn fast(rare: &Rare, message: &[u8], peer: SocketAddr, transport: Transport, now: u64) -> (Verdict, Vec<u8>) {
    let Answerer { live, ttls, cookies, limiter } = rare.answerer();
    let limited = || limiter.limits(peer.ip(), now);
    let client = peer.ip();
    let context = answer::Context { ttls: *ttls, cookies, client, transport, now: now / 1_000, limited: &limited };
    // Before it nothing at all, an answer, and a name that it may lead to; behind it the same again.
    let neighbour =
        b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03one\x04auth\x07example\x03org\x00\x00\x10\x00\x01";
    let (mut verdict, mut out) = (Verdict::Silence, b"left over".to_vec());
    let packets = [&[][..], neighbour, message, neighbour];
    ReadAhead::new().read(live, packets.into_iter(), |index, asked| {
        let mut other = Vec::new();
        match index {
            2 => verdict = asked.answer(&context, &mut out),
            0 => assert_eq!(asked.answer(&context, &mut other), Verdict::Silence),
            _ => assert!(asked.answer(&context, &mut other) == Verdict::Reply && other[3] & 15 == 0),
        }
    });
    (verdict, out)
}
