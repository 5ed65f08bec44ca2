//! Messages that carry a TSIG record of any kind (RFC 8945), by way of the handler: no key is known, so every one that can
//! be read is refused with BADKEY and nothing else.
//!
//! The input is the fields of the record, as long as a few lengths say, and the message that gets it as its last record.

#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;

use acmezone::answer::{HEADER, Transport, Verdict};
use acmezone::listen::Rare;
use acmezone_fuzz::judge;
use acmezone_fuzz::world::{self, NOW, handled};
use domain::base::iana::Rtype;
use domain::base::{Message, ParsedName, ParsedRecord};
use domain::rdata::tsig::Tsig;
use libfuzzer_sys::fuzz_target;

static RARE: LazyLock<Rare> = LazyLock::new(|| world::rare(NOW));

fuzz_target!(|input: &[u8]| {
    let Some(message) = signed(input) else { return };
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut fast = Vec::new();
        let verdict = RARE.answerer().answer(&message, peer.ip(), transport, NOW * 1_000, &mut fast);
        let reply = handled(&RARE, &message, peer, transport, NOW * 1_000);
        match verdict {
            Verdict::Rare => refused(&message, &reply.expect("a rare message is answered"), transport),
            Verdict::Reply => assert_eq!(reply, Some(fast)),
            Verdict::Silence => assert_eq!(reply, None),
        }
    }
});

/// Checks the answer to a message with a TSIG record, of a key that nobody knows.
fn refused(message: &[u8], reply: &[u8], transport: Transport) {
    const NOERROR: u16 = 0;
    const FORMERR: u16 = 1;
    const NOTIMP: u16 = 4;
    const REFUSED: u16 = 5;
    const NOTAUTH: u16 = 9;
    const BADVERS: u16 = 16;
    let last = judge::rare(message, reply, transport);
    let cut = reply[2] & 0x02 != 0;
    let signature = last.filter(|record| record.rtype() == Rtype::TSIG);
    match Message::from_slice(reply).expect("a header").opt_rcode().to_int() {
        // Long names leave no room for the record in 512 octets: to be asked again over TCP.
        NOERROR | BADVERS | NOTAUTH if cut => assert!(message.len() > 256),
        NOTAUTH => assert!(signature.is_some_and(bad_key)),
        // An EDNS version that is not known comes first; or the octets of the record turned out to belong to something
        // before it, or it has no RDATA.
        BADVERS | FORMERR | NOTIMP | REFUSED => assert!(signature.is_none_or(bad_key)),
        other => panic!("RCODE {other}"),
    }
}

/// Whether the record says BADKEY, unsigned (RFC 8945 section 5.2.1).
fn bad_key(record: ParsedRecord<'_, [u8]>) -> bool {
    const BADKEY: u16 = 17;
    let tsig = record.to_record::<Tsig<&[u8], ParsedName<&[u8]>>>().expect("a TSIG record").expect("TSIG");
    let tsig = tsig.data();
    (tsig.error().to_int(), tsig.mac_slice().len(), tsig.other().len()) == (BADKEY, 0, 0)
}

/// The message with the record.
fn signed(input: &[u8]) -> Option<Vec<u8>> {
    let (lengths, rest) = input.split_first_chunk::<4>()?;
    let [name, algorithm, mac, other] = lengths.map(usize::from);
    let (fixed, rest) = rest.split_first_chunk::<12>()?; // time, fudge, original id, error
    let (name, rest) = rest.split_at_checked(name)?;
    let (algorithm, rest) = rest.split_at_checked(algorithm)?;
    let (mac, rest) = rest.split_at_checked(mac)?;
    let (other, message) = rest.split_at_checked(other)?;

    let mut rdata = algorithm.to_vec();
    rdata.extend_from_slice(&fixed[..8]);
    rdata.extend_from_slice(&(mac.len() as u16).to_be_bytes());
    rdata.extend_from_slice(mac);
    rdata.extend_from_slice(&fixed[8..]);
    rdata.extend_from_slice(&(other.len() as u16).to_be_bytes());
    rdata.extend_from_slice(other);

    let mut signed = message.to_vec();
    let records = signed.get_mut(10..HEADER)?;
    let count = u16::from_be_bytes([records[0], records[1]]).wrapping_add(1);
    records.copy_from_slice(&count.to_be_bytes());
    signed.extend_from_slice(name);
    signed.extend_from_slice(&[0, 250, 0, 255, 0, 0, 0, 0]);
    signed.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    signed.extend_from_slice(&rdata);
    Some(signed)
}
