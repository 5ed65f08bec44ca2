//! Writes an answer: header, the question as it came, records with compressed names, OPT; and cuts it when it is too
//! long.

use super::cookie;
use super::query::{COOKIE_OPTION, HEADER, Rcode};
use crate::zone::{Denial, MAX_NAME, rtype};

/// UDP payload that this server offers, and the most it sends (RFC 9715).
pub const UDP_PAYLOAD: u16 = 1232;
/// UDP payload of a requestor without EDNS (RFC 1035 section 2.3.4).
pub const UDP_PLAIN: u16 = 512;

const OPT_LEN: usize = 11;
/// The COOKIE option of an answer: code, length, both cookies (RFC 7873 section 4).
const COOKIE_LEN: usize = 4 + cookie::REPLY;
/// RFC 8914 section 2.
const EXTENDED_ERROR_OPTION: u16 = 15;
/// The EXTENDED ERROR option of an answer: code, length, INFO-CODE; no EXTRA-TEXT.
const EXTENDED_ERROR_LEN: usize = 6;
/// How many places of labels are remembered for compression; more is not needed for the answers given here.
const MEMORY: usize = 32;

/// Where the owner name of a record has been written already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset(usize);

/// The question's name.
pub const QUESTION: Offset = Offset(HEADER);

/// The section that records are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Answer = 1,
    Authority = 2,
    Additional = 3,
}

/// Why a query was refused (RFC 8914 section 4): what an operator reads in dig, and what a resolver passes on. Sent
/// where the response code alone leaves the reason open, to whom has sent an OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError(u16);

impl ExtendedError {
    /// Nobody may do that here: zone transfers, NOTIFY.
    pub const PROHIBITED: ExtendedError = ExtendedError(18);
    /// The name lies in no zone of this server.
    pub const NOT_AUTHORITATIVE: ExtendedError = ExtendedError(20);
    /// This server knows no such thing: classes other than IN, TKEY.
    pub const NOT_SUPPORTED: ExtendedError = ExtendedError(21);

    /// Code and content of the option.
    pub fn option(self) -> (u16, [u8; 2]) {
        (EXTENDED_ERROR_OPTION, self.0.to_be_bytes())
    }
}

/// The OPT record of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt {
    /// DO comes back as it came (RFC 3225 section 3).
    pub dnssec_ok: bool,
    /// Client and server cookie.
    pub cookie: Option<[u8; cookie::REPLY]>,
}

impl Opt {
    fn len(&self) -> usize {
        OPT_LEN + if self.cookie.is_some() { COOKIE_LEN } else { 0 }
    }
}

/// The answer did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// An answer being written. `out` is used as it is: no allocation once it has grown.
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    /// Octets that may be used, those of OPT not counted.
    max: usize,
    /// End of the question.
    start: usize,
    opt: Option<Opt>,
    counts: [u16; 4],
    labels: [u16; MEMORY],
    remembered: usize,
}

impl<'a> Encoder<'a> {
    /// Begins the answer to a message: its id, opcode, RD and CD come back (RFC 1035 4.1.1, RFC 4035 3.1.6), the
    /// question octet for octet. `max` is the longest answer that may be sent.
    pub fn new(out: &'a mut Vec<u8>, packet: &[u8], question: &[u8], opt: Option<Opt>, max: usize) -> Encoder<'a> {
        let flags = [0x80 | packet[2] & 0x79, packet[3] & 0x10]; // QR, opcode, RD; CD
        out.clear();
        out.extend_from_slice(&[packet[0], packet[1], flags[0], flags[1], 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(question);
        let reserved = opt.map_or(0, |opt| opt.len());
        let start = out.len();
        Encoder {
            out,
            max: max.saturating_sub(reserved),
            start,
            opt,
            counts: [u16::from(!question.is_empty()), 0, 0, 0],
            labels: [0; MEMORY],
            remembered: 0,
        }
    }

    /// Sets AA (RFC 1035 section 4.1.1).
    pub fn authoritative(&mut self) {
        self.out[2] |= 0x04;
    }

    /// Adds a record whose owner is written elsewhere in the answer.
    pub fn record(
        &mut self,
        section: Section,
        owner: Offset,
        rtype: u16,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<Offset, Full> {
        if rtype != rtype::TXT {
            self.pointer(owner)?;
            return self.body(section, rtype, ttl, rdata);
        }
        // What acmezone is there for, in two steps.
        let ([p0, p1], [t0, t1, t2, t3]) = (pointer(owner)?, ttl.to_be_bytes());
        let [l0, l1] = u16::try_from(rdata.len()).map_err(|_| Full)?.to_be_bytes();
        self.put(&[p0, p1, 0, rtype::TXT as u8, 0, 1, t0, t1, t2, t3, l0, l1])?;
        let at = Offset(self.out.len());
        self.put(rdata)?;
        self.counts[section as usize] += 1;
        Ok(at)
    }

    /// Adds a record with its owner name (uncompressed wire form).
    pub fn named_record(
        &mut self,
        section: Section,
        owner: &[u8],
        rtype: u16,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<Offset, Full> {
        self.name(owner)?;
        self.body(section, rtype, ttl, rdata)
    }

    /// Adds the SOA record of a negative answer (RFC 2308 section 3) to the authority section. The question must be a
    /// name at or below `origin` (wire form).
    pub fn denial(&mut self, origin: &[u8], denial: &Denial, ttl: u32, serial: u32) -> Result<(), Full> {
        let begin = self.out.len();
        self.put(&denial.octets)?;
        let record = &mut self.out[begin..];
        let origin_at = (self.start - 4).saturating_sub(origin.len()) as u16;
        for &at in &denial.pointers {
            let pointer = u16::from_be_bytes([record[at], record[at + 1]]) + origin_at;
            record[at..at + 2].copy_from_slice(&pointer.to_be_bytes());
        }
        let serial_at = record.len() - Denial::SERIAL;
        record[Denial::TTL..Denial::TTL + 4].copy_from_slice(&ttl.to_be_bytes());
        record[serial_at..serial_at + 4].copy_from_slice(&serial.to_be_bytes());
        self.counts[Section::Authority as usize] += 1;
        Ok(())
    }

    /// Everything in the answer so far, to come back to with `rewind`.
    pub fn mark(&self) -> Mark {
        Mark { len: self.out.len(), counts: self.counts, remembered: self.remembered }
    }

    /// Takes back everything since the mark.
    pub fn rewind(&mut self, mark: Mark) {
        self.out.truncate(mark.len);
        self.counts = mark.counts;
        self.remembered = mark.remembered;
    }

    /// The answer is too long: nothing but the header with TC, the question and OPT (RFC 2181 section 9).
    pub fn truncate(&mut self) {
        self.out.truncate(self.start);
        self.counts = [self.counts[0], 0, 0, 0];
        self.out[2] |= 0x02;
    }

    /// Writes the response code and OPT; the answer is complete.
    pub fn end(&mut self, rcode: Rcode) {
        self.close(rcode, None);
    }

    /// Writes REFUSED, and the reason into OPT, if there is one; the answer is complete. It has no records, so there is
    /// room: header, longest question and OPT are 316 octets.
    pub fn refuse(&mut self, reason: ExtendedError) {
        self.close(Rcode::REFUSED, Some(reason));
    }

    fn close(&mut self, rcode: Rcode, reason: Option<ExtendedError>) {
        let [questions, answers, authorities, mut additionals] = self.counts;
        self.out[3] |= (rcode.0 & 0x0f) as u8;
        if let Some(opt) = self.opt {
            additionals += 1;
            let do_bit = if opt.dnssec_ok { 0x80 } else { 0 };
            let payload = UDP_PAYLOAD.to_be_bytes();
            let extended = (rcode.0 >> 4) as u8;
            let reason_len = if reason.is_some() { EXTENDED_ERROR_LEN } else { 0 };
            let rdlength = (opt.len() - OPT_LEN + reason_len) as u8;
            self.out.extend_from_slice(&[
                0,
                0,
                rtype::OPT as u8,
                payload[0],
                payload[1],
                extended,
                0,
                do_bit,
                0,
                0,
                rdlength,
            ]);
            if let Some(reason) = reason {
                let (code, [high, low]) = reason.option();
                self.out.extend_from_slice(&[0, code as u8, 0, 2, high, low]);
            }
            if let Some(cookie) = opt.cookie {
                self.out.extend_from_slice(&[0, COOKIE_OPTION as u8, 0, cookie::REPLY as u8]);
                self.out.extend_from_slice(&cookie);
            }
        }
        let counts = [questions, answers, authorities, additionals].map(u16::to_be_bytes);
        self.out[4..HEADER].copy_from_slice(counts.as_flattened());
    }

    fn body(&mut self, section: Section, rtype: u16, ttl: u32, rdata: &[u8]) -> Result<Offset, Full> {
        let length_at = self.fixed(rtype, ttl)?;
        let at = Offset(self.out.len());
        self.rdata(rtype, rdata)?;
        self.finish(section, length_at)?;
        Ok(at)
    }

    /// Names inside RDATA are compressed in the types of RFC 1035 alone (RFC 3597 section 4).
    fn rdata(&mut self, rtype: u16, rdata: &[u8]) -> Result<(), Full> {
        let name_len = |at: usize| rdata.get(at..).and_then(crate::zone::wire_len);
        match rtype {
            rtype::NS | rtype::CNAME | rtype::PTR => self.name(rdata),
            rtype::MX if rdata.len() > 2 => {
                self.put(&rdata[..2])?;
                self.name(&rdata[2..])
            }
            rtype::SOA => match name_len(0).and_then(|mname| Some((mname, name_len(mname)?))) {
                Some((mname, rname)) => {
                    self.name(&rdata[..mname])?;
                    self.name(&rdata[mname..mname + rname])?;
                    self.put(&rdata[mname + rname..])
                }
                None => self.put(rdata),
            },
            _ => self.put(rdata),
        }
    }

    /// TYPE, CLASS IN, TTL and room for RDLENGTH; where that is.
    fn fixed(&mut self, rtype: u16, ttl: u32) -> Result<usize, Full> {
        let (rtype, ttl) = (rtype.to_be_bytes(), ttl.to_be_bytes());
        self.put(&[rtype[0], rtype[1], 0, 1, ttl[0], ttl[1], ttl[2], ttl[3], 0, 0])?;
        Ok(self.out.len() - 2)
    }

    fn finish(&mut self, section: Section, length_at: usize) -> Result<(), Full> {
        let length = u16::try_from(self.out.len() - length_at - 2).map_err(|_| Full)?;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        self.counts[section as usize] += 1;
        Ok(())
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), Full> {
        if self.out.len() + octets.len() > self.max {
            return Err(Full);
        }
        self.out.extend_from_slice(octets);
        Ok(())
    }

    fn pointer(&mut self, owner: Offset) -> Result<(), Full> {
        self.put(&pointer(owner)?)
    }

    /// Writes a name (uncompressed wire form), its longest known suffix as a pointer (RFC 1035 section 4.1.4).
    fn name(&mut self, wire: &[u8]) -> Result<(), Full> {
        if self.remembered == 0 && self.counts[0] == 1 {
            self.remember(HEADER, self.start - 4);
        }
        let begin = self.out.len();
        let mut rest = wire;
        while let Some((&len, _)) = rest.split_first().filter(|(len, _)| **len != 0) {
            if let Some(known) = self.find(rest) {
                self.remember(begin, self.out.len());
                return self.pointer(Offset(known));
            }
            let Some(label) = rest.get(..1 + usize::from(len)) else { return Err(Full) };
            self.put(label)?;
            rest = &rest[label.len()..];
        }
        self.put(&[0])?;
        self.remember(begin, self.out.len());
        Ok(())
    }

    /// Remembers the labels written between two places.
    fn remember(&mut self, mut at: usize, end: usize) {
        while at < end && at < 0x4000 && self.remembered < MEMORY {
            let len = usize::from(self.out[at]);
            if len == 0 || len > 63 {
                return;
            }
            self.labels[self.remembered] = at as u16;
            self.remembered += 1;
            at += 1 + len;
        }
    }

    /// Where a name that is not the root has been written. Most others differ in length or first letter.
    fn find(&self, name: &[u8]) -> Option<usize> {
        let (&len, first) = (name.first()?, name.get(1)?);
        let alike = |at: &usize| self.out[*at] == len && self.out[*at + 1].eq_ignore_ascii_case(first);
        let known = self.labels[..self.remembered].iter().map(|at| usize::from(*at));
        known.filter(alike).find(|at| self.stands_at(*at, name))
    }

    /// Whether the name written at `at`, pointers followed, is `name` but for case.
    fn stands_at(&self, mut at: usize, mut name: &[u8]) -> bool {
        for _ in 0..2 * MAX_NAME {
            let len = usize::from(self.out[at]);
            if len >= 0xc0 {
                at = (len & 0x3f) << 8 | usize::from(self.out[at + 1]);
                continue;
            }
            let (Some(written), Some(wanted)) = (self.out.get(at..=at + len), name.get(..=len)) else { return false };
            if !written.eq_ignore_ascii_case(wanted) {
                return false;
            }
            if len == 0 {
                return true;
            }
            at += 1 + len;
            name = &name[1 + len..];
        }
        false
    }
}

/// A compression pointer (RFC 1035 section 4.1.4).
fn pointer(Offset(at): Offset) -> Result<[u8; 2], Full> {
    let at = u16::try_from(at).ok().filter(|at| *at < 0x4000).ok_or(Full)?;
    Ok((at | 0xc000).to_be_bytes())
}

/// A place in the answer.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    len: usize,
    counts: [u16; 4],
    remembered: usize,
}
