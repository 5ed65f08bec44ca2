//! Registration tokens: who holds one may make accounts for himself, up to a number and until a day.

use serde::{Deserialize, Serialize};

use super::CredentialHash;
use crate::zone::Timestamp;

/// What is kept of a token. Its text, in the form of a [`Credential`](super::Credential), is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationToken {
    /// See [`secret_id`].
    pub id: String,
    /// The administrator's words about it.
    pub note: String,
    pub created: Timestamp,
    /// From then on it is not accepted.
    pub expires: Option<Timestamp>,
    /// How many accounts may be made with it; `None`: any number.
    pub uses: Option<u64>,
    /// How many were made.
    pub registered: u64,
    pub revoked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    Valid,
    Expired,
    UsedUp,
    Revoked,
}

impl RegistrationToken {
    /// Whether an account can be made with it at `now`.
    pub fn state(&self, now: Timestamp) -> TokenState {
        if self.revoked {
            TokenState::Revoked
        } else if self.expires.is_some_and(|expires| expires <= now) {
            TokenState::Expired
        } else if self.uses_left() == Some(0) {
            TokenState::UsedUp
        } else {
            TokenState::Valid
        }
    }

    /// `None`: any number.
    pub fn uses_left(&self) -> Option<u64> {
        self.uses.map(|uses| uses.saturating_sub(self.registered))
    }
}

/// The whole hash of a secret, in hexadecimal: what its document is found by.
pub fn secret_key(hash: &CredentialHash) -> String {
    hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first twelve digits of [`secret_key`]: what people call a secret by. Among the few thousands that administrators
/// make, no two have the same.
pub fn secret_id(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Credential;

    fn token(expires: Option<Timestamp>, uses: Option<u64>, registered: u64, revoked: bool) -> RegistrationToken {
        RegistrationToken { id: String::new(), note: String::new(), created: 0, expires, uses, registered, revoked }
    }

    #[test]
    fn a_token_is_valid_until_its_last_use_its_last_second_or_its_revocation() {
        assert_eq!(token(None, None, 1_000_000, false).state(u64::MAX), TokenState::Valid);
        assert_eq!(token(Some(10), Some(1), 0, false).state(9), TokenState::Valid);
        assert_eq!(token(Some(10), Some(1), 0, false).state(10), TokenState::Expired);
        assert_eq!(token(Some(10), Some(1), 1, false).state(9), TokenState::UsedUp);
        assert_eq!(token(Some(10), Some(1), 1, true).state(10), TokenState::Revoked);
    }

    #[test]
    fn the_id_is_what_sha256sum_prints() {
        let hash = Credential::parse(&"a".repeat(40)).unwrap().hash();
        assert_eq!(secret_id(&secret_key(&hash)), "e33cdf9c7f71");
    }
}
