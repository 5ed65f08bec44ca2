//! Domain names in wire form, compared without regard to ASCII case (RFC 1035 section 3.1, RFC 4343).

use std::{fmt, str::FromStr};

use super::Key;

/// An absolute domain name, kept in uncompressed wire form with ASCII letters in lower case.
///
/// Equality, ordering and hashing are those of the wire octets, so that two names are equal exactly when the DNS
/// says so. Displayed in presentation form without the final dot (the root is `.`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

/// Why a text or some octets are no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name must not be empty")]
    Empty,
    #[error("a label must not be empty")]
    EmptyLabel,
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    #[error("a name is longer than 255 octets")]
    TooLong,
    #[error("bad escape: a backslash takes three decimal digits up to 255, or one other character")]
    BadEscape,
    #[error("not an uncompressed domain name in wire form")]
    BadWire,
}

/// Longest name on the wire, the root label included (RFC 1035 section 2.3.4).
pub const MAX_NAME: usize = 255;

impl Name {
    /// The root.
    pub fn root() -> Name {
        Name(Box::from([0u8].as_slice()))
    }

    /// Reads presentation form, with or without a final dot; the name is taken as absolute either way.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        if text == "." {
            return Ok(Name::root());
        }
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label = Vec::with_capacity(63);
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' => {
                    push_label(&mut wire, &label)?;
                    label.clear();
                    if bytes.peek().is_none() {
                        return Name::finish(wire);
                    }
                }
                b'\\' => label.push(unescape(&mut bytes)?),
                other => label.push(other),
            }
        }
        push_label(&mut wire, &label)?;
        Name::finish(wire)
    }

    fn finish(mut wire: Vec<u8>) -> Result<Name, NameError> {
        wire.push(0);
        if wire.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        wire.make_ascii_lowercase();
        Ok(Name(wire.into()))
    }

    /// Takes an uncompressed name that fills `wire` exactly; letters become lower case.
    pub fn from_wire(wire: &[u8]) -> Result<Name, NameError> {
        if wire_len(wire) != Some(wire.len()) {
            return Err(NameError::BadWire);
        }
        Ok(Name(wire.to_ascii_lowercase().into()))
    }

    /// The octets: length-prefixed labels in lower case and the root label.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// For look-ups.
    pub fn key(&self) -> Key<'_> {
        Key::new(&self.0)
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The labels from the left, without the root label.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (&len, tail) = rest.split_first()?;
            if len == 0 {
                return None;
            }
            let (label, tail) = tail.split_at(usize::from(len));
            rest = tail;
            Some(label)
        })
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Name> {
        self.parent_wire().map(|wire| Name(wire.into()))
    }

    /// The wire form of [`Name::parent`], borrowed.
    pub fn parent_wire(&self) -> Option<&[u8]> {
        let len = usize::from(self.0[0]);
        (len != 0).then(|| &self.0[1 + len..])
    }

    /// Whether this name is `ancestor` or lies below it.
    pub fn is_at_or_below(&self, ancestor: &Name) -> bool {
        let mut rest: &[u8] = &self.0;
        while rest.len() > ancestor.0.len() {
            rest = &rest[1 + usize::from(rest[0])..];
        }
        *rest == *ancestor.0
    }

    /// Whether this name lies below `ancestor` and is not it.
    pub fn is_below(&self, ancestor: &Name) -> bool {
        self != ancestor && self.is_at_or_below(ancestor)
    }

    /// The name with one more label on the left.
    pub fn child(&self, label: &[u8]) -> Result<Name, NameError> {
        let mut wire = Vec::with_capacity(1 + label.len() + self.0.len());
        push_label(&mut wire, label)?;
        wire.extend_from_slice(&self.0);
        if wire.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        wire.make_ascii_lowercase();
        Ok(Name(wire.into()))
    }
}

/// Length of the uncompressed name at the start of `wire`, root label included; `None` if there is none.
pub fn wire_len(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let len = usize::from(*wire.get(at)?);
        if len == 0 {
            return (at < MAX_NAME).then_some(at + 1);
        }
        if len > 63 {
            return None;
        }
        at += 1 + len;
    }
}

fn push_label(wire: &mut Vec<u8>, label: &[u8]) -> Result<(), NameError> {
    let len = u8::try_from(label.len()).map_err(|_| NameError::LabelTooLong)?;
    match len {
        0 => return Err(NameError::EmptyLabel),
        64.. => return Err(NameError::LabelTooLong),
        _ => wire.push(len),
    }
    wire.extend_from_slice(label);
    Ok(())
}

/// The octet meant by what follows a backslash (RFC 1035 section 5.1).
pub(super) fn unescape(bytes: &mut std::iter::Peekable<std::str::Bytes<'_>>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(f, "\\{}", byte as char)?,
                    0x21..=0x7e => write!(f, "{}", byte as char)?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}.")
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::parse(text)
    }
}

/// Look-ups by a borrowed, lower-cased wire form, without allocating.
impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let text = String::deserialize(deserializer)?;
        Name::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_compare_without_case_rfc4343_3() {
        assert_eq!(Name::parse("WwW.Example.ORG.").unwrap(), Name::parse("www.example.org").unwrap());
    }

    #[test]
    fn escapes_are_read_and_shown_rfc1035_5_1() {
        let name = Name::parse(r"a\.b\065\032x.test").unwrap();
        assert_eq!(name.labels().next().unwrap(), b"a.ba x");
        assert_eq!(name.to_string(), r"a\.ba\032x.test");
        assert_eq!(Name::parse(&name.to_string()).unwrap(), name);
        assert_eq!(Name::parse(r"a\300"), Err(NameError::BadEscape));
        assert_eq!(Name::parse(r"a\"), Err(NameError::BadEscape));
    }

    #[test]
    fn limits_are_63_and_255_octets_rfc1035_2_3_4() {
        let label = "a".repeat(63);
        assert!(Name::parse(&label).is_ok());
        assert_eq!(Name::parse(&format!("{label}a")), Err(NameError::LabelTooLong));
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(Name::parse(&longest).unwrap().as_wire().len(), 255);
        assert_eq!(Name::parse(&format!("{longest}a")), Err(NameError::TooLong));
        assert_eq!(Name::parse("a..b"), Err(NameError::EmptyLabel));
    }

    #[test]
    fn below_means_whole_labels() {
        let origin = Name::parse("auth.example.org").unwrap();
        assert!(Name::parse("x.auth.example.org").unwrap().is_below(&origin));
        assert!(!Name::parse("xauth.example.org").unwrap().is_at_or_below(&origin));
        assert!(origin.is_at_or_below(&origin) && !origin.is_below(&origin));
        assert!(origin.is_below(&Name::root()));
    }

    #[test]
    fn wire_form_is_checked() {
        assert_eq!(Name::from_wire(b"\x01A\x00").unwrap().to_string(), "a");
        for bad in [b"\x01a".as_slice(), b"", b"\xc0\x00", b"\x00\x00"] {
            assert_eq!(Name::from_wire(bad), Err(NameError::BadWire));
        }
    }
}
