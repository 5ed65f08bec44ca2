//! Records as the lines of a master file (RFC 1035 section 5.1), for people to read.

use std::fmt;

use domain::base::iana::Rtype;
use domain::base::name::ParsedName;
use domain::base::rdata::ParseAnyRecordData;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;

use crate::zone::Name;

/// One record of class IN; displayed as one line with absolute names.
#[derive(Clone, Copy, Debug)]
pub struct RecordLine<'a> {
    pub owner: &'a Name,
    /// Seconds.
    pub ttl: u32,
    pub rtype: u16,
    /// Wire form, names uncompressed.
    pub rdata: &'a [u8],
}

impl fmt::Display for RecordLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.owner.is_root() { "" } else { "." };
        let rtype = Rtype::from_int(self.rtype);
        write!(f, "{}{dot} {} IN {rtype} ", self.owner, self.ttl)?;
        let mut parser = Parser::from_ref(self.rdata);
        match AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(rtype, &mut parser) {
            Ok(AllRecordData::Unknown(_)) | Err(_) => self.generic(f),
            Ok(data) if parser.remaining() == 0 => write!(f, "{}", data.display_zonefile(DisplayKind::Simple)),
            Ok(_) => self.generic(f),
        }
    }
}

impl RecordLine<'_> {
    /// The form that fits every type (RFC 3597 section 5).
    fn generic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r"\# {}", self.rdata.len())?;
        if !self.rdata.is_empty() {
            f.write_str(" ")?;
        }
        self.rdata.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::rtype;

    fn line(rtype: u16, rdata: &[u8]) -> String {
        let owner = Name::parse("www.example.org").unwrap();
        RecordLine { owner: &owner, ttl: 60, rtype, rdata }.to_string()
    }

    #[test]
    fn records_look_as_in_a_master_file_rfc1035_5_1() {
        assert_eq!(line(rtype::A, &[192, 0, 2, 1]), "www.example.org. 60 IN A 192.0.2.1");
        assert_eq!(line(rtype::MX, b"\x00\x0a\x01m\x00"), "www.example.org. 60 IN MX 10 m.");
        assert_eq!(line(rtype::TXT, b"\x03a\"b\x01c"), r#"www.example.org. 60 IN TXT "a\"b" "c""#);
    }

    #[test]
    fn the_root_has_one_dot() {
        let line = RecordLine { owner: &Name::root(), ttl: 1, rtype: rtype::NS, rdata: b"\x01a\x00" }.to_string();
        assert_eq!(line, ". 1 IN NS a.");
    }

    #[test]
    fn unknown_types_and_odd_data_are_generic_rfc3597_5() {
        assert_eq!(line(65400, &[1, 255]), r"www.example.org. 60 IN TYPE65400 \# 2 01ff");
        assert_eq!(line(rtype::A, &[1]), r"www.example.org. 60 IN A \# 1 01");
        assert_eq!(line(65400, &[]), r"www.example.org. 60 IN TYPE65400 \# 0");
    }
}
