//! The HTTP API of acme-dns, byte for byte, so that every client of acme-dns works unchanged.
//!
//! Clients send bodies under any content type or none, keys in any letter case, paths with doubled slashes; some cut
//! the answers up with `sed`. Hence no `Json` extractor, no redirect, one-line answers in exactly this form, and no
//! error that repeats what was sent.
//!
//! What acme-dns does not have is `DELETE /update`, with the credentials and the body of the POST: it takes the value
//! away and answers as the POST does, also when the value was not there; and `GET /account`.

mod account;
pub mod storage;
mod tokens;

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::guard::{DEADLINE, guarded};
use super::json::{
    self, AnyLabel, FORBIDDEN, Failed, INTERNAL, JSON, KeyDigest, MALFORMED, Object, REGISTRATION_CLOSED, Refusal,
    Refused, key_digest, shown,
};
use super::{ClientAddress, Limits};
use super::{httpreq, openapi};
use crate::account::{AllowFrom, Credential};
use crate::api::{Cidr, CreatedAccount};
use crate::config::Registration;
use crate::store::{Actor, RegisterLabel, Writer};
use crate::zone::{Edit, Label, Name, TxtValue, Update};

const BAD_TXT: Refused = Refused(StatusCode::BAD_REQUEST, "bad_txt");
const INVALID_ALLOWFROM: Refused = Refused(StatusCode::BAD_REQUEST, "invalid_allowfrom_cidr");

/// Serves `/register`, `/update`, `/account` and `/health`, and beside them `httpreq`. Behind the
/// [`Front`](super::Front).
pub fn router(writer: Writer, registration: Registration) -> Router {
    let mut described = openapi::public();
    described.merge(tokens::Described::openapi());
    described.merge(storage::Described::openapi());
    let routes = OpenApiRouter::with_openapi(described)
        .routes(routes!(register))
        .routes(routes!(put, remove))
        .routes(routes!(account::show))
        .routes(routes!(health))
        .with_state(Door { writer: writer.clone(), registration })
        .merge(httpreq::routes(writer));
    let routes = openapi::documented(routes, &DOCUMENT);
    let routes = guarded(routes, DEADLINE, |status, error, _| Refused(status, error).into_response());
    Router::new().fallback_service(routes.map_request(with_plain_path))
}

const DOCUMENT: openapi::Completion = openapi::Completion {
    path: "/openapi.json",
    refusal: "Refusal",
    always: &[
        (400, "The request is malformed."),
        (408, "The body did not come in time."),
        (429, "Too many requests of this source or account."),
        (500, "A bug."),
        (503, "The store fails."),
    ],
};

#[derive(Clone)]
struct Door {
    writer: Writer,
    registration: Registration,
}

/// Makes an account with one label. The password is shown only here.
#[utoipa::path(
    post, path = "/register", tag = "acme-dns", operation_id = "register",
    request_body = Option<NewAccount>,
    responses(
        (status = 201, description = "The account.", body = CreatedAccount),
        (status = 403, description = "Nobody can register.", body = Refusal),
    ),
    security((), ("token" = []), ("bearer" = [])),
)]
async fn register(
    State(door): State<Door>,
    ClientAddress(source): ClientAddress,
    limits: Limits,
    request: Request,
) -> Result<Response, Failed> {
    if door.registration == Registration::Closed {
        return Err(REGISTRATION_CLOSED.into());
    }
    limits.registration(source)?;
    let (head, body) = json::read(request).await?;
    // Who needs no token is not refused for a bad one.
    let by_token = door.registration == Registration::Token;
    let token = by_token.then(|| tokens::shown(&head, source)).transpose()?;
    let wanted = NewAccount::read(&body).ok_or(MALFORMED);
    let allow_from = wanted.and_then(|wanted| AllowFrom::parse(&wanted.allowfrom).map_err(|_| INVALID_ALLOWFROM));
    let (registration, token) = match token {
        None => (door.writer.register(allow_from?, RegisterLabel::Random).await?, None),
        Some(token) => {
            let (registration, token) = tokens::register(&door.writer, &token, allow_from, source).await?;
            (registration, Some(token))
        }
    };
    let created = super::created(&registration).map_err(|_| INTERNAL)?;
    let body = serde_json::to_string(&created).map_err(|_| INTERNAL)?;
    let (token, note) = token.map(|token| (token.id, token.note)).unzip();
    tracing::info!(username = %created.username, name = %created.fulldomain, client = %source, token, note, "registered");
    Ok((StatusCode::CREATED, JSON, body).into_response())
}

/// Adds a value to a label of the account; it is in the DNS when the answer comes.
#[utoipa::path(
    post, path = "/update", tag = "acme-dns", operation_id = "update",
    request_body = NewValue,
    responses((status = 200, description = "The value.", body = Txt)),
    security(("user" = [], "key" = [])),
)]
async fn put(
    State(door): State<Door>,
    ClientAddress(source): ClientAddress,
    limits: Limits,
    request: Request,
) -> Result<Response, Failed> {
    let done = update(&door.writer, limits, source, request, Edit::Add).await?;
    tracing::debug!(username = %done.username, name = %done.name, client = %source, "value put");
    Ok(done.into_response())
}

/// Removes a value from a label of the account, if it is there.
#[utoipa::path(
    delete, path = "/update", tag = "acme-dns", operation_id = "remove",
    request_body = NewValue,
    responses((status = 200, description = "The value.", body = Txt)),
    security(("user" = [], "key" = [])),
)]
async fn remove(
    State(door): State<Door>,
    ClientAddress(source): ClientAddress,
    limits: Limits,
    request: Request,
) -> Result<Response, Failed> {
    let done = update(&door.writer, limits, source, request, Edit::Remove).await?;
    tracing::debug!(username = %done.username, name = %done.name, client = %source, "value removed");
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
    limits: Limits,
    source: IpAddr,
    request: Request,
    edit: fn(TxtValue) -> Edit,
) -> Result<Done, Failed> {
    let (head, body) = json::read(request).await?;
    change(writer, limits, source, &head.headers, &body, edit).await
}

/// Says that the server is there.
#[utoipa::path(
    get, path = "/health", tag = "acme-dns", operation_id = "health",
    responses((status = 200, description = "It is.")),
)]
async fn health() -> StatusCode {
    StatusCode::OK
}

/// Does the edit with the value that `body` names. In the order of acme-dns: everything about who may is checked before
/// the value.
async fn change(
    writer: &Writer,
    limits: Limits,
    source: IpAddr,
    headers: &HeaderMap,
    body: &str,
    edit: fn(TxtValue) -> Edit,
) -> Result<Done, Failed> {
    // The client learns only that it is refused, the log why.
    let forbidden = |why: &str| {
        let user = headers.get("x-api-user").map(HeaderValue::as_bytes).unwrap_or_default();
        tracing::warn!(client = %source, user = %shown(user), "update refused: {why}");
        FORBIDDEN
    };
    let no_credentials = || forbidden("no credentials that could be an account's");
    let (username, credential) = credentials(headers).ok_or_else(no_credentials)?;
    let asked = NewValue::read(body).ok_or_else(|| forbidden("the body is no JSON object"))?;
    let label = Label::parse(&asked.subdomain.to_ascii_lowercase());
    let label = label.map_err(|_| forbidden("the subdomain is no label"))?;
    // Which labels are registered is in the DNS for everybody to see.
    let name = writer.name_of(&label).ok_or_else(|| forbidden(&format!("nobody has the label {label}")))?;
    let hash = credential.hash();
    let actor = Actor::Account { username, credential: hash.clone(), source };
    let value = asked.txt.as_deref().and_then(key_digest);
    let done = match &value {
        None => writer.authorise(actor, name.clone()).await.map_err(Failed::from),
        Some(value) => {
            let (updates, limits) = (vec![Update { name: name.clone(), edit: edit(value.clone()) }], limits.clone());
            let admit = move || limits.account(username, source).map_err(Failed::from);
            writer.update_admitted(actor, updates, admit).await
        }
    };
    if let Err(Failed::Refused(FORBIDDEN)) = done {
        let known = writer.authenticate(username, hash, source).await.is_ok();
        let other = format!("{name} is no name of this account");
        return Err(forbidden(if known { &other } else { "user, key or address" }).into());
    }
    done?;
    let Some(value) = value else {
        limits.account(username, source)?;
        tracing::warn!(client = %source, %username, %name, "update refused: the value is no digest of 43 characters");
        return Err(BAD_TXT.into());
    };
    Ok(Done { username, name, txt: value.to_string() })
}

/// `X-Api-User` and `X-Api-Key`.
fn credentials(headers: &HeaderMap) -> Option<(Uuid, Credential)> {
    let text = |name| headers.get(name)?.to_str().ok();
    json::credentials(text("x-api-user")?, text("x-api-key")?)
}

/// Body of `/register`.
#[derive(Default, ToSchema)]
#[schema(as = Registration)]
struct NewAccount {
    /// Where the account may be used from; everywhere if empty.
    #[schema(value_type = Option<Vec<Cidr>>)]
    allowfrom: Vec<String>,
}

impl NewAccount {
    /// Reads no body, `null`, or one object and nothing after it; `None` if it is malformed.
    fn read(body: &str) -> Option<NewAccount> {
        let mut wanted = NewAccount::default();
        if body.is_empty() || serde_json::from_str::<()>(body).is_ok() {
            return Some(wanted);
        }
        let object = Object::read(body, &["allowfrom"]).filter(|object| object.alone)?;
        for (_, value) in object.members {
            wanted.allowfrom = serde_json::from_value::<Option<_>>(value).ok()?.unwrap_or_default();
        }
        Some(wanted)
    }
}

/// Body of `/update`.
#[derive(Default, ToSchema)]
struct NewValue {
    #[schema(value_type = AnyLabel)]
    subdomain: String,
    /// `None` if it is missing or not a string.
    #[schema(value_type = KeyDigest)]
    txt: Option<String>,
}

impl NewValue {
    /// Reads the first JSON value and leaves what follows; `None` if it is no object.
    fn read(body: &str) -> Option<NewValue> {
        let mut asked = NewValue::default();
        for (key, value) in Object::read(body, &["subdomain", "txt"])?.members {
            let text = value.as_str().map(str::to_owned);
            match key {
                "subdomain" => asked.subdomain = text.unwrap_or_default(),
                _ => asked.txt = text,
            }
        }
        Some(asked)
    }
}

/// Answer of `/update`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `update` writes it")]
pub(super) struct Txt {
    #[schema(value_type = KeyDigest)]
    txt: String,
}

/// Brings `//update`, `/update/` and `/UPDATE` to the form of the routes. acme-dns redirects them, which makes clients
/// lose the body or give up. A registration token in front is taken out of the path.
fn with_plain_path(mut request: Request) -> Request {
    let mut parts: Vec<&str> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
    let token = tokens::take_from_path(&mut parts);
    let path = parts.iter().fold(String::new(), |path, part| path + "/" + part).to_ascii_lowercase();
    if path != request.uri().path()
        && let Ok(uri) = path.parse::<Uri>()
    {
        *request.uri_mut() = uri;
    }
    if let Some(token) = token {
        request.extensions_mut().insert(token);
    }
    request
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
}
