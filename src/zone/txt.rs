//! TXT values and the set of them that one name holds.

use std::{fmt, str::FromStr};

use super::name::unescape;

/// Most values at one name; adding one more drops the oldest.
pub const MAX_VALUES: usize = 64;
/// Most octets of all values at one name together; the oldest leave first.
pub const MAX_SET_OCTETS: usize = 16 * 1024;
/// Longest value. DNS-01 tokens have 43 octets, dns-persist-01 records are longer.
pub const MAX_VALUE_OCTETS: usize = 4096;

/// Seconds since 1970-01-01T00:00:00Z.
pub type Timestamp = u64;

/// One TXT value: the octets that a reader gets by joining the character-strings of one RR.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TxtValue(Box<[u8]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a TXT value has at most {MAX_VALUE_OCTETS} octets")]
pub struct ValueTooLong;

impl TxtValue {
    pub fn new(octets: &[u8]) -> Result<TxtValue, ValueTooLong> {
        if octets.len() > MAX_VALUE_OCTETS {
            return Err(ValueTooLong);
        }
        Ok(TxtValue(octets.into()))
    }

    /// Joins the character-strings of a TXT record's RDATA; `None` if they do not fill it or are too long together.
    pub fn from_rdata(mut rdata: &[u8]) -> Option<TxtValue> {
        let mut octets = Vec::with_capacity(rdata.len());
        while let Some((&len, rest)) = rdata.split_first() {
            let (string, rest) = rest.split_at_checked(usize::from(len))?;
            octets.extend_from_slice(string);
            rdata = rest;
        }
        TxtValue::new(&octets).ok()
    }

    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The character-strings of at most 255 octets that make the RDATA (RFC 1035 section 3.3.14); one empty string
    /// for the empty value.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let empty: Option<&[u8]> = self.0.is_empty().then_some(&[]);
        self.0.chunks(255).chain(empty)
    }

    /// Octets of the RDATA.
    pub fn rdata_len(&self) -> usize {
        self.0.len() + self.0.len().div_ceil(255).max(1)
    }
}

/// The text of the value; octets outside printable ASCII as `\DDD`, backslash and quote escaped.
impl fmt::Display for TxtValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in &self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", byte as char)?,
                0x20..=0x7e => write!(f, "{}", byte as char)?,
                _ => write!(f, "\\{byte:03}")?,
            }
        }
        Ok(())
    }
}

/// Why a text is no TXT value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TxtValueError {
    #[error("bad escape: a backslash takes three decimal digits up to 255, or one other character")]
    BadEscape,
    #[error(transparent)]
    TooLong(#[from] ValueTooLong),
}

/// Reads what `Display` writes; characters outside ASCII stand for their UTF-8 octets.
impl FromStr for TxtValue {
    type Err = TxtValueError;
    fn from_str(text: &str) -> Result<TxtValue, TxtValueError> {
        let mut octets = Vec::with_capacity(text.len());
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            octets.push(match byte {
                b'\\' => unescape(&mut bytes).map_err(|_| TxtValueError::BadEscape)?,
                other => other,
            });
        }
        Ok(TxtValue::new(&octets)?)
    }
}

impl fmt::Debug for TxtValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A value and the moment from which it is no longer served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub value: TxtValue,
    pub expires: Timestamp,
}

/// The TXT values of one name, oldest first. A set: no value is in it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxtSet(Vec<Held>);

impl TxtSet {
    /// The set as the store held it, oldest first. Keeps the caps by dropping the oldest, whoever wrote the store.
    pub fn from_held(held: Vec<Held>) -> TxtSet {
        let mut set = TxtSet(held);
        set.keep_caps();
        set
    }

    /// Adds a value, or makes a present one the newest with a later expiry. Keeps the caps by dropping the oldest.
    pub fn add(&mut self, value: TxtValue, expires: Timestamp) {
        let present = self.0.iter().position(|held| held.value == value).map(|at| self.0.remove(at));
        let expires = present.map_or(expires, |held| held.expires.max(expires));
        self.0.push(Held { value, expires });
        self.keep_caps();
    }

    fn keep_caps(&mut self) {
        while self.0.len() > MAX_VALUES || (self.octets() > MAX_SET_OCTETS && self.0.len() > 1) {
            self.0.remove(0);
        }
    }

    /// Takes a value out; false if it was not there.
    pub fn remove(&mut self, value: &TxtValue) -> bool {
        let before = self.0.len();
        self.0.retain(|held| held.value != *value);
        self.0.len() != before
    }

    /// Takes out what is no longer served at `now`; true if anything went.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.0.len();
        self.0.retain(|held| held.expires > now);
        self.0.len() != before
    }

    /// The values served at `now`, oldest first.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &TxtValue> {
        self.0.iter().filter(move |held| held.expires > now).map(|held| &held.value)
    }

    pub fn held(&self) -> &[Held] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn octets(&self) -> usize {
        self.0.iter().map(|held| held.value.octets().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> TxtValue {
        TxtValue::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn adding_a_present_value_refreshes_it() {
        let mut set = TxtSet::default();
        set.add(value("a"), 10);
        set.add(value("b"), 10);
        set.add(value("a"), 20);
        assert_eq!(set.live(15).collect::<Vec<_>>(), [&value("a")]);
        assert_eq!(set.live(5).collect::<Vec<_>>(), [&value("b"), &value("a")]);
    }

    #[test]
    fn a_store_that_holds_too_much_is_cut_to_the_caps() {
        let held = (0..17u8).map(|n| Held { value: TxtValue::new(&[n; 4_096]).unwrap(), expires: 10 }).collect();
        let set = TxtSet::from_held(held);
        assert_eq!(
            set.held().iter().map(|held| held.value.strings().next().unwrap()[0]).collect::<Vec<_>>(),
            [13, 14, 15, 16]
        );
    }

    #[test]
    fn the_oldest_value_leaves_first() {
        let mut set = TxtSet::default();
        for n in 0..70 {
            set.add(value(&n.to_string()), 10);
        }
        assert_eq!(set.held().len(), MAX_VALUES);
        assert_eq!(set.held()[0].value, value("6"));
        let mut set = TxtSet::default();
        for n in 0..6 {
            set.add(value(&n.to_string().repeat(4096)), 10);
        }
        assert_eq!(set.held().len(), 4);
        assert_eq!(set.held()[3].value, value(&"5".repeat(4096)));
    }

    #[test]
    fn long_values_are_split_at_255_octets_rfc1035_3_3_14() {
        let long = value(&"x".repeat(300));
        assert_eq!(long.strings().map(<[u8]>::len).collect::<Vec<_>>(), [255, 45]);
        assert_eq!(long.rdata_len(), 302);
        assert_eq!(value("").strings().count(), 1);
        assert_eq!(value("").rdata_len(), 1);
        assert!(TxtValue::new(&[b'x'; 4097]).is_err());
    }

    #[test]
    fn the_text_of_a_value_reads_back() {
        let any: Vec<u8> = (0..=255).collect();
        let odd = TxtValue::new(&any).unwrap();
        assert_eq!(odd.to_string().parse(), Ok(odd));
        assert_eq!("ä".parse(), Ok(value("ä")));
        assert_eq!(r"\300".parse::<TxtValue>(), Err(TxtValueError::BadEscape));
    }
}
