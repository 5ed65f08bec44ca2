//! Signatures of messages with shared keys (TSIG, RFC 8945): checking requests, signing replies. Pure: the time comes in
//! as an argument.
//!
//! The records are read by the `domain` crate; the rest is our own. Its `tsig` feature brings a second cryptographic
//! provider into the process, and the error replies of 0.12.3 are of no use to a client: BADSIG is sent as FORMERR,
//! BADTRUNC is not signed, and the MAC of BADTIME is made over eight octets of Other Data where six are sent. hickory
//! has no SHA-1, and its BADTIME has no Other Data.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_lc_rs::hmac;
use domain::base::iana::Class;
use domain::base::name::{ParsedName, ToName};
use domain::base::wire::ParseError;
use domain::base::{Message, Rtype, Ttl};
use domain::rdata::Tsig;
use subtle::ConstantTimeEq;

use crate::account::{Keys, TsigAlgorithm, TsigKey};
use crate::zone::{Name, rtype};

/// Octets of the header (RFC 1035 section 4.1.1).
const HEADER: usize = 12;
/// Where ARCOUNT is.
const ARCOUNT: usize = 10;
/// How far the clock of who reads a reply may be off, seconds (RFC 8945 section 10).
const FUDGE: u16 = 300;
/// Least octets of a truncated MAC, whatever the algorithm (RFC 8945 section 5.2.2.1).
const SHORTEST_MAC: usize = 10;
/// No record can tell a later time (RFC 8945 section 4.2: 48 bits).
const LAST_TIME: u64 = (1 << 48) - 1;

/// What is wrong with a signature, as ERROR of the TSIG record (RFC 8945 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum TsigError {
    BadSig = 16,
    BadKey = 17,
    BadTime = 18,
    BadTrunc = 22,
}

/// What a message turned out to be.
#[derive(Debug)]
pub enum Checked {
    /// It has no TSIG record.
    Unsigned,
    /// To be answered with FORMERR, unsigned (RFC 8945 section 5.2).
    Malformed,
    Signed(Signed),
}

/// A message with a TSIG record. Its reply is to be finished with the signature; if nobody is believed to have signed it,
/// that reply is NOTAUTH.
#[derive(Debug)]
pub struct Signed {
    /// The message without its TSIG record.
    pub message: Vec<u8>,
    /// Whose signature it is.
    pub by: Result<Arc<TsigKey>, Distrust>,
    pub signature: Signature,
}

/// Why a signature is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    pub error: TsigError,
    /// What an operator should know; `None` if there is no key of that name.
    pub hint: Option<String>,
}

/// Checks the signature of a message, if it has one, in the order that RFC 8945 section 5.2 asks for: key, MAC, time,
/// truncation. `now` is in seconds since 1970.
///
/// That a message comes a second time is not noticed: requestors share keys, and datagrams overtake each other. What an
/// UPDATE says is as true then as it was at most five minutes before.
pub fn check(keys: &Keys, packet: &[u8], now: u64) -> Checked {
    match find(packet) {
        Ok(Some(found)) => found.check(keys, packet, now.min(LAST_TIME)).map_or(Checked::Malformed, Checked::Signed),
        Ok(None) => Checked::Unsigned,
        Err(Malformed) => Checked::Malformed,
    }
}

/// The octets are no message, or its TSIG record is not as it must be.
struct Malformed;

impl From<ParseError> for Malformed {
    fn from(_: ParseError) -> Malformed {
        Malformed
    }
}

/// The one TSIG record, which is the last of the message.
struct Found {
    /// Where it begins.
    at: usize,
    variables: Variables,
    mac: Vec<u8>,
    original_id: u16,
}

/// What of a TSIG record is signed (RFC 8945 section 4.3.3).
#[derive(Debug)]
struct Variables {
    /// Uncompressed, in the case of the requestor: some clients look for the very octets that they have sent.
    key_name: Vec<u8>,
    /// The same.
    algorithm: Vec<u8>,
    /// Seconds since 1970, 48 bits.
    time: u64,
    /// Seconds.
    fudge: u16,
    error: u16,
    other: Vec<u8>,
}

/// Looks for the TSIG record (RFC 8945 sections 4.2 and 5.1: one, the last of the additional section, class ANY, TTL 0).
fn find(packet: &[u8]) -> Result<Option<Found>, Malformed> {
    let message = Message::from_slice(packet).map_err(|_| Malformed)?;
    let mut section = message.answer()?;
    for _ in 0..2 {
        for record in section.by_ref() {
            if record?.rtype() == Rtype::TSIG {
                return Err(Malformed);
            }
        }
        section = section.next_section()?.ok_or(Malformed)?;
    }
    let mut found = None;
    loop {
        let at = section.pos();
        let Some(record) = section.next() else { return Ok(found) };
        let record = record?;
        if found.is_some() {
            return Err(Malformed);
        }
        if record.rtype() != Rtype::TSIG {
            continue;
        }
        if record.class() != Class::ANY || record.ttl() != Ttl::ZERO {
            return Err(Malformed);
        }
        let record = record.into_record::<Tsig<&[u8], ParsedName<&[u8]>>>()?.ok_or(Malformed)?;
        let tsig = record.data();
        found = Some(Found {
            at,
            variables: Variables {
                key_name: record.owner().to_vec().into_octets(),
                algorithm: tsig.algorithm().to_vec().into_octets(),
                time: tsig.time_signed().into(),
                fudge: tsig.fudge(),
                error: tsig.error().to_int(),
                other: tsig.other().to_vec(),
            },
            mac: tsig.mac().to_vec(),
            original_id: tsig.original_id(),
        });
    }
}

impl Found {
    /// `None` if the MAC has a length that cannot be (RFC 8945 section 5.2.2.1).
    fn check(self, keys: &Keys, packet: &[u8], now: u64) -> Option<Signed> {
        let Found { at, variables, mac, original_id } = self;
        // The message as it was before the record was added (RFC 8945 section 4.3.2), but for its id.
        let mut message = packet.get(..at)?.to_vec();
        let count = message.get_mut(ARCOUNT..HEADER)?;
        let additionals = u16::from_be_bytes([count[0], count[1]]).checked_sub(1)?;
        count.copy_from_slice(&additionals.to_be_bytes());

        let distrust = |error, hint| Err(Distrust { error, hint });
        let unsigned = |error: TsigError, variables: Variables| Signature {
            variables: Variables { error: error as u16, other: Vec::new(), ..variables },
            original_id,
            signing: None,
        };
        let known = keys.find(&variables.key_name);
        let Some(key) = known.filter(|key| variables.algorithm_is(key.algorithm)).cloned() else {
            let by = distrust(TsigError::BadKey, known.map(|key| wrong_algorithm(key, &variables.algorithm)));
            return Some(Signed { message, by, signature: unsigned(TsigError::BadKey, variables) });
        };
        let native = algorithm(key.algorithm).tag_len();
        if mac.len() > native || mac.len() < SHORTEST_MAC.max(native / 2) {
            return None;
        }
        let mut digest = context(&key);
        variables.digest_message(&mut digest, original_id, &message);
        let expected = digest.sign();
        if !bool::from(expected.as_ref().get(..mac.len())?.ct_eq(&mac)) {
            let hint = format!("the key {} has another secret there than here", key.name);
            let by = distrust(TsigError::BadSig, Some(hint));
            return Some(Signed { message, by, signature: unsigned(TsigError::BadSig, variables) });
        }
        let off = now.abs_diff(variables.time);
        let (by, variables) = if off > u64::from(variables.fudge) {
            let hint = format!("a message signed with the key {} is {off} s off: set the clocks", key.name);
            // RFC 8945 section 5.2.3: with the requestor's time, so that it can verify the reply.
            let other = now.to_be_bytes()[2..].to_vec();
            let variables = Variables { error: TsigError::BadTime as u16, other, ..variables };
            (distrust(TsigError::BadTime, Some(hint)), variables)
        } else {
            let variables = Variables { time: now, fudge: FUDGE, error: 0, other: Vec::new(), ..variables };
            if mac.len() < native {
                let hint = format!("signatures with the key {} are truncated: have them sent whole", key.name);
                let variables = Variables { error: TsigError::BadTrunc as u16, ..variables };
                (distrust(TsigError::BadTrunc, Some(hint)), variables)
            } else {
                (Ok(key.clone()), variables)
            }
        };
        let signature = Signature { variables, original_id, signing: Some(Signing { key, request_mac: mac }) };
        Some(Signed { message, by, signature })
    }
}

fn wrong_algorithm(key: &TsigKey, asked: &[u8]) -> String {
    let asked = Name::from_wire(asked).map_or_else(|_| "?".into(), |name| name.to_string());
    let why = match asked.as_str() {
        "hmac-md5.sig-alg.reg.int" | "hmac-sha224" => ", and acmezone never takes that",
        _ => "",
    };
    let here = key.algorithm;
    format!("the key {} is for {here}, not for {asked}{why}: set the client's algorithm to {here}", key.name)
}

impl Variables {
    fn algorithm_is(&self, algorithm: TsigAlgorithm) -> bool {
        let name = algorithm.name().as_bytes();
        let label = self.algorithm.strip_suffix(&[0]).and_then(<[u8]>::split_first);
        label.is_some_and(|(&len, label)| usize::from(len) == name.len() && label.eq_ignore_ascii_case(name))
    }

    /// RFC 8945 section 4.3.1: the message as it was before TSIG, and these.
    fn digest_message(&self, digest: &mut hmac::Context, original_id: u16, message: &[u8]) {
        digest.update(&original_id.to_be_bytes());
        digest.update(message.get(2..).unwrap_or_default());
        digest.update(&self.key_name.to_ascii_lowercase()); // a length octet is no letter
        digest.update(&Class::ANY.to_int().to_be_bytes());
        digest.update(&[0; 4]);
        digest.update(&self.algorithm.to_ascii_lowercase());
        digest.update(&self.time.to_be_bytes()[2..]);
        digest.update(&self.fudge.to_be_bytes());
        digest.update(&self.error.to_be_bytes());
        digest.update(&(self.other.len() as u16).to_be_bytes());
        digest.update(&self.other);
    }
}

/// What a reply is to be finished with.
#[derive(Debug)]
pub struct Signature {
    variables: Variables,
    original_id: u16,
    /// `None`: the reply is not signed, it only says why (RFC 8945 section 5.3.2).
    signing: Option<Signing>,
}

#[derive(Debug)]
struct Signing {
    key: Arc<TsigKey>,
    request_mac: Vec<u8>,
}

impl Signature {
    /// Octets that it adds to the reply.
    pub fn added_octets(&self) -> usize {
        let mac = self.signing.as_ref().map_or(0, |signing| algorithm(signing.key.algorithm).tag_len());
        let Variables { key_name, algorithm, other, .. } = &self.variables;
        key_name.len() + 10 + algorithm.len() + 16 + mac + other.len()
    }

    /// Adds the TSIG record to a whole reply, which has no record after this (RFC 8945 section 5.3).
    pub fn finish(&self, reply: &mut Vec<u8>) {
        let Variables { key_name, algorithm, time, fudge, error, other } = &self.variables;
        let mac = self.signing.as_ref().map(|Signing { key, request_mac }| {
            let mut digest = context(key);
            digest.update(&(request_mac.len() as u16).to_be_bytes());
            digest.update(request_mac);
            self.variables.digest_message(&mut digest, self.original_id, reply);
            digest.sign()
        });
        let mac = mac.as_ref().map_or(&[][..], AsRef::as_ref);
        let Some(count) = reply.get_mut(ARCOUNT..HEADER) else { return };
        let additionals = u16::from_be_bytes([count[0], count[1]]).saturating_add(1);
        count.copy_from_slice(&additionals.to_be_bytes());
        reply.extend_from_slice(key_name);
        reply.extend_from_slice(&rtype::TSIG.to_be_bytes());
        reply.extend_from_slice(&Class::ANY.to_int().to_be_bytes());
        reply.extend_from_slice(&[0; 4]);
        reply.extend_from_slice(&((algorithm.len() + 16 + mac.len() + other.len()) as u16).to_be_bytes());
        reply.extend_from_slice(algorithm);
        reply.extend_from_slice(&time.to_be_bytes()[2..]);
        reply.extend_from_slice(&fudge.to_be_bytes());
        reply.extend_from_slice(&(mac.len() as u16).to_be_bytes());
        reply.extend_from_slice(mac);
        reply.extend_from_slice(&self.original_id.to_be_bytes());
        reply.extend_from_slice(&error.to_be_bytes());
        reply.extend_from_slice(&(other.len() as u16).to_be_bytes());
        reply.extend_from_slice(other);
    }
}

fn algorithm(algorithm: TsigAlgorithm) -> hmac::Algorithm {
    match algorithm {
        TsigAlgorithm::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        TsigAlgorithm::HmacSha256 => hmac::HMAC_SHA256,
        TsigAlgorithm::HmacSha384 => hmac::HMAC_SHA384,
        TsigAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
    }
}

fn context(key: &TsigKey) -> hmac::Context {
    hmac::Context::with_key(&hmac::Key::new(algorithm(key.algorithm), key.secret.reveal()))
}
