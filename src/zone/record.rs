//! Static resource records, as a master file holds them.

use super::{Name, wire_len};

/// TYPE values (RFC 1035 section 3.2.2 and the IANA registry) that the code speaks of by name.
pub mod rtype {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const HINFO: u16 = 13;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const RP: u16 = 17;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const NAPTR: u16 = 35;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const SSHFP: u16 = 44;
    pub const TLSA: u16 = 52;
    pub const SVCB: u16 = 64;
    pub const HTTPS: u16 = 65;
    pub const TSIG: u16 = 250;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
    pub const CAA: u16 = 257;
}

/// One resource record of class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub owner: Name,
    /// TYPE, see [`rtype`].
    pub rtype: u16,
    /// Seconds.
    pub ttl: u32,
    /// RDATA in wire form, names uncompressed and in the case of the file.
    pub rdata: Box<[u8]>,
}

/// A record and where it stands in its master file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    pub record: Record,
    pub place: Place,
}

/// Line and column, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// What is wrong in a master file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {message}", place.line, place.column)]
pub struct ZoneProblem {
    pub place: Place,
    pub message: String,
}

/// Whether `rdata` is built as its type demands, so that the names in it can be walked: of every type that holds
/// names or texts and is known here. RDATA of other types is opaque (RFC 3597 section 3) and always sound.
pub fn rdata_is_sound(rtype: u16, rdata: &[u8]) -> bool {
    use Field::{Name, Octets, Rest, Text};
    let fields: &[Field] = match rtype {
        rtype::A => &[Octets(4)],
        rtype::AAAA => &[Octets(16)],
        rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME => &[Name],
        rtype::SOA => &[Name, Name, Octets(20)],
        rtype::MX => &[Octets(2), Name],
        rtype::HINFO => &[Text, Text],
        rtype::RP => &[Name, Name],
        rtype::SRV => &[Octets(6), Name],
        rtype::NAPTR => &[Octets(4), Text, Text, Text, Name],
        rtype::TXT => return texts_fill(rdata),
        rtype::CAA => &[Octets(1), Text, Rest(0)],
        rtype::DS => &[Octets(4), Rest(1)],
        rtype::SSHFP => &[Octets(2), Rest(1)],
        rtype::TLSA => &[Octets(3), Rest(1)],
        rtype::SVCB | rtype::HTTPS => &[Octets(2), Name, Rest(0)],
        _ => return true,
    };
    fields.iter().try_fold(rdata, |rest, field| rest.get(field.len(rest)?..)).is_some_and(<[u8]>::is_empty)
}

/// A part of RDATA.
enum Field {
    Octets(usize),
    /// An uncompressed domain name.
    Name,
    /// A character-string (RFC 1035 section 3.3).
    Text,
    /// All that is left, but at least so many octets.
    Rest(usize),
}

impl Field {
    /// Its length at the start of `wire`, which may be longer than `wire` is; `None` if it cannot be there.
    fn len(&self, wire: &[u8]) -> Option<usize> {
        match self {
            Field::Octets(len) => Some(*len),
            Field::Name => wire_len(wire),
            Field::Text => wire.first().map(|len| 1 + usize::from(*len)),
            Field::Rest(least) => (wire.len() >= *least).then_some(wire.len()),
        }
    }
}

/// Whether one or more character-strings fill `rdata` exactly (RFC 1035 section 3.3.14).
fn texts_fill(rdata: &[u8]) -> bool {
    let mut rest = rdata;
    while let Some(len) = Field::Text.len(rest) {
        let Some(after) = rest.get(len..) else { return false };
        rest = after;
    }
    !rdata.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT_SOA: [u8; 22] = [0; 22];

    #[test]
    fn rdata_with_names_is_walked_rfc1035_3_3() {
        let name = b"\x01a\x00";
        for rtype in [rtype::NS, rtype::CNAME, rtype::PTR, rtype::DNAME] {
            assert!(rdata_is_sound(rtype, name));
            for bad in [b"".as_slice(), b"\x01a", b"\x02a\x00", b"\x01a\x00\x00", b"\xc0\x0c", b"\x40"] {
                assert!(!rdata_is_sound(rtype, bad), "{rtype} {bad:?}");
            }
        }
        assert!(rdata_is_sound(rtype::MX, b"\x00\x0a\x01a\x00"));
        assert!(!rdata_is_sound(rtype::MX, b"\x00"));
        assert!(!rdata_is_sound(rtype::MX, b"\x00\x0a"));
        assert!(rdata_is_sound(rtype::SRV, b"\0\0\0\0\0\0\0"));
        assert!(!rdata_is_sound(rtype::SRV, b"\0\0\0\0\0\0"));
        assert!(rdata_is_sound(rtype::SOA, &ROOT_SOA));
        assert!(!rdata_is_sound(rtype::SOA, &ROOT_SOA[..21]));
        assert!(!rdata_is_sound(rtype::SOA, &[0; 23]));
        assert!(!rdata_is_sound(rtype::SOA, &[0; 3]));
        assert!(rdata_is_sound(rtype::HTTPS, b"\0\x01\0\0\x01\0\x03\x02h2"));
        assert!(!rdata_is_sound(rtype::HTTPS, b"\0\x01"));
    }

    #[test]
    fn a_name_in_rdata_has_at_most_255_octets_rfc1035_2_3_4() {
        let mut name = Vec::new();
        for len in [63, 63, 63, 61] {
            name.push(len);
            name.extend(vec![b'x'; usize::from(len)]);
        }
        name.push(0);
        assert_eq!(name.len(), 255);
        assert!(rdata_is_sound(rtype::NS, &name));
        name.splice(0..0, [1, b'y']);
        assert!(!rdata_is_sound(rtype::NS, &name));
    }

    #[test]
    fn addresses_and_texts_have_their_length_rfc1035_3_3_14_rfc3596_2_2() {
        assert!(rdata_is_sound(rtype::A, &[0; 4]) && !rdata_is_sound(rtype::A, &[0; 5]));
        assert!(rdata_is_sound(rtype::AAAA, &[0; 16]) && !rdata_is_sound(rtype::AAAA, &[0; 15]));
        assert!(rdata_is_sound(rtype::TXT, b"\0") && rdata_is_sound(rtype::TXT, b"\x01a\x02bc"));
        assert!(!rdata_is_sound(rtype::TXT, b"") && !rdata_is_sound(rtype::TXT, b"\x01a\x03bc"));
        assert!(rdata_is_sound(rtype::HINFO, b"\0\0") && !rdata_is_sound(rtype::HINFO, b"\0"));
        assert!(rdata_is_sound(12345, b""), "opaque, RFC 3597 section 3");
    }
}
