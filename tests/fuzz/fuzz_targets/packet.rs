//! Octets of a stranger, answered as over UDP and as over TCP: both answers are sound, and say the same.

#![no_main]

use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use acmezone::answer::{Context, Cookies, HEADER, Transport, Verdict, answer};
use acmezone::listen::{Answerer, Limiter, LimiterSettings, Rare, Updates};
use acmezone::store::{Policy, Sqlite, Writer};
use acmezone::tsig::Keys;
use acmezone::zone::Live;
use acmezone_fuzz::world::{NOW, TTLS, world};
use domain::base::iana::Rtype;
use domain::base::{Message, ParsedName, ParsedRecord, Question};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;
use hickory_server::net::xfer::Protocol;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

static LIVE: LazyLock<Live> = LazyLock::new(world);
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));

/// Knows no key, so that nothing is written.
static RARE: LazyLock<Rare> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Sqlite::open(&folder.path().join("acmezone.db")).expect("a store");
    let live = Arc::new(world());
    let policy = Policy { value_lifetime: 3600, zone: None, reserved: Vec::new() };
    let (writer, _) = Writer::start(store, live.clone(), policy).expect("a writer");
    let limiter = LimiterSettings {
        per_second: 0,
        ipv4_prefix: 24,
        ipv6_prefix: 56,
        exempt: Vec::new(),
        dry_run: false,
        table_bits: 8,
    };
    let (cookies, limiter) = (Arc::new(Cookies::new(&[7; 16], &[])), Arc::new(Limiter::new(limiter)));
    Rare::new(Answerer { live, ttls: TTLS, cookies, limiter }, Updates::new(Keys::default(), writer))
});

static COOKIES: LazyLock<Cookies> = LazyLock::new(|| Cookies::new(&[7; 16], &[]));

fn context(transport: Transport) -> Context<'static> {
    let client = Ipv4Addr::new(192, 0, 2, 1).into();
    Context { ttls: TTLS, cookies: &COOKIES, client, transport, now: NOW, limited: &|| false }
}

fuzz_target!(|packet: &[u8]| {
    let (mut udp, mut tcp) = (Vec::new(), vec![0xff; 3]);
    let verdict = answer(&LIVE, &context(Transport::Udp), packet, &mut udp);
    assert_eq!(verdict, answer(&LIVE, &context(Transport::Tcp), packet, &mut tcp));
    match verdict {
        Verdict::Silence => {}
        Verdict::Rare => rare(packet),
        Verdict::Reply => {
            let (over_udp, over_tcp) = (check(packet, &udp), check(packet, &tcp));
            assert!(udp.len() <= limit(packet, &over_udp), "{} octets over UDP", udp.len());
            assert!(!over_tcp.tc && tcp.len() <= usize::from(u16::MAX));
            agree(&over_udp, &over_tcp);
        }
    }
});

/// What must agree between two answers to one message.
#[derive(Debug)]
struct Said {
    tc: bool,
    aa: bool,
    rcode: u16,
    opt: bool,
    /// Records in the answer and the authority section.
    records: (u16, u16),
    /// Without header and OPT.
    body: Vec<u8>,
}

/// Checks what holds for every answer, and reads it.
fn check(packet: &[u8], reply: &[u8]) -> Said {
    let message = Message::from_octets(reply).expect("a header");
    let (header, counts) = (message.header(), message.header_counts());
    let asked = packet.get(..HEADER).expect("a header to answer");
    assert_eq!(reply[..2], asked[..2], "the id");
    assert!(header.qr() && !header.ra() && !header.z() && !header.ad());
    assert_eq!(reply[2] & 0x79, asked[2] & 0x79, "opcode and RD come back");
    assert_eq!(reply[3] & 0x10, asked[3] & 0x10, "CD comes back");

    let mut parser = Parser::from_ref(reply);
    parser.advance(HEADER).expect("a header");
    assert!(counts.qdcount() <= 1, "{} questions", counts.qdcount());
    for _ in 0..counts.qdcount() {
        Question::parse(&mut parser).expect("a question");
    }
    let question = parser.pos();
    assert_eq!(packet.get(HEADER..question), Some(&reply[HEADER..question]), "the question comes back");

    // Where OPT begins: the end of the message, if there is none.
    let mut opt_at = reply.len();
    for _ in 0..counts.ancount() + counts.nscount() + counts.arcount() {
        assert_eq!(opt_at, reply.len(), "OPT is last");
        let begin = parser.pos();
        let record = ParsedRecord::parse(&mut parser).expect("a record");
        if record.rtype() == Rtype::OPT {
            opt_at = begin;
        }
        let data = record.to_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>();
        data.expect("RDATA of its type").expect("RDATA of any type");
    }
    assert_eq!(parser.remaining(), 0, "octets behind the last record");
    let opt = opt_at < reply.len();
    let rcode = match opt {
        true => u16::from(reply[opt_at + 5]) << 4 | u16::from(header.rcode().to_int()),
        false => header.rcode().to_int().into(),
    };
    assert!(!header.tc() || opt_at == question, "cut, but not empty");
    Said {
        tc: header.tc(),
        aa: header.aa(),
        rcode,
        opt,
        records: (counts.ancount(), counts.nscount()),
        body: reply[HEADER..opt_at].to_vec(),
    }
}

fn agree(udp: &Said, tcp: &Said) {
    assert_eq!((udp.opt, udp.aa), (tcp.opt, tcp.aa));
    if udp.tc {
        // Where the chain of CNAMEs ends is not known in an answer that was cut.
        assert!(udp.rcode == tcp.rcode || udp.rcode == 0, "{udp:?} {tcp:?}");
        assert!(tcp.body.starts_with(&udp.body), "{udp:?} {tcp:?}");
        return;
    }
    assert_eq!((udp.rcode, udp.records), (tcp.rcode, tcp.records));
    // A referral may leave out addresses of name servers that are no glue.
    let refers = udp.records.1 > 0;
    assert!(udp.body == tcp.body || (refers && tcp.body.starts_with(&udp.body)), "{udp:?} {tcp:?}");
}

/// Longest answer over UDP that the sender of the packet takes.
fn limit(packet: &[u8], said: &Said) -> usize {
    let payload = Message::from_octets(packet).ok().and_then(|message| Some(message.opt()?.udp_payload_size()));
    match payload.filter(|_| said.opt) {
        Some(payload) => usize::from(payload.clamp(512, 1232)),
        None => 512,
    }
}

/// The handler of the rare messages.
fn rare(packet: &[u8]) {
    let peer = ([127, 0, 0, 1], 4711).into();
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let Some(reply) = RUNTIME.block_on(RARE.handle(packet.to_vec(), peer, protocol)) else { continue };
        let message = Message::from_octets(reply.as_slice()).expect("a header");
        assert!(message.header().qr() && !message.header().ra());
        assert_eq!((&reply[..2], reply[2] & 0x78), (&packet[..2], packet[2] & 0x78), "id and opcode come back");
        for section in message.sections().map(|(_, a, b, c)| [a, b, c]).expect("sections") {
            assert!(section.into_iter().all(|record| record.is_ok()));
        }
        assert!(reply.len() <= if protocol == Protocol::Udp { 1232 } else { usize::from(u16::MAX) });
    }
}
