//! The HTTP API of acme-dns, byte for byte, so that every client of acme-dns works unchanged.
//!
//! Clients send bodies under any content type or none, keys in any letter case, paths with doubled slashes; some cut
//! the answers up with `sed`. Hence no `Json` extractor, no redirect, one-line answers in exactly this form, and no
//! error that repeats what was sent: `acme.sh` takes any body that contains the value in quotes for success.
//!
//! What acme-dns does not have is `DELETE /update`, with the credentials and the body of the POST: it takes the value
//! away and answers as the POST does, also when the value was not there; and [`GET /account`](super::account).

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use tower::ServiceExt;
use uuid::Uuid;

use super::account;
use super::guard::{BodyError, DEADLINE, guarded, read_body};
use crate::account::{AllowFrom, Credential};
use crate::config::Registration;
use crate::store::{Actor, RegisterLabel, UpdateError, Writer};
use crate::zone::{Edit, Label, Name, TxtValue, Update};

/// Longest body; those of real clients have about 200 octets.
const BODY_LIMIT: usize = 8 * 1024;
/// Seconds after which to try again when the store fails.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Serves `/register`, `/update`, `/account` and `/health`. The requests must carry `ConnectInfo<SocketAddr>`.
pub fn router(writer: Writer, registration: Registration) -> Router {
    let routes = Router::new()
        .route("/register", post(register))
        .route("/update", post(put).delete(remove))
        .route("/account", get(account::show))
        .route("/health", get(StatusCode::OK))
        .with_state(Door { writer, registration });
    let routes = guarded(routes, DEADLINE, |status, error, _| Refused(status, error).into_response());
    Router::new().fallback_service(routes.map_request(with_plain_path))
}

#[derive(Clone)]
pub(super) struct Door {
    pub(super) writer: Writer,
    registration: Registration,
}

async fn register(
    State(door): State<Door>,
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Refused> {
    if door.registration == Registration::Closed {
        return Err(REGISTRATION_CLOSED);
    }
    let (head, body) = request.into_parts();
    let body = read_body(&head.headers, body, BODY_LIMIT).await?;
    let wanted = NewAccount::read(&String::from_utf8_lossy(&body)).ok_or(MALFORMED)?;
    let allow_from = AllowFrom::parse(&wanted.allowfrom).map_err(|_| INVALID_ALLOWFROM)?;
    let registration = door.writer.register(allow_from, RegisterLabel::Random).await?;
    let created = super::created(&registration).map_err(|_| INTERNAL)?;
    let body = serde_json::to_string(&created).map_err(|_| INTERNAL)?;
    tracing::info!(username = %created.username, name = %created.fulldomain, client = %source.ip(), "registered");
    Ok((StatusCode::CREATED, JSON, body).into_response())
}

async fn put(
    State(door): State<Door>,
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Refused> {
    Ok(update(&door.writer, source.ip(), request, Edit::Add).await?.into_response())
}

async fn remove(
    State(door): State<Door>,
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Refused> {
    let done = update(&door.writer, source.ip(), request, Edit::Remove).await?;
    tracing::info!(username = %done.username, name = %done.name, client = %source.ip(), "value removed");
    Ok(done.into_response())
}

/// What an account has done, and the value that it named.
struct Done {
    username: Uuid,
    name: Name,
    txt: String,
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        (StatusCode::OK, JSON, format!(r#"{{"txt": "{}"}}"#, self.txt)).into_response()
    }
}

async fn update(
    writer: &Writer,
    source: IpAddr,
    request: Request,
    edit: fn(TxtValue) -> Edit,
) -> Result<Done, Refused> {
    let (head, body) = request.into_parts();
    let body = read_body(&head.headers, body, BODY_LIMIT).await?;
    let outcome = change(writer, source, &head.headers, &String::from_utf8_lossy(&body), edit).await;
    if let Err(FORBIDDEN) = outcome {
        let user = head.headers.get("x-api-user").map(HeaderValue::as_bytes).unwrap_or_default();
        tracing::warn!(client = %source, user = %shown(user), "update refused: credentials, address or label");
    }
    outcome
}

/// Does the edit with the value that `body` names. In the order of acme-dns: everything about who may is checked before
/// the value.
async fn change(
    writer: &Writer,
    source: IpAddr,
    headers: &HeaderMap,
    body: &str,
    edit: fn(TxtValue) -> Edit,
) -> Result<Done, Refused> {
    let (username, credential) = credentials(headers).ok_or(FORBIDDEN)?;
    let asked = NewValue::read(body).ok_or(FORBIDDEN)?;
    let label = Label::parse(&asked.subdomain.to_ascii_lowercase()).map_err(|_| FORBIDDEN)?;
    // Which labels are registered is in the DNS for everybody to see.
    let name = writer.name_of(&label).ok_or(FORBIDDEN)?;
    let actor = Actor::Account { username, credential: credential.hash(), source };
    let value = asked.txt.filter(|txt| is_key_digest(txt)).and_then(|txt| TxtValue::new(txt.as_bytes()).ok());
    let Some(value) = value else {
        writer.authorise(actor, name).await?;
        return Err(BAD_TXT);
    };
    let txt = value.to_string();
    writer.update(actor, vec![Update { name: name.clone(), edit: edit(value) }]).await?;
    Ok(Done { username, name, txt })
}

/// `X-Api-User`, a UUID in any of the forms that Go reads, and `X-Api-Key`.
pub(super) fn credentials(headers: &HeaderMap) -> Option<(Uuid, Credential)> {
    let text = |name| headers.get(name)?.to_str().ok();
    let username = Uuid::parse_str(&text("x-api-user")?.to_ascii_lowercase()).ok()?;
    Some((username, Credential::parse(text("x-api-key")?)?))
}

/// Whether the text has the form of base64url(SHA-256(…)) (RFC 8555 section 8.4): 43 characters `A-Za-z0-9_-`.
fn is_key_digest(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Body of `/register`.
#[derive(Default)]
struct NewAccount {
    allowfrom: Vec<String>,
}

impl NewAccount {
    /// Reads no body, `null`, or one object and nothing after it; `None` if it is malformed.
    fn read(body: &str) -> Option<NewAccount> {
        if body.is_empty() {
            return Some(NewAccount::default());
        }
        let mut wanted = NewAccount::default();
        for (key, value) in serde_json::from_str::<Option<Fields>>(body).ok()?.unwrap_or_default().0 {
            if key == Key::AllowFrom {
                wanted.allowfrom = serde_json::from_value::<Option<_>>(value).ok()?.unwrap_or_default();
            }
        }
        Some(wanted)
    }
}

/// Body of `/update`.
#[derive(Default)]
struct NewValue {
    subdomain: String,
    /// `None` if it is missing or not a string.
    txt: Option<String>,
}

impl NewValue {
    /// Reads the first JSON value and leaves what follows; `None` if it is no object.
    fn read(body: &str) -> Option<NewValue> {
        let mut asked = NewValue::default();
        let fields = serde_json::Deserializer::from_str(body).into_iter::<Fields>().next()?.ok()?;
        for (key, value) in fields.0 {
            let text = value.as_str().map(str::to_owned);
            match key {
                Key::Subdomain => asked.subdomain = text.unwrap_or_default(),
                Key::Txt => asked.txt = text,
                Key::AllowFrom => {}
            }
        }
        Some(asked)
    }
}

/// The known keys of a JSON object in its order, told apart without regard to letter case.
#[derive(Default)]
struct Fields(Vec<(Key, Value)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    AllowFrom,
    Subdomain,
    Txt,
}

impl Key {
    fn of(text: &str) -> Option<Key> {
        let known = [("allowfrom", Key::AllowFrom), ("subdomain", Key::Subdomain), ("txt", Key::Txt)];
        known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, key)| key)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    match Key::of(&key) {
                        Some(key) => fields.push((key, map.next_value()?)),
                        None => map.next_value::<IgnoredAny>().map(drop)?,
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A failed request: status and `{"error": "…"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(StatusCode, &'static str);

pub(super) const FORBIDDEN: Refused = Refused(StatusCode::UNAUTHORIZED, "forbidden");
const BAD_TXT: Refused = Refused(StatusCode::BAD_REQUEST, "bad_txt");
const MALFORMED: Refused = Refused(StatusCode::BAD_REQUEST, "malformed_json_payload");
const INVALID_ALLOWFROM: Refused = Refused(StatusCode::BAD_REQUEST, "invalid_allowfrom_cidr");
const REGISTRATION_CLOSED: Refused = Refused(StatusCode::FORBIDDEN, "registration_closed");
const INTERNAL: Refused = Refused(StatusCode::INTERNAL_SERVER_ERROR, "internal");
const JSON: [(header::HeaderName, HeaderValue); 1] =
    [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(status, error) = self;
        let mut response = (status, JSON, format!(r#"{{"error": "{error}"}}"#)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
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
            _ => {
                tracing::error!(%error, "no answer of acme-dns fits");
                INTERNAL
            }
        }
    }
}

/// Brings `//update`, `/update/` and `/UPDATE` to the form of the routes. acme-dns redirects them, which makes clients
/// lose the body or give up.
fn with_plain_path(mut request: Request) -> Request {
    let parts = request.uri().path().split('/').filter(|part| !part.is_empty());
    let path = parts.fold(String::new(), |path, part| path + "/" + part).to_ascii_lowercase();
    if path != request.uri().path()
        && let Ok(uri) = path.parse::<Uri>()
    {
        *request.uri_mut() = uri;
    }
    request
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
    fn the_last_of_doubled_keys_counts_whatever_its_case() {
        let asked = NewValue::read(r#"{"txt":"a","Txt":"b","SubDomain":"s","other":[{}]} junk"#).unwrap();
        assert_eq!((asked.txt.as_deref(), asked.subdomain.as_str()), (Some("b"), "s"));
        let wanted = NewAccount::read(r#"{"AllowFrom":["a"],"allowfrom":null}"#).unwrap();
        assert!(wanted.allowfrom.is_empty());
    }

    #[test]
    fn client_text_is_escaped_and_cut_for_the_log() {
        assert_eq!(shown(b"a\n\x1b\xff"), r"a\n\x1b\xff");
        assert_eq!(shown(&[b'x'; 100]).len(), 64);
    }
}
