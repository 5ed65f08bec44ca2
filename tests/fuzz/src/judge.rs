//! What holds for every answer of the handler.

use acmezone::answer::Transport;
use domain::base::{Message, ParsedName, ParsedRecord};
use domain::rdata::AllRecordData;

type Data<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;

/// Longest answer over UDP that the sender of a message takes, which is as it says only if the answer has OPT too.
pub fn limit(message: &[u8], opt: bool) -> usize {
    let payload = Message::from_octets(message).ok().and_then(|message| Some(message.opt()?.udp_payload_size()));
    match payload.filter(|_| opt) {
        Some(payload) => usize::from(payload.clamp(512, 1232)),
        None => 512,
    }
}

/// Checks the answer to a rare message, every record of it; its last record, if there is one.
pub fn rare<'r>(message: &[u8], reply: &'r [u8], transport: Transport) -> Option<ParsedRecord<'r, [u8]>> {
    let parsed = Message::from_slice(reply).expect("a header");
    let header = parsed.header();
    assert!(header.qr() && !header.ra() && !header.z() && !header.ad());
    assert_eq!((&reply[..2], reply[2] & 0x78), (&message[..2], message[2] & 0x78), "id and opcode come back");
    let (question, answer, authority, additional) = parsed.sections().expect("sections");
    assert!(question.into_iter().all(|question| question.is_ok()));
    assert_eq!(answer.count() + authority.count(), 0, "nothing is told");
    let mut last = None;
    for record in additional {
        let record = record.expect("a record");
        record.to_record::<Data>().expect("RDATA of its type").expect("RDATA of any type");
        last = Some(record);
    }
    match transport {
        Transport::Udp => assert!(reply.len() <= limit(message, parsed.opt().is_some()), "{} octets", reply.len()),
        Transport::Tcp => assert!(!header.tc() && reply.len() <= usize::from(u16::MAX)),
    }
    last
}
