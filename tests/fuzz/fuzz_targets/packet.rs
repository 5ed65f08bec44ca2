//! Octets of a stranger, answered as over UDP and as over TCP: both answers are sound, and say the same.

#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;

use acmezone::answer::{HEADER, Transport, Verdict};
use acmezone::listen::Rare;
use acmezone_fuzz::judge;
use acmezone_fuzz::world::{self, NOW, fast, handled};
use domain::base::iana::Rtype;
use domain::base::{Message, ParsedName, ParsedRecord, Question};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;
use libfuzzer_sys::fuzz_target;

static RARE: LazyLock<Rare> = LazyLock::new(|| world::rare(NOW));

fuzz_target!(|packet: &[u8]| {
    let (udp, tcp) = (answer(packet, Transport::Udp), answer(packet, Transport::Tcp));
    assert_eq!(udp.0, tcp.0);
    match (udp, tcp) {
        ((Verdict::Reply, Some(udp)), (_, Some(tcp))) => {
            let (over_udp, over_tcp) = (check(packet, &udp), check(packet, &tcp));
            assert!(udp.len() <= judge::limit(packet, over_udp.opt), "{} octets over UDP", udp.len());
            assert!(!over_tcp.tc && tcp.len() <= usize::from(u16::MAX));
            agree(&over_udp, &over_tcp);
            if let Some(plain) = unaliased(packet) {
                let (_, label) = answer(&plain, Transport::Tcp);
                let records = |message: &[u8], reply: &[u8]| reply[message.len()..].to_vec();
                assert_eq!(records(&plain, &label.expect("an answer")), records(packet, &tcp));
            }
        }
        ((Verdict::Rare, Some(udp)), (_, Some(tcp))) => {
            judge::rare(packet, &udp, Transport::Udp);
            judge::rare(packet, &tcp, Transport::Tcp);
        }
        ((verdict, reply), _) => assert!(verdict == Verdict::Silence && reply.is_none(), "{verdict:?} {reply:?}"),
    }
});

/// The question for the values of the label, if this is nothing but the question for those of its alias.
fn unaliased(packet: &[u8]) -> Option<Vec<u8>> {
    const ALIAS: &[u8] = b"\x0f_acme-challenge\x07example\x03com\0";
    const LABEL: &[u8] = b"\x03few\x04auth\x07example\x03org\0";
    const TXT_IN: [u8; 4] = [0, 16, 0, 1];
    let (header, question) = packet.split_at_checked(HEADER)?;
    let (asked, kind) = question.split_at_checked(ALIAS.len())?;
    let query = header[2] & 0x78 == 0 && header[4..] == [0, 1, 0, 0, 0, 0, 0, 0];
    let alone = query && kind == TXT_IN && asked.eq_ignore_ascii_case(ALIAS);
    alone.then(|| [header, LABEL, &kind].concat())
}

/// What the fast path says, and the handler; which is the same.
fn answer(packet: &[u8], transport: Transport) -> (Verdict, Option<Vec<u8>>) {
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    let handled = handled(&RARE, packet, peer, transport, NOW * 1_000);
    let (verdict, fast) = fast(&RARE, packet, peer, transport, NOW * 1_000);
    match verdict {
        Verdict::Reply => assert_eq!(handled.as_deref(), Some(&fast[..])),
        Verdict::Silence => assert_eq!(handled, None),
        Verdict::Rare => {}
    }
    (verdict, handled)
}

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
