//! The header, question and OPT record of a query, read without allocating.
//!
//! The header is checked first: nothing below it is looked at unless the counts are those of a query.

use super::cookie::Cookie;
use crate::zone::{Key, MAX_NAME, rtype};

/// Octets of the header (RFC 1035 section 4.1.1).
pub const HEADER: usize = 12;

/// QUERY, RFC 1035 section 4.1.1.
const OPCODE_QUERY: u8 = 0;
/// RFC 1996.
const OPCODE_NOTIFY: u8 = 4;
/// RFC 2136.
const OPCODE_UPDATE: u8 = 5;

/// RFC 7873 section 4.
pub const COOKIE_OPTION: u16 = 10;

/// A response code (RFC 1035 section 4.1.1, RFC 6891 section 6.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rcode(pub u16);

impl Rcode {
    pub const NOERROR: Rcode = Rcode(0);
    pub const FORMERR: Rcode = Rcode(1);
    pub const SERVFAIL: Rcode = Rcode(2);
    pub const NXDOMAIN: Rcode = Rcode(3);
    pub const NOTIMP: Rcode = Rcode(4);
    pub const REFUSED: Rcode = Rcode(5);
    pub const NOTAUTH: Rcode = Rcode(9);
    pub const BADVERS: Rcode = Rcode(16);
    /// RFC 7873 section 8.
    pub const BADCOOKIE: Rcode = Rcode(23);
}

/// The OPT record of a query (RFC 6891 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns<'a> {
    /// Octets that the requestor can take over UDP, as it said.
    pub payload: u16,
    pub version: u8,
    /// DNSSEC OK (RFC 3225).
    pub dnssec_ok: bool,
    pub cookie: Option<Cookie<'a>>,
}

/// A well-formed query with exactly one question.
#[derive(Debug)]
pub struct Query<'a> {
    /// QNAME, QTYPE and QCLASS as they came.
    pub question: &'a [u8],
    pub qtype: u16,
    pub qclass: u16,
    pub edns: Option<Edns<'a>>,
    /// QNAME in lower case.
    pub key: Key<'a>,
}

/// What a message turned out to be.
#[derive(Debug)]
pub enum Message<'a> {
    Query(Query<'a>),
    /// A question-less query with a COOKIE option (RFC 7873 section 5.4).
    CookieOnly(Edns<'a>),
    /// Not for this room: UPDATE, NOTIFY, or signed by TSIG. Has exactly one question (or zone) in the header, or none
    /// but a cookie.
    Rare,
    /// No answer: not even a header, or itself an answer.
    Silence,
    /// FORMERR of a message that has an OPT record. The answer has one too, so that nobody takes this server for one
    /// without EDNS (RFC 6891 sections 6.1.1 and 7).
    Malformed {
        /// As it came, empty if there is none.
        question: &'a [u8],
        dnssec_ok: bool,
    },
    /// Answered with the header alone.
    Refuse(Rcode),
}

/// Octets that are put in lower case at a time.
const BLOCK: usize = 16;

/// Room for a name in lower-case wire form, on the stack.
#[derive(Debug)]
pub struct LowerName([u8; MAX_NAME.next_multiple_of(BLOCK)]);

impl LowerName {
    pub fn new() -> LowerName {
        LowerName([0; MAX_NAME.next_multiple_of(BLOCK)])
    }

    /// `wire` must be a whole uncompressed name; at most 255 octets of it are taken.
    pub fn set(&mut self, wire: &[u8]) -> Key<'_> {
        let len = wire.len().min(MAX_NAME);
        self.0[..len].copy_from_slice(&wire[..len]);
        // Whole blocks, each in a few instructions. What lies behind the name does not matter, and a length octet is
        // no letter.
        for block in self.0[..len.next_multiple_of(BLOCK)].as_chunks_mut::<BLOCK>().0 {
            block.make_ascii_lowercase();
        }
        Key::new(&self.0[..len])
    }
}

fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

/// Sorts a message: opcode first, then the number of questions (RFC 9619), then what follows. `name` is room for QNAME.
pub fn read<'a>(packet: &'a [u8], name: &'a mut LowerName) -> Message<'a> {
    let (Some(&flags), true) = (packet.get(2), packet.len() >= HEADER) else { return Message::Silence };
    if flags & 0x80 != 0 {
        return Message::Silence; // QR: an answer is never answered
    }
    let count = |index: usize| u16::from_be_bytes([packet[4 + 2 * index], packet[5 + 2 * index]]);
    let (questions, answers, authorities, additionals) = (count(0), count(1), count(2), count(3));
    match (flags >> 3) & 0x0f {
        OPCODE_QUERY => {}
        OPCODE_NOTIFY | OPCODE_UPDATE if questions == 1 => return Message::Rare,
        OPCODE_NOTIFY | OPCODE_UPDATE => return Message::Refuse(Rcode::FORMERR),
        _ => return Message::Refuse(Rcode::NOTIMP),
    }
    let read = match questions {
        0 if answers == 0 && authorities == 0 => read_cookie_only(packet, additionals),
        1 => read_query(packet, name, [answers, authorities, additionals]),
        _ => None,
    };
    read.unwrap_or(Message::Refuse(Rcode::FORMERR))
}

fn read_query<'a>(packet: &'a [u8], name: &'a mut LowerName, counts: [u16; 3]) -> Option<Message<'a>> {
    let [answers, authorities, additionals] = counts;
    let name_len = crate::zone::wire_len(&packet[HEADER..])?;
    let question = packet.get(HEADER..HEADER + name_len + 4)?;
    let qtype = u16_at(question, name_len)?;
    let qclass = u16_at(question, name_len + 2)?;
    let mut at = HEADER + question.len();
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        at = record_at(packet, at)?.end;
    }
    let tail = read_additionals(packet, at, additionals)?;
    // Only IXFR has a record besides the question: the SOA that the secondary has (RFC 1995 section 3).
    if tail.malformed || answers != 0 || (authorities != 0 && qtype != rtype::IXFR) {
        return tail.edns.map(|edns| Message::Malformed { question, dnssec_ok: edns.dnssec_ok });
    }
    if tail.signed {
        return Some(Message::Rare);
    }
    let key = name.set(&question[..name_len]);
    Some(Message::Query(Query { question, qtype, qclass, edns: tail.edns, key }))
}

/// What a message of any opcode has that its reply depends on.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The one question or zone, as it came; empty if there is none.
    pub question: &'a [u8],
    pub edns: Option<Edns<'a>>,
}

impl<'a> Frame<'a> {
    /// `None` if the octets are not at most one question and records, or OPT is not as it must be.
    pub fn read(packet: &'a [u8]) -> Option<Frame<'a>> {
        let (questions, answers, authorities) = (u16_at(packet, 4)?, u16_at(packet, 6)?, u16_at(packet, 8)?);
        let question = match questions {
            0 => &[],
            _ => packet.get(HEADER..HEADER + crate::zone::wire_len(packet.get(HEADER..)?)? + 4)?,
        };
        let mut at = HEADER + question.len();
        for _ in 0..u32::from(answers) + u32::from(authorities) {
            at = record_at(packet, at)?.end;
        }
        let tail = read_additionals(packet, at, u16_at(packet, 10)?)?;
        (questions <= 1 && !tail.malformed).then_some(Frame { question, edns: tail.edns })
    }
}

fn read_cookie_only(packet: &[u8], additionals: u16) -> Option<Message<'_>> {
    let tail = read_additionals(packet, HEADER, additionals)?;
    let edns = tail.edns?;
    if tail.malformed || edns.cookie.is_none() {
        return Some(Message::Malformed { question: &[], dnssec_ok: edns.dnssec_ok });
    }
    Some(if tail.signed { Message::Rare } else { Message::CookieOnly(edns) })
}

#[derive(Default)]
struct Additionals<'a> {
    edns: Option<Edns<'a>>,
    signed: bool,
    /// The octets are records, but OPT or TSIG is not as it must be.
    malformed: bool,
}

/// Looks for OPT and TSIG; other records are skipped. Every record takes octets of the packet, so the count cannot
/// make this longer than the packet is. `None` if the octets are no records.
fn read_additionals(packet: &[u8], mut at: usize, count: u16) -> Option<Additionals<'_>> {
    let mut found = Additionals::default();
    for index in 0..count {
        let record = record_at(packet, at)?;
        match record.rtype {
            rtype::OPT => {
                let version = (record.ttl >> 16) as u8;
                let cookie = read_cookie(record.rdata);
                // RFC 6891 section 6.1.1: one OPT, its owner is the root. What the options of another version look
                // like is not known.
                found.malformed |= found.edns.is_some() || packet[at] != 0 || (version == 0 && cookie.is_none());
                found.edns = found.edns.or(Some(Edns {
                    payload: record.class,
                    version,
                    dnssec_ok: record.ttl & 0x8000 != 0,
                    cookie: cookie.flatten(),
                }));
            }
            // RFC 8945 section 5.1: the last record
            rtype::TSIG if index + 1 == count => found.signed = true,
            rtype::TSIG => found.malformed = true,
            _ => {}
        }
        at = record.end;
    }
    Some(found)
}

/// The first COOKIE of the options, which is the only one that counts (RFC 7873 section 5.2); `None` if they are
/// malformed.
fn read_cookie(mut options: &[u8]) -> Option<Option<Cookie<'_>>> {
    let mut cookie = None;
    while !options.is_empty() {
        let code = u16_at(options, 0)?;
        let len = usize::from(u16_at(options, 2)?);
        let value = options.get(4..4 + len)?;
        if code == COOKIE_OPTION && cookie.is_none() {
            cookie = Some(Cookie::read(value)?);
        }
        options = &options[4 + len..];
    }
    Some(cookie)
}

struct RecordAt<'a> {
    rtype: u16,
    class: u16,
    ttl: u32,
    rdata: &'a [u8],
    end: usize,
}

/// The record that begins at `at`. A compression pointer ends its owner name and is not followed, so there is no loop.
fn record_at(packet: &[u8], at: usize) -> Option<RecordAt<'_>> {
    let mut end = at;
    loop {
        let len = *packet.get(end)?;
        match len {
            0 => break end += 1,
            1..=63 => end += 1 + usize::from(len),
            0xc0.. => break end += 2,
            _ => return None,
        }
        if end - at > MAX_NAME {
            return None;
        }
    }
    let fixed = packet.get(end..end + 10)?;
    let rdlength = usize::from(u16_at(fixed, 8)?);
    let rdata = packet.get(end + 10..end + 10 + rdlength)?;
    Some(RecordAt {
        rtype: u16_at(fixed, 0)?,
        class: u16_at(fixed, 2)?,
        ttl: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        rdata,
        end: end + 10 + rdlength,
    })
}
