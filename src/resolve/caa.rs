//! CAA records as they are in a message (RFC 8659 section 4.1).
//!
//! They are read here because hickory takes none with a tag of more than 15 octets, or with others than letters and
//! digits in it, and then nothing of the answer: but a CA ignores such a property, unless it is critical.

use std::net::SocketAddr;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{self, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

use super::extended_error::ExtendedError;
use super::server::{over_tcp, over_udp, query};
use super::{Answer, Code, ResolveError, Resolver, from_hickory};
use crate::zone::Name;

const IN: u16 = 1;

/// A property of a domain: who may issue certificates for it (RFC 8659 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caa {
    /// Where the record is: the name that was asked for, or what its CNAMEs lead to.
    pub owner: Name,
    pub flags: u8,
    /// What is no UTF-8 in it is replaced.
    pub tag: String,
    /// As it is in the record, not interpreted.
    pub value: Vec<u8>,
}

/// What a recursive resolver answered, as far as it is of use here.
pub(super) struct Reply {
    pub code: ResponseCode,
    /// The resolver's reason, if it gives one (RFC 8914).
    pub reason: Option<ExtendedError>,
    is_truncated: bool,
    /// Owner, type and RDATA of the records in the answer section.
    answer: Vec<(Name, RecordType, Vec<u8>)>,
}

impl Resolver {
    /// The CAA records that a CA finds at `name`, over CNAMEs; not those of the names above.
    pub async fn caa(&self, name: &Name) -> Result<Answer<Caa>, ResolveError> {
        let rtype = RecordType::CAA;
        let reply = self.reply(name, rtype).await?;
        if !matches!(reply.code, ResponseCode::NoError | ResponseCode::NXDomain) {
            return Err(ResolveError::refused(name, rtype, reply.code, reply.reason));
        }
        let mut records = Vec::new();
        for (owner, _, rdata) in reply.answer.into_iter().filter(|(_, found, _)| *found == rtype) {
            let record = property(owner, &rdata).ok_or_else(|| ResolveError::Failed {
                name: name.clone(),
                rtype: rtype.into(),
                reason: "a record that ends within its tag".into(),
            })?;
            records.push(record);
        }
        Ok(Answer { code: Code::from(reply.code), records })
    }

    /// What the first of our servers says that has an answer, or else one of them without. All are asked at the same
    /// time: there are few, and one of them may be dead.
    pub(super) async fn reply(&self, name: &Name, rtype: RecordType) -> Result<Reply, ResolveError> {
        let unanswered = |reason: String| ResolveError::NoAnswer { name: name.clone(), rtype: rtype.into(), reason };
        let (id, question) = query(name, rtype, true).map_err(unanswered)?;
        let servers = self.servers()?;
        let mut answers: FuturesUnordered<_> = servers.iter().map(|server| one(*server, id, &question)).collect();
        let mut outcome = Err(unanswered("there is no server to ask".into()));
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(reply) if matches!(reply.code, ResponseCode::NoError | ResponseCode::NXDomain) => return Ok(reply),
                Ok(reply) => outcome = Ok(reply),
                Err(reason) if outcome.is_err() => outcome = Err(unanswered(reason)),
                Err(_) => {}
            }
        }
        outcome
    }
}

/// Asks one server: over TCP where UDP does not do.
async fn one(server: SocketAddr, id: u16, question: &[u8]) -> Result<Reply, String> {
    if let Ok(octets) = over_udp(server, id, question).await
        && let Ok(reply) = Reply::read(&octets, id)
        && !reply.is_truncated
    {
        return Ok(reply);
    }
    let octets = over_tcp(server, question).await.map_err(|error| format!("{server}: {error}"))?;
    Reply::read(&octets, id).map_err(|error| format!("{server}: {error}"))
}

impl Reply {
    fn read(octets: &[u8], id: u16) -> Result<Reply, DecodeError> {
        let mut decoder = BinDecoder::new(octets);
        let mut header = [0; 6];
        for field in &mut header {
            *field = number(&mut decoder)?;
        }
        let [its_id, flags, questions, answers, authorities, additionals] = header;
        // QR.
        if its_id != id || flags & 0x8000 == 0 {
            return Err(DecodeError::InsufficientBytes);
        }
        for _ in 0..questions {
            rr::Name::read(&mut decoder)?;
            decoder.read_u32()?;
        }
        let (mut answer, mut high, mut reason) = (Vec::new(), 0, None);
        for index in 0..u32::from(answers) + u32::from(authorities) + u32::from(additionals) {
            let owner = rr::Name::read(&mut decoder)?;
            let (rtype, class) = (RecordType::from(number(&mut decoder)?), number(&mut decoder)?);
            // All values are fine.
            let ttl = decoder.read_u32()?.unverified();
            let len = usize::from(number(&mut decoder)?);
            let rdata = decoder.read_slice(len)?.unverified();
            if rtype == RecordType::OPT {
                // RFC 6891 section 6.1.3.
                high = (ttl >> 24) as u8;
                reason = extended_error(rdata);
            } else if index < u32::from(answers)
                && class == IN
                && let Some(owner) = from_hickory(&owner)
            {
                answer.push((owner, rtype, rdata.to_vec()));
            }
        }
        let code = ResponseCode::from(high, (flags & 0xf) as u8);
        Ok(Reply { code, reason, is_truncated: flags & 0x0200 != 0, answer })
    }
}

fn number(decoder: &mut BinDecoder<'_>) -> Result<u16, DecodeError> {
    Ok(decoder.read_u16()?.unverified())
}

/// The Extended DNS Error among the options of an OPT record (RFC 6891 section 6.1.2).
fn extended_error(mut options: &[u8]) -> Option<ExtendedError> {
    loop {
        let (head, rest) = options.split_first_chunk::<4>()?;
        let (code, len) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
        let octets = rest.get(..usize::from(len))?;
        if code == ExtendedError::OPTION {
            return ExtendedError::from_octets(octets);
        }
        options = rest.get(usize::from(len)..)?;
    }
}

/// `None` if the record ends within its tag.
fn property(owner: Name, rdata: &[u8]) -> Option<Caa> {
    let (&[flags, len], rest) = rdata.split_first_chunk()?;
    let (tag, value) = rest.split_at_checked(usize::from(len))?;
    Some(Caa { owner, flags, tag: String::from_utf8_lossy(tag).into_owned(), value: value.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_with_any_tag_is_read_rfc8659_4_1() {
        let owner = Name::parse("x.test").unwrap();
        let read = |rdata: &[u8]| property(owner.clone(), rdata).map(|caa| (caa.flags, caa.tag, caa.value));
        let tag = "sixteen-octets!!";
        assert_eq!(read(b"\x80\x10sixteen-octets!!v"), Some((128, tag.to_owned(), b"v".to_vec())));
        assert_eq!(read(b"\0\0"), Some((0, String::new(), Vec::new())));
        assert_eq!((read(b"\0\x05issu"), read(b"\0")), (None, None));
    }

    #[test]
    fn a_reply_has_its_code_reason_and_answer_rfc8914_2() {
        let mut octets = b"\x12\x34\x81\x82\0\x01\0\x01\0\0\0\x01\x01x\x04test\0\x01\x01\0\x01".to_vec();
        octets.extend_from_slice(b"\xc0\x0c\x01\x01\0\x01\0\0\0\0\0\x02\0\0");
        octets.extend_from_slice(b"\0\0\x29\x04\xd0\x01\0\0\0\0\x0a\0\x08\0\0\0\x0f\0\x02\0\x06");
        let reply = Reply::read(&octets, 0x1234).unwrap();
        assert_eq!((u16::from(reply.code), reply.is_truncated), (18, false));
        assert!(reply.reason.unwrap().is_dnssec());
        assert_eq!(reply.answer, [(Name::parse("x.test").unwrap(), RecordType::CAA, b"\0\0".to_vec())]);
        assert!(Reply::read(&octets, 0x1235).is_err());
        for len in 0..octets.len() {
            assert!(Reply::read(&octets[..len], 0x1234).is_err(), "{len}");
        }
    }
}
