//! The text of a document. It may hold a private key: wiped from memory when dropped, never in `Debug`.

use std::fmt;
use std::io;
use std::ops::Deref;

use serde::Serialize;
use zeroize::Zeroizing;

use super::{Document, StoreError};

/// What a document says, as JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Zeroizing<String>);

/// A document, its key, and what it says from now on; `None`: it is deleted.
pub type Put = (Document, String, Option<Body>);

/// Counts octets and keeps none.
struct Count(usize);

impl Body {
    /// A value as JSON. How long that is, is found out before: a text that grows leaves its beginning behind in memory
    /// that is given back.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Body, StoreError> {
        let failed = |error: serde_json::Error| StoreError::Failed(error.to_string());
        let mut count = Count(0);
        serde_json::to_writer(&mut count, value).map_err(failed)?;
        let mut octets = Zeroizing::new(Vec::with_capacity(count.0));
        serde_json::to_writer(&mut *octets, value).map_err(failed)?;
        let text = String::from_utf8(std::mem::take(&mut *octets));
        text.map(Body::from).map_err(|error| StoreError::Failed(error.utf8_error().to_string()))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body(Zeroizing::new(text))
    }
}

impl Deref for Body {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(…)")
    }
}

impl io::Write for Count {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0 += octets.len();
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_as_long_as_its_room_and_is_not_shown() {
        let value = ["a\n\"b\"".to_owned(), "ü".repeat(5000)];
        let body = Body::of(&value).unwrap();
        assert_eq!(&*body, serde_json::to_string(&value).unwrap());
        assert_eq!(body.0.capacity(), body.0.len());
        assert_eq!(format!("{body:?}"), "Body(…)");
    }
}
