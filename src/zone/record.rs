//! Static resource records, as a master file holds them.

use super::Name;

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
    pub const AAAA: u16 = 28;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const TSIG: u16 = 250;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
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
