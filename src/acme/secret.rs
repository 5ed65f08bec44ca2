//! Text that is shown to nobody.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A private key in PEM. Wiped from memory when dropped, never in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// For the store alone.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.reveal())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::acme::certificate::tests::{certificate_with, key, request};
    use crate::acme::state::{Issuance, Step};

    /// Whatever ends up in a log line.
    #[test]
    fn no_debug_output_and_no_error_shows_a_key() {
        let key = key();
        let body = key.reveal().lines().nth(1).unwrap();
        let damaged = Secret::new(key.reveal().replace("BEGIN", "BEGUN"));
        let request = request(&["example.test"]);
        let prepared = Step::Prepared { request: request.clone(), key: key.clone() };
        let ordered =
            Step::Ordered { request: request.clone(), key: key.clone(), url: "u".into(), expires: None, account: None };
        let certificate = certificate_with(&key);
        let refused = crate::acme::certificate::key::signing_request(&request.names, &damaged).unwrap_err();
        let state = Issuance { step: prepared.clone(), ..Issuance::default() };
        let all: [&dyn Debug; 6] = [&key, &prepared, &ordered, &certificate, &refused, &state];
        for one in all {
            let shown = format!("{one:?} {one:#?}");
            assert!(!shown.contains(body) && !shown.contains("PRIVATE"), "{shown}");
        }
        assert!(!refused.to_string().contains(body));
        // It is there for the store, which is where it is kept.
        assert!(serde_json::to_string(&certificate).unwrap().contains(body));
    }
}
