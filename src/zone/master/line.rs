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
        match self.own_form(rtype) {
            Some(text) => f.write_str(&text),
            None => self.generic(f),
        }
    }
}

impl RecordLine<'_> {
    /// The form of this type; `None` if it has none, or if a reader would not find the same octets in it: of some
    /// types the `domain` crate writes what it does not read, such as `nodefaultalpn`.
    fn own_form(&self, rtype: Rtype) -> Option<String> {
        let mut parser = Parser::from_ref(self.rdata);
        let text = match AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(rtype, &mut parser) {
            Ok(AllRecordData::Unknown(_)) | Err(_) => return None,
            Ok(data) => data.display_zonefile(DisplayKind::Simple).to_string(),
        };
        let read = super::read(&format!(". 0 IN {rtype} {text}"), &Name::root()).ok()?;
        matches!(read.as_slice(), [only] if *only.record.rdata == *self.rdata).then_some(text)
    }

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
    fn every_line_can_be_read_again() {
        let long = [&[250][..], &[b'x'; 250]].concat();
        let odd: [(u16, &[u8]); 5] = [
            (rtype::HTTPS, b"\0\x01\0\0\x02\0\0"),          // no-default-alpn
            (rtype::HTTPS, b"\0\x01\0\xfd\xe8\0\x03x\"y"),  // a private key with a quote in its value
            (rtype::HTTPS, b"\0\x01\0\0\x01\0\x04\x03a,b"), // an ALPN with a comma in it
            (rtype::CAA, b"\0\x05issue ca; x=\"\\\0\xff"),
            (rtype::TXT, &long),
        ];
        for (rtype, rdata) in odd {
            let read = super::super::read(&line(rtype, rdata), &Name::root()).unwrap();
            assert_eq!((read[0].record.rtype, &*read[0].record.rdata), (rtype, rdata));
        }
    }

    #[test]
    fn unknown_types_and_odd_data_are_generic_rfc3597_5() {
        assert_eq!(line(65400, &[1, 255]), r"www.example.org. 60 IN TYPE65400 \# 2 01ff");
        assert_eq!(line(rtype::A, &[1]), r"www.example.org. 60 IN A \# 1 01");
        assert_eq!(line(65400, &[]), r"www.example.org. 60 IN TYPE65400 \# 0");
    }
}
