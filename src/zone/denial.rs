//! What a zone says of what it does not have, made ready when the zone is loaded.

use super::{Name, rtype, wire_len};

/// The SOA record as negative answers carry it (RFC 2308 section 3), ready but for what is different in each.
///
/// It belongs into an answer whose question is a name at or below the origin: its own names end in pointers to that.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The record from its owner on; TTL and SERIAL are to be put in.
    pub octets: Box<[u8]>,
    /// Where the compression pointers are. Each counts from where the origin stands in the question.
    pub pointers: Vec<usize>,
}

impl Denial {
    /// Where the TTL belongs.
    pub const TTL: usize = 6;
    /// How far before the end SERIAL begins.
    pub const SERIAL: usize = 20;

    /// `None` if `soa` is not the RDATA of an SOA record.
    pub(super) fn new(origin: &Name, soa: &[u8]) -> Option<Denial> {
        let mut octets = vec![0xc0, 0, 0, rtype::SOA as u8, 0, 1, 0, 0, 0, 0, 0, 0];
        let mut pointers = vec![0];
        let begin = octets.len();
        let mut rest = soa;
        for _ in ["MNAME", "RNAME"] {
            let (name, after) = rest.split_at_checked(wire_len(rest)?)?;
            compress(name, origin, &mut octets, &mut pointers);
            rest = after;
        }
        octets.extend_from_slice(rest);
        let rdlength = u16::try_from(octets.len() - begin).ok()?;
        octets[begin - 2..begin].copy_from_slice(&rdlength.to_be_bytes());
        Some(Denial { octets: octets.into(), pointers })
    }
}

/// Writes a name (wire form); from the first suffix on that it has in common with the origin, a pointer to that.
fn compress(name: &[u8], origin: &Name, octets: &mut Vec<u8>, pointers: &mut Vec<usize>) {
    let mut rest = name;
    while let Some(&len) = rest.first().filter(|len| **len != 0) {
        let mut suffix = origin.as_wire();
        while !suffix.eq_ignore_ascii_case(rest) && suffix[0] != 0 {
            suffix = &suffix[1 + usize::from(suffix[0])..];
        }
        if suffix[0] != 0 {
            pointers.push(octets.len());
            octets.extend_from_slice(&[0xc0, (origin.as_wire().len() - suffix.len()) as u8]);
            return;
        }
        let (label, after) = rest.split_at(1 + usize::from(len));
        octets.extend_from_slice(label);
        rest = after;
    }
    octets.push(0);
}
