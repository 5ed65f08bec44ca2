//! An UPDATE message taken apart (RFC 2136 section 2).

use domain::base::message::RecordSection;
use domain::base::name::{ParsedName, ToName};
use domain::base::rdata::{ComposeRecordData, ParseAnyRecordData, UnknownRecordData};
use domain::base::wire::ParseError;
use domain::base::{Message, ParsedRecord};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;

use crate::zone::{Name, TxtValue, rtype};

/// The sections of an UPDATE. The additional one says nothing to us.
#[derive(Debug)]
pub struct UpdateMessage {
    pub zone: Name,
    pub zone_type: u16,
    pub zone_class: u16,
    pub prerequisites: Vec<Entry>,
    pub updates: Vec<Entry>,
}

/// A record of the prerequisite or the update section.
#[derive(Debug)]
pub struct Entry {
    pub name: Name,
    pub rtype: u16,
    pub class: u16,
    pub ttl: u32,
    pub data: Data,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Data {
    /// RDLENGTH is 0.
    None,
    /// What a TXT record says.
    Txt(TxtValue),
    /// RDATA of another type as it compares (RFC 4034 section 6.2): names uncompressed and in lower case.
    Other(Vec<u8>),
    /// A TXT record of more octets than a value can have.
    TooLong,
    /// The octets are not what such a record has.
    Malformed,
}

/// The octets are no message with one zone.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<ParseError> for Malformed {
    fn from(_: ParseError) -> Malformed {
        Malformed
    }
}

impl UpdateMessage {
    pub fn read(packet: &[u8]) -> Result<UpdateMessage, Malformed> {
        let message = Message::from_slice(packet).map_err(|_| Malformed)?;
        let zone = message.sole_question()?;
        for record in message.additional()? {
            record?;
        }
        Ok(UpdateMessage {
            zone: name(zone.qname())?,
            zone_type: zone.qtype().to_int(),
            zone_class: zone.qclass().to_int(),
            prerequisites: entries(message.answer()?)?,
            updates: entries(message.authority()?)?,
        })
    }
}

fn entries(section: RecordSection<'_, [u8]>) -> Result<Vec<Entry>, Malformed> {
    section.map(|record| entry(&record?)).collect()
}

fn entry(record: &ParsedRecord<'_, [u8]>) -> Result<Entry, Malformed> {
    Ok(Entry {
        name: name(&record.owner())?,
        rtype: record.rtype().to_int(),
        class: record.class().to_int(),
        ttl: record.ttl().as_secs(),
        data: data(record),
    })
}

fn name(name: &impl ToName) -> Result<Name, Malformed> {
    Name::from_wire(name.to_vec().as_slice()).map_err(|_| Malformed)
}

fn data(record: &ParsedRecord<'_, [u8]>) -> Data {
    if record.rdlen() == 0 {
        return Data::None;
    }
    if record.rtype().to_int() == rtype::TXT {
        let Ok(Some(raw)) = record.to_record::<UnknownRecordData<&[u8]>>() else { return Data::Malformed };
        let rdata = raw.data().data();
        return match TxtValue::from_rdata(rdata) {
            Some(value) => Data::Txt(value),
            None if are_strings(rdata) => Data::TooLong,
            None => Data::Malformed,
        };
    }
    match record.to_any_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>() {
        Ok(record) => canonical(record.data()).map_or(Data::Malformed, Data::Other),
        Err(_) => Data::Malformed,
    }
}

/// RDATA of a record of the zone, as it compares with [`Data::Other`].
pub fn canonical_rdata(rtype: u16, rdata: &[u8]) -> Option<Vec<u8>> {
    let data = AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(rtype.into(), &mut Parser::from_ref(rdata));
    canonical(&data.ok()?)
}

fn canonical(data: &impl ComposeRecordData) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    data.compose_canonical_rdata(&mut octets).ok()?;
    Some(octets)
}

/// Whether character-strings fill the RDATA.
fn are_strings(mut rdata: &[u8]) -> bool {
    while let Some((&len, rest)) = rdata.split_first() {
        let Some(rest) = rest.get(usize::from(len)..) else { return false };
        rdata = rest;
    }
    true
}
