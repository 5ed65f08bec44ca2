//! `/v1/certificates/{name}/revoke` and `…/reissue`.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /v1/certificates/{name}/revoke`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRevocation {
    /// Of an older version, hexadecimal; the one in use if left out.
    #[serde(default)]
    #[schema(pattern = "^[0-9A-Fa-f:]+$", max_length = 100)]
    pub serial: Option<String>,
    #[serde(default)]
    pub reason: RevocationReason,
    #[serde(default)]
    pub by: RevokedBy,
    /// Obtain another certificate, with another key, as soon as this one is revoked.
    #[serde(default)]
    pub reissue: bool,
}

/// Why a certificate is not to be trusted any more (RFC 5280 section 5.3.1), as far as a subscriber may say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    #[default]
    Unspecified,
    /// Others may know the private key.
    KeyCompromise,
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// The names are not served any more.
    CessationOfOperation,
}

/// Who signs the request for a revocation (RFC 8555 section 7.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RevokedBy {
    /// The account that the certificate was issued to.
    #[default]
    Account,
    /// The certificate's own key, for which no account is needed.
    Key,
}

/// Body of `POST /v1/certificates/{name}/reissue`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReissue {
    /// With a new key, also if the configuration keeps it.
    #[serde(default)]
    pub new_key: bool,
}

/// A revocation that has happened, or was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revocation {
    pub at: jiff::Timestamp,
    pub reason: RevocationReason,
}

impl RevocationReason {
    pub const ALL: [RevocationReason; 5] = [
        RevocationReason::Unspecified,
        RevocationReason::KeyCompromise,
        RevocationReason::AffiliationChanged,
        RevocationReason::Superseded,
        RevocationReason::CessationOfOperation,
    ];

    /// As in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            RevocationReason::Unspecified => "unspecified",
            RevocationReason::KeyCompromise => "key-compromise",
            RevocationReason::AffiliationChanged => "affiliation-changed",
            RevocationReason::Superseded => "superseded",
            RevocationReason::CessationOfOperation => "cessation-of-operation",
        }
    }

    /// The number of the reason (RFC 5280 section 5.3.1).
    pub fn code(self) -> u8 {
        match self {
            RevocationReason::Unspecified => 0,
            RevocationReason::KeyCompromise => 1,
            RevocationReason::AffiliationChanged => 3,
            RevocationReason::Superseded => 4,
            RevocationReason::CessationOfOperation => 5,
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_reason_is_the_one_of_the_api() {
        for reason in RevocationReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
    }
}
