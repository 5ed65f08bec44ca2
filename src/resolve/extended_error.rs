//! Why a resolver has no answer: Extended DNS Errors (RFC 8914).

use std::fmt;

/// What the EDNS option says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExtendedError {
    code: u16,
    /// The resolver's own words; may be empty.
    text: String,
}

/// Longest text that is shown, characters.
const SHOWN: usize = 200;

impl ExtendedError {
    /// Number of the EDNS option.
    pub(super) const OPTION: u16 = 15;

    /// Reads the octets of the option; `None` if they are too few (RFC 8914 section 2).
    pub(super) fn from_octets(octets: &[u8]) -> Option<ExtendedError> {
        let (code, text) = octets.split_first_chunk()?;
        let text = String::from_utf8_lossy(text);
        let text =
            text.trim_end_matches('\0').chars().filter(|character| !character.is_control()).take(SHOWN).collect();
        Some(ExtendedError { code: u16::from_be_bytes(*code), text })
    }

    /// Whether an answer came that DNSSEC does not hold for.
    pub(super) fn is_dnssec(&self) -> bool {
        (6..=12).contains(&self.code)
    }
}

/// `DNSKEY Missing: the resolver's words`.
impl fmt::Display for ExtendedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 8914 sections 4.1 to 4.25.
        let words = match self.code {
            3 => "Stale Answer",
            5 => "DNSSEC Indeterminate",
            6 => "DNSSEC Bogus",
            7 => "Signature Expired",
            8 => "Signature Not Yet Valid",
            9 => "DNSKEY Missing",
            10 => "RRSIGs Missing",
            11 => "No Zone Key Bit Set",
            12 => "NSEC Missing",
            13 => "Cached Error",
            14 => "Not Ready",
            15 => "Blocked",
            16 => "Censored",
            17 => "Filtered",
            18 => "Prohibited",
            20 => "Not Authoritative",
            22 => "No Reachable Authority",
            23 => "Network Error",
            24 => "Invalid Data",
            _ => "",
        };
        match (words, self.text.as_str()) {
            ("", "") => write!(f, "extended error {}", self.code),
            ("", text) => write!(f, "extended error {}: {text}", self.code),
            (words, "") => f.write_str(words),
            (words, text) => write!(f, "{words}: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_error_is_a_code_and_words_rfc8914_2() {
        for (octets, shown, is_dnssec) in [
            (&b"\0\x06"[..], "DNSSEC Bogus", true),
            (b"\0\x09no keys\0", "DNSKEY Missing: no keys", true),
            (b"\0\x0c", "NSEC Missing", true),
            (b"\0\x0d", "Cached Error", false),
            (b"\0\x05", "DNSSEC Indeterminate", false),
            (b"\0\x16at\ndelegation", "No Reachable Authority: atdelegation", false),
            (b"\xff\xff", "extended error 65535", false),
            (b"\0\0other", "extended error 0: other", false),
        ] {
            let error = ExtendedError::from_octets(octets).unwrap();
            assert_eq!((error.to_string().as_str(), error.is_dnssec()), (shown, is_dnssec));
        }
        assert_eq!(ExtendedError::from_octets(b"\0"), None);
    }
}
