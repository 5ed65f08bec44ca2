//! `httpreq` of lego and the API of acmeproxy: `POST /present` and `POST /cleanup`, with the user name and a key of an
//! account as basic authentication (RFC 7617).
//!
//! Two forms of a body say the same thing: `{"fqdn", "value"}`, and `{"domain", "token", "keyAuth"}`, of which the
//! server makes name and value. Both paths answer 200 with the fields that were posted, because `acme.sh` looks for the
//! value and at nothing else; hence no error has it.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json::{
    self, CHALLENGE, FORBIDDEN, Failed, INTERNAL, JSON, KeyDigest, MALFORMED, Object, Refusal, Refused, key_digest,
    shown,
};
use super::{ClientAddress, Limits};
use crate::api::{CertifiedName, DomainName};
use crate::store::{Actor, UpdateError, Writer};
use crate::zone::{Edit, Name, TxtValue, Update};

const BAD_VALUE: Refused = Refused(StatusCode::BAD_REQUEST, "bad_value");
const BAD_NAME: Refused = Refused(StatusCode::BAD_REQUEST, "bad_name");
const NOT_OWNED: Refused = Refused(StatusCode::FORBIDDEN, "name_not_owned");
/// `/present` and `/cleanup`, behind the [`Front`](super::Front).
pub(super) fn routes(writer: Writer) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(present)).routes(routes!(cleanup)).with_state(writer)
}

/// Adds a value; it is in the DNS when the answer comes.
#[utoipa::path(
    post, path = "/present", tag = "httpreq", operation_id = "present",
    request_body(content((Challenge = "application/json"), (Challenge = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "What was posted.", body = Challenge),
        (status = 403, description = "The name is not the account's.", body = Refusal),
    ),
    security(("account" = [])),
)]
async fn present(
    State(writer): State<Writer>,
    ClientAddress(source): ClientAddress,
    limits: Limits,
    request: Request,
) -> Response {
    answer(&writer, &limits, source, request, (Edit::Add, "value put")).await
}

/// Removes a value, if it is there.
#[utoipa::path(
    post, path = "/cleanup", tag = "httpreq", operation_id = "cleanup",
    request_body(content((Challenge = "application/json"), (Challenge = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "What was posted.", body = Challenge),
        (status = 403, description = "The name is not the account's.", body = Refusal),
    ),
    security(("account" = [])),
)]
async fn cleanup(
    State(writer): State<Writer>,
    ClientAddress(source): ClientAddress,
    limits: Limits,
    request: Request,
) -> Response {
    answer(&writer, &limits, source, request, (Edit::Remove, "value removed")).await
}

async fn answer(
    writer: &Writer,
    limits: &Limits,
    source: IpAddr,
    request: Request,
    edit: (fn(TxtValue) -> Edit, &str),
) -> Response {
    let done = change(writer, limits, source, request, edit).await;
    let mut response = done.map(|echo| (StatusCode::OK, JSON, echo)).into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

/// Does what is asked for; the fields that were posted. Who may is checked before everything else.
async fn change(
    writer: &Writer,
    limits: &Limits,
    source: IpAddr,
    request: Request,
    (edit, done): (fn(TxtValue) -> Edit, &str),
) -> Result<String, Failed> {
    let path = request.uri().path().to_owned();
    let (head, body) = json::read(request).await?;
    let refused = |user: &str, why: &str| tracing::warn!(client = %source, user, "{path} refused: {why}");
    let Some((username, credential)) = json::basic(&head.headers) else {
        refused("", "no credentials that could be an account's");
        return Err(FORBIDDEN.into());
    };
    let user = username.to_string();
    let credential = credential.hash();
    writer
        .authenticate(username, credential.clone(), source)
        .await
        .inspect_err(|_| refused(&user, "credentials or address"))?;
    limits.account(username, source)?;

    let challenge = Challenge::read(&head.headers, &body)?;
    let (name, value) = (challenge.name()?, challenge.value().ok_or(BAD_VALUE)?);
    let actor = Actor::Account { username, credential, source };
    let update = Update { name: name.clone(), edit: edit(value) };
    match writer.update(actor, vec![update]).await {
        Err(UpdateError::Forbidden) => {
            refused(&user, &format!("{} is no name of this account", shown(name.to_string().as_bytes())));
            return Err(NOT_OWNED.into());
        }
        outcome => outcome?,
    }
    tracing::debug!(username = user, %name, client = %source, "{done}");
    Ok(serde_json::to_string(&challenge).map_err(|_| INTERNAL)?)
}

/// What is posted, and echoed.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
enum Challenge {
    /// As it is in the DNS.
    Record {
        #[schema(value_type = DomainName)]
        fqdn: String,
        #[schema(value_type = KeyDigest)]
        value: String,
    },
    /// As the CA gave it: lego's mode RAW.
    Raw {
        #[schema(value_type = CertifiedName)]
        domain: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        #[serde(rename = "keyAuth")]
        #[schema(min_length = 1)]
        key_authorization: String,
    },
}

impl Challenge {
    /// Reads one JSON object and nothing after it, or fields of a form if the header says that it is one and it does not
    /// begin as an object does.
    fn read(headers: &HeaderMap, body: &str) -> Result<Challenge, Refused> {
        const KEYS: &[&str] = &["fqdn", "value", "domain", "token", "keyauth"];
        let form = || headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim);
        let form = form().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        let members = if form && !body.trim_start().starts_with('{') {
            let known = |key: &str| KEYS.iter().copied().find(|known| known.eq_ignore_ascii_case(key));
            let fields = form_urlencoded::parse(body.as_bytes());
            fields.filter_map(|(key, value)| Some((known(&key)?, Value::from(value)))).collect()
        } else {
            Object::read(body, KEYS).filter(|object| object.alone).ok_or(MALFORMED)?.members
        };
        let text = |wanted| {
            let last = members.iter().rev().find(|(key, _)| *key == wanted);
            last.and_then(|(_, value)| value.as_str().map(str::to_owned))
        };
        if let (Some(fqdn), Some(value)) = (text("fqdn"), text("value")) {
            return Ok(Challenge::Record { fqdn, value });
        }
        match (text("domain"), text("keyauth")) {
            (Some(domain), Some(key_authorization)) => {
                Ok(Challenge::Raw { domain, token: text("token"), key_authorization })
            }
            _ => Err(MALFORMED),
        }
    }

    /// The name to put the value at. Which label it stands for is the writer's to say.
    fn name(&self) -> Result<Name, Refused> {
        let parsed = |text: &str| Name::parse(text.strip_prefix("*.").unwrap_or(text));
        let name = match self {
            Challenge::Record { fqdn, .. } => parsed(fqdn),
            Challenge::Raw { domain, .. } => parsed(domain).and_then(|domain| domain.child(b"_acme-challenge")),
        };
        name.map_err(|_| BAD_NAME)
    }

    /// The value of the TXT record, base64url(SHA-256(key authorization)) (RFC 8555 section 8.4).
    fn value(&self) -> Option<TxtValue> {
        match self {
            Challenge::Record { value, .. } => key_digest(value),
            Challenge::Raw { key_authorization, .. } if key_authorization.is_empty() => None,
            Challenge::Raw { key_authorization, .. } => {
                key_digest(&URL_SAFE_NO_PAD.encode(Sha256::digest(key_authorization)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_raw_is_the_digest_of_the_key_authorization_rfc8555_8_4() {
        let body = r#"{"Domain":"*.Example.test.","token":"t","keyauth":"t.thumbprint"}"#;
        let raw = Challenge::read(&HeaderMap::new(), body).unwrap();
        assert_eq!(raw.name().unwrap().to_string(), "_acme-challenge.example.test");
        // printf t.thumbprint | openssl dgst -sha256 -binary | basenc --base64url
        assert_eq!(raw.value().unwrap().to_string(), "kZpPaU8v0lVY6egO09MvKhLSo0EExoWOkuaRCkojLJw");
        let echo = serde_json::to_string(&raw).unwrap();
        assert_eq!(echo, r#"{"domain":"*.Example.test.","token":"t","keyAuth":"t.thumbprint"}"#);
    }

    #[test]
    fn a_form_is_one_only_if_it_is_called_so() {
        let form = "Application/x-www-form-urlencoded; charset=utf-8".parse().unwrap();
        let form = HeaderMap::from_iter([(header::CONTENT_TYPE, form)]);
        let read = |headers: &HeaderMap, body| Challenge::read(headers, body).ok();
        let record = Some(Challenge::Record { fqdn: "a b.".into(), value: "v".into() });
        assert_eq!(read(&form, "fqdn=a+b%2e&value=u&VALUE=v&x=y"), record);
        assert_eq!(read(&form, r#" {"fqdn":"a b.","value":"v"}"#), record);
        assert_eq!(read(&HeaderMap::new(), "fqdn=a&value=u"), None);
    }
}
