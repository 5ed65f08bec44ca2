//! What the doors of the API listener share: refusals in one line, JSON that is read as clients write it, credentials.
//!
//! Clients send bodies under any content type or none, and keys in any letter case. No error repeats what was sent:
//! `acme.sh` takes any body that contains the value in quotes for success.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::RetryAfter;
use super::guard::{BodyError, read_body, refused};
use crate::account::Credential;
use crate::api::pattern;
use crate::store::UpdateError;
use crate::zone::TxtValue;

/// Longest body; those of real clients have about 200 octets.
const BODY_LIMIT: usize = 8 * 1024;
/// Seconds after which to try again when the store fails.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The header of every answer with a body.
pub(super) const JSON: [(HeaderName, HeaderValue); 1] =
    [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];

/// Which credentials a 401 asks for.
pub(super) const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"acmezone\"");

/// A refusal: status and `{"error": "…"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) &'static str);

pub(super) const FORBIDDEN: Refused = Refused(StatusCode::UNAUTHORIZED, "forbidden");
pub(super) const MALFORMED: Refused = Refused(StatusCode::BAD_REQUEST, "malformed_json_payload");
pub(super) const INTERNAL: Refused = Refused(StatusCode::INTERNAL_SERVER_ERROR, "internal");
pub(super) const REGISTRATION_CLOSED: Refused = Refused(StatusCode::FORBIDDEN, "registration_closed");

/// The body of every refusal.
#[derive(ToSchema)]
#[schema(as = Refusal)]
#[expect(dead_code, reason = "only described; `refused` writes it")]
pub(super) struct Refusal {
    /// For programs.
    error: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(status, error) = self;
        let mut response = refused(status, error);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        // What acme-dns refuses has no such field.
        if status == StatusCode::UNAUTHORIZED && self != FORBIDDEN {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A failed request: refused, or one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Refused(Refused),
    Limited(RetryAfter),
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Failed::Refused(refused) => refused.into_response(),
            Failed::Limited(limited) => limited.into_response(),
        }
    }
}

impl<E: Into<Refused>> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed::Refused(error.into())
    }
}

impl From<RetryAfter> for Failed {
    fn from(limited: RetryAfter) -> Failed {
        Failed::Limited(limited)
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Refused {
        match error {
            BodyError::TooLarge => Refused(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            BodyError::Broken => MALFORMED,
        }
    }
}

impl From<UpdateError> for Refused {
    fn from(error: UpdateError) -> Refused {
        match super::refusal(&error).status {
            StatusCode::UNAUTHORIZED => FORBIDDEN,
            StatusCode::SERVICE_UNAVAILABLE => Refused(StatusCode::SERVICE_UNAVAILABLE, "db_error"),
            _ if matches!(error, UpdateError::NoZone) => REGISTRATION_CLOSED,
            status if matches!(error, UpdateError::TooManyCredentials) => Refused(status, "too_many_credentials"),
            _ => {
                tracing::error!(%error, "no answer of this API fits");
                INTERNAL
            }
        }
    }
}

/// Takes a request apart and reads its body whole; what is no UTF-8 becomes U+FFFD, which no key or value has in it.
pub(super) async fn read(request: Request) -> Result<(axum::http::request::Parts, String), Refused> {
    let (head, body) = request.into_parts();
    let body = read_body(&head.headers, body, BODY_LIMIT).await?;
    Ok((head, String::from_utf8_lossy(&body).into_owned()))
}

/// The members of a JSON object whose keys are known, in its order, told apart without regard to letter case.
pub(super) struct Object {
    pub(super) members: Vec<(&'static str, Value)>,
    /// Whether nothing follows the object.
    pub(super) alone: bool,
}

impl Object {
    /// Reads the first JSON value, which must be an object; `keys` are in lower case.
    pub(super) fn read(body: &str, keys: &'static [&'static str]) -> Option<Object> {
        let mut json = serde_json::Deserializer::from_str(body);
        let members = Members(keys).deserialize(&mut json).ok()?;
        Some(Object { members, alone: json.end().is_ok() })
    }
}

struct Members(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Vec<(&'static str, Value)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(&'static str, Value)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match self.0.iter().find(|known| known.eq_ignore_ascii_case(&key)) {
                Some(known) => members.push((*known, map.next_value()?)),
                None => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(members)
    }
}

/// A user name, a UUID in any of the forms that Go reads, and a key.
pub(super) fn credentials(user: &str, key: &str) -> Option<(Uuid, Credential)> {
    Some((Uuid::parse_str(&user.to_ascii_lowercase()).ok()?, Credential::parse(key)?))
}

/// User name and key of the one `Authorization: Basic …`, with or without padding. Where the two alphabets of base64
/// differ is nothing that a user name or a key has in it.
pub(super) fn basic(headers: &HeaderMap) -> Option<(Uuid, Credential)> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, encoded) = only.to_str().ok()?.split_once(' ')?;
    let encoded = encoded.trim().trim_end_matches('=');
    let decoded = Zeroizing::new(STANDARD_NO_PAD.decode(encoded).ok()?);
    let (user, key) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    credentials(user, key).filter(|_| scheme.eq_ignore_ascii_case("basic"))
}

/// A value of the form of base64url(SHA-256(…)) (RFC 8555 section 8.4): 43 characters `A-Za-z0-9_-`.
pub(super) fn key_digest(text: &str) -> Option<TxtValue> {
    let good = text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    good.then(|| TxtValue::new(text.as_bytes()).ok())?
}

/// A label in any letter case, as the documents describe it.
pub(super) struct AnyLabel;

impl ToSchema for AnyLabel {}
impl PartialSchema for AnyLabel {
    fn schema() -> RefOr<Schema> {
        pattern("^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")
    }
}

/// What [`key_digest`] takes, as the documents describe it.
pub(super) struct KeyDigest;

impl ToSchema for KeyDigest {}
impl PartialSchema for KeyDigest {
    fn schema() -> RefOr<Schema> {
        pattern("^[A-Za-z0-9_-]{43}$")
    }
}

/// What a stranger sent, safe for a log line.
pub(super) fn shown(octets: &[u8]) -> String {
    let cut = octets.get(..64).unwrap_or(octets);
    cut.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_in_any_case_and_all_of_doubled_ones_are_kept() {
        let object = Object::read(r#"{"txt":"a","Txt":1,"SubDomain":null,"other":[{}]} junk"#, &["subdomain", "txt"]);
        let Object { members, alone } = object.unwrap();
        assert_eq!(members, [("txt", "a".into()), ("txt", 1.into()), ("subdomain", Value::Null)]);
        assert!(!alone);
        assert!(Object::read(" {} ", &[]).is_some_and(|object| object.members.is_empty() && object.alone));
        assert!(["", "null", "[]", "{", "1", r#""{}""#].iter().all(|body| Object::read(body, &[]).is_none()));
    }

    #[test]
    fn client_text_is_escaped_and_cut_for_the_log() {
        assert_eq!(shown(b"a\n\x1b\xff"), r"a\n\x1b\xff");
        assert_eq!(shown(&[b'x'; 100]).len(), 64);
    }

    #[test]
    fn basic_credentials_are_read_with_and_without_padding_rfc7617_2() {
        let authorization = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        const USER: &str = "11111111-2222-4333-8444-555555555555";
        let key = "-_".repeat(20);
        let read = |value: &str| basic(&authorization(value));
        for user in [USER.to_owned(), USER.replace('-', ""), format!("{{{USER}}}")] {
            let padded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{key}"));
            for encoded in [&padded, padded.trim_end_matches('=')] {
                let (username, given) = read(&format!("bASIC  {encoded} ")).unwrap();
                assert_eq!((username.to_string(), given.reveal()), (USER.to_owned(), key.as_str()));
            }
        }
        for bad in ["", "Basic", "Basic ", "Basic !", "Basic Og==", "Basic dTpw", "Bearer dTpw", "Basic /w=="] {
            assert!(read(bad).is_none(), "{bad}");
        }
        let mut doubled = authorization("Basic dTpw");
        doubled.append(header::AUTHORIZATION, HeaderValue::from_static("Basic dTpw"));
        assert!(basic(&doubled).is_none());
    }
}
