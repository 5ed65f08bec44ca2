//! A reply read by the domain crate: a second implementation judges what acmezone's own codec and hickory write.

use domain::base::iana::{Class, OptRcode, Rcode, Rtype};
use domain::base::opt::UnknownOptData;
use domain::base::rdata::ComposeRecordData;
use domain::base::{Header, Message, ParsedRecord, ToName};
use domain::rdata::{AllRecordData, Txt};

/// A whole message, taken apart. Names end with a dot and keep their case.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Flags, opcode and id: `reply.header.aa()`.
    pub header: Header,
    /// With the upper bits from the OPT record, if there is one.
    pub rcode: OptRcode,
    /// QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT as the header has them.
    pub counts: [u16; 4],
    pub question: Vec<Question>,
    pub answer: Vec<Record>,
    pub authority: Vec<Record>,
    /// Without the OPT record.
    pub additional: Vec<Record>,
    pub edns: Option<Edns>,
    /// Octets of the message.
    pub length: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub name: String,
    pub rtype: Rtype,
    pub class: Class,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub rtype: Rtype,
    pub class: Class,
    pub ttl: u32,
    /// As in a master file.
    pub rdata: String,
    /// RDATA with names uncompressed.
    pub octets: Vec<u8>,
    /// The octets of a TXT record, its character-strings joined.
    pub txt: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edns {
    pub udp_size: u16,
    pub version: u8,
    pub dnssec_ok: bool,
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Reply {
    /// Panics on anything that is not one well-formed message: no part of it may go unread.
    #[track_caller]
    pub fn parse(bytes: &[u8]) -> Reply {
        Self::try_parse(bytes).unwrap_or_else(|error| panic!("no DNS message: {error}: {bytes:02x?}"))
    }

    fn try_parse(bytes: &[u8]) -> Result<Reply, String> {
        let text = |error: domain::base::wire::ParseError| error.to_string();
        let message = Message::from_octets(bytes).map_err(|error| error.to_string())?;
        let counts = message.header_counts();
        let mut question = Vec::new();
        for entry in message.question() {
            let entry = entry.map_err(text)?;
            question.push(Question { name: dotted(entry.qname()), rtype: entry.qtype(), class: entry.qclass() });
        }
        let mut edns = None;
        let mut sections = [Vec::new(), Vec::new(), Vec::new()];
        let mut section = message.answer().map_err(text)?;
        for (number, records) in sections.iter_mut().enumerate() {
            if number > 0 {
                section = section.next_section().map_err(text)?.ok_or("a section is missing")?;
            }
            for record in section {
                let record = record.map_err(text)?;
                if record.rtype() != Rtype::OPT {
                    records.push(Record::read(&record).map_err(text)?);
                } else if number < 2 || edns.is_some() {
                    return Err("an OPT record too many, or out of place".to_owned());
                } else {
                    let opt = message.opt().ok_or("the OPT record does not parse")?;
                    let options: Result<Vec<_>, _> = opt.opt().iter::<UnknownOptData<_>>().collect();
                    let options = options.map_err(text)?;
                    let octets = |option: UnknownOptData<&[u8]>| (option.code().to_int(), option.data().to_vec());
                    edns = Some(Edns {
                        udp_size: opt.udp_payload_size(),
                        version: opt.version(),
                        dnssec_ok: opt.dnssec_ok(),
                        options: options.into_iter().map(octets).collect(),
                    });
                }
            }
        }
        let [answer, authority, additional] = sections;
        Ok(Reply {
            header: message.header(),
            rcode: message.opt_rcode(),
            counts: [counts.qdcount(), counts.ancount(), counts.nscount(), counts.arcount()],
            question,
            answer,
            authority,
            additional,
            edns,
            length: bytes.len(),
        })
    }

    /// The response code of the header, without the upper bits of EDNS.
    pub fn header_rcode(&self) -> Rcode {
        self.header.rcode()
    }

    /// The TXT values of the answer, as text, in order.
    pub fn txt_values(&self) -> Vec<String> {
        let values = self.answer.iter().filter_map(|record| record.txt.as_deref());
        values.map(|octets| String::from_utf8_lossy(octets).into_owned()).collect()
    }
}

impl Record {
    fn read(record: &ParsedRecord<'_, &[u8]>) -> Result<Record, domain::base::wire::ParseError> {
        let txt = record.to_record::<Txt<_>>()?.map(|txt| txt.data().text::<Vec<u8>>());
        let whole = record.to_any_record::<AllRecordData<_, _>>()?;
        let mut octets = Vec::new();
        let Ok(()) = whole.data().compose_rdata(&mut octets);
        Ok(Record {
            name: dotted(record.owner()),
            rtype: record.rtype(),
            class: record.class(),
            ttl: record.ttl().as_secs(),
            rdata: whole.data().to_string(),
            octets,
            txt,
        })
    }
}

fn dotted(name: impl ToName) -> String {
    name.fmt_with_dot().to_string()
}
