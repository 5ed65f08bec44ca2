//! Refusals of the admin API, and what its handlers read from a request.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use crate::api::{ApiError, NOTE_LIMIT};
use crate::door::guard::{BodyError, read_body};
use crate::store::UpdateError;

/// Longest body: the values of a full name, escaped, and room to spare.
const BODY_LIMIT: usize = 128 * 1024;

/// A failed request; its body is an [`ApiError`].
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    body: Box<ApiError>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: &str, message: impl Into<String>) -> Failure {
        Failure { status, body: Box::new(ApiError { error: error.to_owned(), message: message.into() }) }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<UpdateError> for Failure {
    fn from(error: UpdateError) -> Failure {
        let refusal = crate::door::refusal(&error);
        Failure::new(refusal.status, refusal.error, error.to_string())
    }
}

/// A note that an administrator keeps with a secret.
pub(super) fn checked_note(note: String) -> Result<String, Failure> {
    if note.chars().count() > NOTE_LIMIT || note.chars().any(char::is_control) {
        return Err(Failure::bad_request(format!("a note is one line of at most {NOTE_LIMIT} characters")));
    }
    Ok(note)
}

/// The one variable part of the path.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segment, Failure> {
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(text)| Segment(text)).map_err(|error| Failure::bad_request(error.body_text()))
    }
}

/// A JSON body under any content type. No body counts as `null`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, _: &S) -> Result<Body<T>, Failure> {
        let (head, body) = request.into_parts();
        let body = read_body(&head.headers, body, BODY_LIMIT).await.map_err(|error| match error {
            BodyError::TooLarge => {
                let message = format!("the body is longer than {BODY_LIMIT} octets");
                Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
            }
            BodyError::Broken => Failure::bad_request("the body broke off"),
        })?;
        let json = if body.is_empty() { b"null".as_slice() } else { &body };
        if json.trim_ascii_start().starts_with(b"[") {
            // serde would take the elements for the fields in their order.
            return Err(Failure::bad_request("the body must be an object"));
        }
        serde_json::from_slice(json).map(Body).map_err(|error| Failure::bad_request(error.to_string()))
    }
}
