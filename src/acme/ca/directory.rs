//! What a CA's directory says (RFC 8555 section 7.1.1), read by ourselves: instant-acme drops most of it.

use std::collections::BTreeMap;

use http::Uri;
use http::uri::Scheme;
use serde_json::{Map, Value};

use crate::zone::Name;

/// A directory. What we do not know is ignored, and what is not needed to get a certificate may be of a wrong type: it
/// counts as missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    pub new_nonce: String,
    pub new_account: String,
    pub new_order: String,
    pub revoke_cert: Option<String>,
    pub key_change: Option<String>,
    /// RFC 9773 section 4.1.
    pub renewal_info: Option<String>,
    pub meta: Meta,
}

/// What the CA says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// URL.
    pub terms_of_service: Option<String>,
    /// URL.
    pub website: Option<String>,
    /// The names that the CA takes for its own in CAA records, in lower case. Only those that fit into one.
    pub caa_identities: Vec<String>,
    pub external_account_required: bool,
    /// Names and descriptions (draft-ietf-acme-profiles).
    pub profiles: BTreeMap<String, String>,
    /// draft-ietf-acme-dns-persist-02.
    pub account_hash_prefix: Option<String>,
    /// draft-ietf-acme-dns-persist-02.
    pub issuer_domain_names: Vec<String>,
}

/// Why an answer is no directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDirectory {
    #[error("it is not JSON: {0}")]
    Json(String),
    #[error("it is JSON, but no directory: there is no https URL at `{0}`")]
    Missing(&'static str),
}

impl Directory {
    /// Reads a directory.
    pub fn read(body: &[u8]) -> Result<Directory, BadDirectory> {
        let value: Value = serde_json::from_slice(body).map_err(|error| BadDirectory::Json(error.to_string()))?;
        let nothing = Map::new();
        let all = value.as_object().unwrap_or(&nothing);
        // instant-acme takes it for granted that a request can be made to the first of them.
        let needed = |key: &'static str| text(all, key).filter(|url| is_url(url)).ok_or(BadDirectory::Missing(key));
        let meta = all.get("meta").and_then(Value::as_object).unwrap_or(&nothing);
        Ok(Directory {
            new_nonce: needed("newNonce")?,
            new_account: needed("newAccount")?,
            new_order: needed("newOrder")?,
            revoke_cert: text(all, "revokeCert"),
            key_change: text(all, "keyChange"),
            renewal_info: text(all, "renewalInfo"),
            meta: Meta::read(meta),
        })
    }
}

impl Meta {
    fn read(meta: &Map<String, Value>) -> Meta {
        let profiles = meta.get("profiles").and_then(Value::as_object);
        let described = |(name, description): (&String, &Value)| {
            (name.clone(), description.as_str().unwrap_or_default().to_owned())
        };
        Meta {
            terms_of_service: text(meta, "termsOfService"),
            website: text(meta, "website"),
            caa_identities: names(meta, "caaIdentities"),
            external_account_required: meta.get("externalAccountRequired").and_then(Value::as_bool).unwrap_or(false),
            profiles: profiles.map(|profiles| profiles.iter().map(described).collect()).unwrap_or_default(),
            account_hash_prefix: text(meta, "accountHashPrefix"),
            issuer_domain_names: names(meta, "issuerDomainNames"),
        }
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Whether a request can be made there.
fn is_url(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|url| url.scheme() == Some(&Scheme::HTTPS) && url.host().is_some())
}

/// Host names that may stand in a record.
fn names(object: &Map<String, Value>, key: &str) -> Vec<String> {
    let all = object.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_host = |name: &&str| Name::parse(name).is_ok() && !name.contains([';', '"', ' ', '\\']);
    all.iter().filter_map(Value::as_str).filter(is_host).map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_whole_rfc8555_7_1_1_rfc9773_4_1() {
        let directory = Directory::read(
            br#"{"newNonce":"https://ca.test/nonce","newAccount":"https://ca.test/account",
                "newOrder":"https://ca.test/order","revokeCert":"https://ca.test/revoke",
                "keyChange":"https://ca.test/key","renewalInfo":"https://ca.test/ari","aBcDe":"https://ca.test/random",
                "meta":{"termsOfService":"https://ca.test/terms","website":"https://ca.test/",
                  "caaIdentities":["CA.test","other.test"],"externalAccountRequired":true,
                  "profiles":{"short":"six days","long":"ninety days"},
                  "accountHashPrefix":"ca:","issuerDomainNames":["ca.test"],"new":{"things":1}}}"#,
        );
        let url = |path: &str| format!("https://ca.test/{path}");
        let profiles = [("long", "ninety days"), ("short", "six days")];
        let expected = Directory {
            new_nonce: url("nonce"),
            new_account: url("account"),
            new_order: url("order"),
            revoke_cert: Some(url("revoke")),
            key_change: Some(url("key")),
            renewal_info: Some(url("ari")),
            meta: Meta {
                terms_of_service: Some(url("terms")),
                website: Some(url("")),
                caa_identities: vec!["ca.test".into(), "other.test".into()],
                external_account_required: true,
                profiles: profiles.map(|(name, words)| (name.to_owned(), words.to_owned())).into(),
                account_hash_prefix: Some("ca:".into()),
                issuer_domain_names: vec!["ca.test".into()],
            },
        };
        assert_eq!(directory, Ok(expected));
    }

    #[test]
    fn what_is_not_needed_may_be_of_any_type() {
        let directory = Directory::read(
            br#"{"newNonce":"https://n","newAccount":"https://a","newOrder":"https://o","revokeCert":7,"keyChange":null,"renewalInfo":"",
                "meta":{"termsOfService":["x"],"caaIdentities":["ca.test; x",3,"ok.test"],"profiles":{"short":null},
                  "externalAccountRequired":"yes"}}"#,
        );
        let profiles = BTreeMap::from([("short".to_owned(), String::new())]);
        let meta = Meta { caa_identities: vec!["ok.test".into()], profiles, ..Meta::default() };
        let [new_nonce, new_account, new_order] = ["https://n", "https://a", "https://o"].map(str::to_owned);
        let expected = Directory { new_nonce, new_account, new_order, meta, ..Directory::default() };
        assert_eq!(directory, Ok(expected.clone()));
        let bare = br#"{"newNonce":"https://n","newAccount":"https://a","newOrder":"https://o","meta":"none"}"#;
        assert_eq!(Directory::read(bare), Ok(Directory { meta: Meta::default(), ..expected }));
    }

    #[test]
    fn what_is_no_directory_is_said() {
        assert!(matches!(Directory::read(b"<html>"), Err(BadDirectory::Json(_))));
        assert_eq!(Directory::read(b"[]"), Err(BadDirectory::Missing("newNonce")));
        assert_eq!(
            Directory::read(br#"{"newNonce":"https://n","newAccount":"https://a","newOrder":1}"#),
            Err(BadDirectory::Missing("newOrder"))
        );
        for nonce in ["https://[n", "https://n n", "/nonce", "n", "http://n", "https://", "mailto:n"] {
            let directory = format!(r#"{{"newNonce":"{nonce}","newAccount":"https://a","newOrder":"https://o"}}"#);
            assert_eq!(Directory::read(directory.as_bytes()), Err(BadDirectory::Missing("newNonce")), "{nonce}");
        }
    }
}
