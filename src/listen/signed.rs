//! What doors and keys are for: UPDATE (RFC 2136), and every message with a TSIG record (RFC 8945). Whoever has signed a
//! message gets a signed reply, whatever it says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_server::net::xfer::Protocol;

use super::{Rare, now_millis};
use crate::account::TsigKey;
use crate::answer::{Frame, HEADER, Rcode, Transport, UDP_PLAIN, Verdict, refuse};
use crate::door::rfc2136;
use crate::store::Writer;
use crate::tsig::{self, Checked, Keys, Signature, Signed};

/// RFC 1035 section 4.1.1, RFC 2136 section 1.3.
const QUERY: u8 = 0;
const UPDATE: u8 = 5;
/// An operator is told at most so often what is wrong with signatures, milliseconds.
const HINTS: u64 = 10_000;

/// Who may change something by UPDATE, and the way there.
#[derive(Debug)]
pub struct Updates {
    keys: Keys,
    writer: Writer,
    /// When the last hint was logged, milliseconds since 1970.
    told: AtomicU64,
}

/// What became of a message.
pub(super) enum Handled {
    /// `None` for silence.
    Reply(Option<Vec<u8>>),
    /// It is neither signed nor an UPDATE.
    Left(Vec<u8>),
}

impl Updates {
    pub fn new(keys: Keys, writer: Writer) -> Updates {
        Updates { keys, writer, told: AtomicU64::new(0) }
    }

    /// Says what is wrong with a signature; a stranger who sends many of them does not fill the log.
    fn tell(&self, hint: &str, peer: SocketAddr, now: u64) {
        let last = self.told.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= HINTS
            && self.told.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(%peer, "{hint}");
        }
    }
}

impl Rare {
    /// Replies to what is signed or an UPDATE.
    pub(super) async fn signed(&self, packet: Vec<u8>, peer: SocketAddr, protocol: Protocol) -> Handled {
        let now = now_millis();
        let Signed { message, by, signature } = match tsig::check(&self.updates.keys, &packet, now / 1_000) {
            Checked::Unsigned if opcode(&packet) == UPDATE => {
                return Handled::Reply(Some(self.update(&packet, None).await));
            }
            Checked::Unsigned => return Handled::Left(packet),
            Checked::Malformed => return Handled::Reply(Some(malformed(&packet))),
            Checked::Signed(signed) => signed,
        };
        let transport = if protocol == Protocol::Udp { Transport::Udp } else { Transport::Tcp };
        let reply = match by {
            Err(distrust) => {
                if let Some(hint) = distrust.hint {
                    self.updates.tell(&hint, peer, now);
                }
                Some(empty(&message, Rcode::NOTAUTH))
            }
            Ok(key) => self.reply(&message, key, peer, protocol, transport).await,
        };
        Handled::Reply(reply.map(|reply| finish(reply, &message, &signature, transport)))
    }

    /// Replies to a message that somebody known has signed.
    async fn reply(
        &self,
        message: &[u8],
        key: Arc<TsigKey>,
        peer: SocketAddr,
        protocol: Protocol,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        match opcode(message) {
            UPDATE => Some(self.update(message, Some(key)).await),
            QUERY => {
                let mut reply = Vec::new();
                match self.answerer.answer(message, peer.ip(), transport, &mut reply) {
                    Verdict::Reply => Some(reply),
                    Verdict::Silence | Verdict::Rare => None,
                }
            }
            _ => self.left(message.to_vec(), peer, protocol).await,
        }
    }

    async fn update(&self, message: &[u8], key: Option<Arc<TsigKey>>) -> Vec<u8> {
        let Some(frame) = Frame::read(message) else { return malformed(message) };
        if frame.has_unknown_version() {
            return empty(message, Rcode::BADVERS);
        }
        let rcode = rfc2136::update(&self.updates.writer, message, key).await;
        empty(message, Rcode(rcode as u16))
    }
}

fn opcode(packet: &[u8]) -> u8 {
    packet.get(2).map_or(u8::MAX, |flags| flags >> 3 & 0x0f)
}

/// A reply without records; FORMERR if there is no question that could be repeated. The header has been checked.
fn empty(packet: &[u8], rcode: Rcode) -> Vec<u8> {
    let mut reply = Vec::new();
    match Frame::read(packet) {
        Some(frame) => frame.reply(packet, rcode, &mut reply),
        None => refuse(packet, Rcode::FORMERR, &mut reply),
    }
    reply
}

/// FORMERR: with OPT if there was one (RFC 6891 section 7), else the header alone.
fn malformed(packet: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    match Frame::read(packet).filter(|frame| frame.edns.is_some()) {
        Some(frame) => frame.reply(packet, Rcode::FORMERR, &mut reply),
        None => refuse(packet, Rcode::FORMERR, &mut reply),
    }
    reply
}

/// Signs a reply. What does not fit with its signature is left out: first everything but the question, for TC and
/// NOERROR where somebody known has asked (RFC 8945 section 5.3); then that; and last, where names are as long as no known
/// key has them, the signature.
fn finish(mut reply: Vec<u8>, message: &[u8], signature: &Signature, transport: Transport) -> Vec<u8> {
    let frame = Frame::read(message);
    let limit = frame.map_or(usize::from(UDP_PLAIN), |frame| frame.limit(transport));
    let room = limit.saturating_sub(signature.added_octets());
    if reply.len() > room {
        const TC: u8 = 0x02;
        let rcode = u16::from(reply[3] & 0x0f);
        if opcode(message) == QUERY && rcode != Rcode::NOTAUTH.0 {
            reply[2] |= TC;
            reply[3] &= 0xf0;
        }
        let question = frame.map_or(0, |frame| frame.question.len());
        let questions = u16::from(question > 0 && HEADER + question <= room && reply.len() >= HEADER + question);
        reply.truncate(HEADER + usize::from(questions) * question);
        reply[4..HEADER].copy_from_slice(&[0, questions as u8, 0, 0, 0, 0, 0, 0]);
    }
    if reply.len() <= room {
        signature.finish(&mut reply);
    }
    reply
}
