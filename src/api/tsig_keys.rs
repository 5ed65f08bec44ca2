//! `/v1/tsig-keys`: keys that UPDATE messages are signed with (RFC 8945).

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::DomainName;
use crate::zone::{Label, Name};

/// `GET /v1/tsig-keys`, `GET /v1/tsig-keys/{name}`, and what `POST` and `DELETE` answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TsigKey {
    pub name: Name,
    /// `hmac-sha256`, `hmac-sha512`, `hmac-sha384` or `hmac-sha1`.
    pub algorithm: String,
    pub source: TsigKeySource,
    /// It does not count, because the configuration has a key of the same name.
    #[serde(default)]
    pub hidden: bool,
    /// `<label>.<zone>` of labels whose values it may change.
    pub labels: Vec<Name>,
    /// At or below these it may change every label's and challenge name's values.
    pub below: Vec<Name>,
    /// It may change the values of the labels that the challenge names of these domains are aliases of.
    pub domains: Vec<Name>,
    /// `keep-recent` or `rfc`.
    pub replace: String,
    /// Of a key in the store.
    pub created: Option<jiff::Timestamp>,
    /// In base64; in the answer of `POST`, and of `GET /v1/tsig-keys/{name}?secret=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TsigKeySource {
    /// `[[tsig_key]]` of the configuration file.
    Config,
    Store,
}

/// Body of `POST /v1/tsig-keys`. At least one of `labels`, `below` and `domains` says something.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTsigKey {
    #[schema(value_type = DomainName)]
    pub name: Name,
    /// `hmac-sha256` if left out.
    #[serde(default)]
    #[schema(pattern = "^[Hh][Mm][Aa][Cc]-[Ss][Hh][Aa](1|256|384|512)[.]?$")]
    pub algorithm: Option<String>,
    /// Registered ones.
    #[serde(default)]
    pub labels: Vec<Label>,
    #[serde(default)]
    #[schema(value_type = Vec<DomainName>)]
    pub below: Vec<Name>,
    #[serde(default)]
    #[schema(value_type = Vec<DomainName>)]
    pub domains: Vec<Name>,
    /// `keep-recent` if left out.
    #[serde(default)]
    #[schema(pattern = "^(keep-recent|rfc)$")]
    pub replace: Option<String>,
}

/// A secret as text. Wiped from memory when dropped, never in `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }
}

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Secret {
        Secret(text)
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> String {
        secret.0.to_string()
    }
}
