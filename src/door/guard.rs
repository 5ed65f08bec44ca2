//! What stands in front of every HTTP door: a deadline, a size limit, and an answer for everything that is no route,
//! panics included, in the form that the door speaks.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tower_http::catch_panic::CatchPanicLayer;

/// Longest time from the head of a request to the head of its answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// How a door words a refusal: status, `error` for programs, text for people.
pub(super) type Refuse = fn(StatusCode, &'static str, &'static str) -> Response;

/// Puts the guard in front of finished routes.
pub(super) fn guarded(routes: Router, deadline: Duration, refuse: Refuse) -> Router {
    routes
        .fallback(async move || refuse(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"))
        .method_not_allowed_fallback(async move || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
        })
        .layer(from_fn(move |request: Request, next: Next| async move {
            if !has_host(&request) {
                return refuse(StatusCode::BAD_REQUEST, "bad_host", "the request must have one `Host`");
            }
            let late = |_| refuse(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the request took too long");
            tokio::time::timeout(deadline, next.run(request)).await.unwrap_or_else(late)
        }))
        .layer(CatchPanicLayer::custom(move |_| {
            // The panic hook has written the cause.
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a bug in acmezone, see the server's log")
        }))
}

/// Whether a request of HTTP/1.1 names its host once (RFC 9112 section 3.2), which the HTTP library does not look at.
fn has_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let named = first.is_some_and(|host| host.is_empty() || Authority::try_from(host.as_bytes()).is_ok());
    request.version() != Version::HTTP_11 || named && second.is_none()
}

/// A refusal in the words of the API's doors: `{"error": "…"}`, one line that repeats nothing of the request.
pub(super) fn refused(status: StatusCode, error: &'static str) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, JSON)], format!(r#"{{"error": "{error}"}}"#)).into_response()
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    /// The client went away or broke the framing.
    Broken,
}

/// Reads a whole body of at most `limit` octets. One that is announced as longer is refused unread.
pub(super) async fn read_body(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, BodyError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(BodyError::TooLarge);
    }
    let mut whole = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if whole.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use axum::routing::{get, post};
    use tower::ServiceExt;

    fn refuse(status: StatusCode, error: &'static str, _: &'static str) -> Response {
        (status, error).into_response()
    }

    async fn answer(path: &str) -> (StatusCode, Bytes) {
        let routes = Router::new()
            .route("/panic", get(async || -> StatusCode { panic!("on purpose") }))
            .route("/slow", get(std::future::pending::<StatusCode>))
            .route("/post", post(async || "posted"));
        let guarded = guarded(routes, Duration::from_millis(20), refuse);
        let request = Request::builder().uri(path).header(header::HOST, "localhost").body(Body::empty()).unwrap();
        let response = guarded.oneshot(request).await.unwrap();
        (response.status(), axum::body::to_bytes(response.into_body(), 1000).await.unwrap())
    }

    #[tokio::test]
    async fn everything_that_goes_wrong_has_an_answer_of_the_door() {
        assert_eq!(answer("/panic").await, (StatusCode::INTERNAL_SERVER_ERROR, "internal".into()));
        assert_eq!(answer("/slow").await, (StatusCode::REQUEST_TIMEOUT, "request_timeout".into()));
        assert_eq!(answer("/other").await, (StatusCode::NOT_FOUND, "not_found".into()));
        assert_eq!(answer("/post").await, (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed".into()));
    }
}
