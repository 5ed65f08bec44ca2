//! Credentials: random, shown once, stored as a hash, compared in constant time.
//!
//! Keys are made by the server and hold 240 random bits, so a fast hash is as safe as a slow one, and an
//! unauthenticated stranger cannot spend our CPU on bcrypt.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret key of 40 characters `A-Za-z0-9-_`, 240 random bits. Never logged, never stored.
#[derive(Clone)]
pub struct Credential(Zeroizing<String>);

impl Credential {
    /// Makes a new key from the operating system's random source.
    pub fn random() -> Result<Credential, getrandom::Error> {
        let mut bits = Zeroizing::new([0u8; 30]);
        getrandom::fill(bits.as_mut_slice())?;
        Ok(Credential(Zeroizing::new(URL_SAFE_NO_PAD.encode(bits.as_slice()))))
    }

    /// Takes a key as a client sent it; `None` unless it has the form of a key: 40 characters `A-Za-z0-9-_`.
    pub fn parse(text: &str) -> Option<Credential> {
        let good =
            text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        good.then(|| Credential(Zeroizing::new(text.to_owned())))
    }

    /// The key itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> CredentialHash {
        CredentialHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// SHA-256 of a credential.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialHash([u8; 32]);

impl CredentialHash {
    pub fn from_bytes(bytes: [u8; 32]) -> CredentialHash {
        CredentialHash(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash that no credential has: compared against when there is no such account, to take the same time.
    pub fn of_nobody() -> CredentialHash {
        CredentialHash([0; 32])
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &CredentialHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_240_bits_in_40_safe_characters() {
        let credential = Credential::random().unwrap();
        assert!(Credential::parse(credential.reveal()).is_some());
        assert_ne!(credential.reveal(), Credential::random().unwrap().reveal());
    }

    #[test]
    fn only_the_same_key_matches() {
        let one = Credential::random().unwrap();
        let other = Credential::random().unwrap();
        assert!(one.hash().matches(&Credential::parse(one.reveal()).unwrap().hash()));
        assert!(!one.hash().matches(&other.hash()));
        assert!(!CredentialHash::of_nobody().matches(&one.hash()));
    }

    #[test]
    fn other_forms_are_no_credential() {
        for bad in ["", "short", &"a".repeat(39), &"a".repeat(41), &format!("{}\"", "a".repeat(39))] {
            assert!(Credential::parse(bad).is_none());
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let credential = Credential::random().unwrap();
        assert!(!format!("{credential:?} {:?}", credential.hash()).contains(credential.reveal()));
    }
}
