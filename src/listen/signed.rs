//! What doors and keys are for: UPDATE (RFC 2136), and every message with a TSIG record (RFC 8945). Whoever has signed a
//! message gets a signed reply, whatever it says.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_server::net::xfer::Protocol;

use super::Rare;
use super::throttle::Throttle;
use crate::account::{Keys, TsigKey};
use crate::answer::{Frame, HEADER, Rcode, Transport, UDP_PLAIN, Verdict, refuse};
use crate::door::rfc2136;
use crate::store::Writer;
use crate::tsig::{self, Checked, Signature, Signed};

/// RFC 1035 section 4.1.1, RFC 2136 section 1.3.
const QUERY: u8 = 0;
const UPDATE: u8 = 5;

/// Who may change something by UPDATE, and the way there. By default nobody.
#[derive(Debug, Default)]
pub struct Updates {
    /// It knows the keys.
    writer: Option<Writer>,
    /// Hints about signatures.
    told: Throttle,
}

/// What became of a message.
pub(super) enum Handled {
    /// `None` for silence.
    Reply(Option<Vec<u8>>),
    /// It is neither signed nor an UPDATE.
    Left(Vec<u8>),
}

impl Updates {
    pub fn new(writer: Writer) -> Updates {
        Updates { writer: Some(writer), told: Throttle::default() }
    }

    /// Who has signed a message. `now` is in milliseconds since 1970.
    fn check(&self, packet: &[u8], now: u64) -> Checked {
        match &self.writer {
            Some(writer) => tsig::check(&writer.keys().keys(), packet, now / 1_000),
            None => tsig::check(&Keys::default(), packet, now / 1_000),
        }
    }

    /// Says what is wrong with a signature; a stranger who sends many of them does not fill the log.
    fn tell(&self, hint: &str, peer: SocketAddr, now: u64) {
        if let Some(messages) = self.told.count(now / 1_000) {
            tracing::warn!(%peer, messages, "{hint}");
        }
    }
}

impl Rare {
    /// Replies to what is signed or an UPDATE. `now` is in milliseconds since 1970.
    pub(super) async fn signed(&self, packet: Vec<u8>, peer: SocketAddr, protocol: Protocol, now: u64) -> Handled {
        let Signed { message, by, signature } = match self.updates.check(&packet, now) {
            Checked::Unsigned if opcode(&packet) == UPDATE => {
                return Handled::Reply(Some(self.update(&packet, None, peer, now).await));
            }
            Checked::Unsigned => return Handled::Left(packet),
            Checked::Malformed => return Handled::Reply(Some(malformed(&packet))),
            Checked::Signed(signed) => signed,
        };
        let reply = match by {
            Err(distrust) => {
                if let Some(hint) = distrust.hint {
                    self.updates.tell(&hint, peer, now);
                }
                Some(self.empty(&message, Rcode::NOTAUTH, peer, now))
            }
            Ok(key) => self.reply(&message, key, peer, protocol, now).await,
        };
        Handled::Reply(reply.map(|reply| finish(reply, &message, &signature, transport(protocol))))
    }

    /// Replies to a message that somebody known has signed.
    async fn reply(
        &self,
        message: &[u8],
        key: Arc<TsigKey>,
        peer: SocketAddr,
        protocol: Protocol,
        now: u64,
    ) -> Option<Vec<u8>> {
        match opcode(message) {
            UPDATE => Some(self.update(message, Some(key), peer, now).await),
            QUERY => {
                let mut reply = Vec::new();
                match self.answerer().answer(message, peer.ip(), transport(protocol), now, &mut reply) {
                    Verdict::Reply => Some(reply),
                    Verdict::Silence | Verdict::Rare => None,
                }
            }
            _ => self.left(message.to_vec(), peer, protocol, now).await,
        }
    }

    async fn update(&self, message: &[u8], key: Option<Arc<TsigKey>>, peer: SocketAddr, now: u64) -> Vec<u8> {
        let Some(frame) = Frame::read(message) else { return malformed(message) };
        if frame.has_unknown_version() {
            return self.empty(message, Rcode::BADVERS, peer, now);
        }
        let rcode = rfc2136::update(self.updates.writer.as_ref().zip(key), message).await;
        self.empty(message, Rcode(rcode as u16), peer, now)
    }

    /// A reply without records; FORMERR if there is no question that could be repeated. The header has been checked.
    fn empty(&self, packet: &[u8], rcode: Rcode, peer: SocketAddr, now: u64) -> Vec<u8> {
        let Some(frame) = Frame::read(packet) else { return malformed(packet) };
        let mut reply = Vec::new();
        frame.reply(packet, rcode, self.cookie(packet, peer, now), &mut reply);
        reply
    }
}

fn transport(protocol: Protocol) -> Transport {
    if protocol == Protocol::Udp { Transport::Udp } else { Transport::Tcp }
}

fn opcode(packet: &[u8]) -> u8 {
    packet.get(2).map_or(u8::MAX, |flags| flags >> 3 & 0x0f)
}

/// FORMERR, the header alone.
fn malformed(packet: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    refuse(packet, Rcode::FORMERR, &mut reply);
    reply
}

/// Signs a reply. What does not fit with its signature is left out: first everything but the question, for TC and
/// NOERROR where somebody known has asked (RFC 8945 section 5.3); then that; and last, where names are as long as no known
/// key has them, the signature: TC says to ask again over TCP.
fn finish(mut reply: Vec<u8>, message: &[u8], signature: &Signature, transport: Transport) -> Vec<u8> {
    let frame = Frame::read(message);
    const TC: u8 = 0x02;
    let limit = frame.map_or(usize::from(UDP_PLAIN), |frame| frame.limit(transport));
    let room = limit.saturating_sub(signature.added_octets());
    if reply.len() > room {
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
    } else {
        reply[2] |= TC;
    }
    reply
}
