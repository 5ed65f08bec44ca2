//! `/v1/certificates`: what the ACME client keeps valid, and orders made by hand.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;

use super::AdminState;
use super::failure::{Body as Given, Failure, Segment};
use crate::acme::RevokeError;
use crate::api::{CertificateEvent, CertificateStatus, NewReissue, NewRevocation, Progress};

/// All certificates, in the order of the configuration.
#[utoipa::path(
    get, path = "/v1/certificates", tag = "certificates", operation_id = "list_certificates",
    responses((status = 200, description = "The certificates.", body = Vec<CertificateStatus>)),
    security(("administrator" = [])),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<CertificateStatus>>, Failure> {
    Ok(Json(state.issuer.list().await?))
}

/// One certificate.
#[utoipa::path(
    get, path = "/v1/certificates/{name}", tag = "certificates", operation_id = "show_certificate",
    params(("name" = String, Path, description = "Of a [[certificate]] in the configuration.", min_length = 1)),
    responses((status = 200, description = "The certificate.", body = CertificateStatus)),
    security(("administrator" = [])),
)]
pub(super) async fn show(
    State(state): State<AdminState>,
    Segment(name): Segment,
) -> Result<Json<CertificateStatus>, Failure> {
    Ok(Json(state.issuer.show(&name).await?.ok_or_else(|| unknown(&name))?))
}

/// Orders a certificate unless there is a valid one.
#[utoipa::path(
    post, path = "/v1/certificates/{name}/issue", tag = "certificates", operation_id = "issue_certificate",
    params(("name" = String, Path, description = "Of a [[certificate]] in the configuration.", min_length = 1)),
    responses((status = 200, description = "A line for each step, as it happens.", body = Progress, content_type = "application/x-ndjson")),
    security(("administrator" = [])),
)]
pub(super) async fn issue(State(state): State<AdminState>, Segment(name): Segment) -> Result<Response, Failure> {
    Ok(lines(state.issuer.issue(&name, false).ok_or_else(|| unknown(&name))?))
}

/// Orders a certificate, due or not.
#[utoipa::path(
    post, path = "/v1/certificates/{name}/renew", tag = "certificates", operation_id = "renew_certificate",
    params(("name" = String, Path, description = "Of a [[certificate]] in the configuration.", min_length = 1)),
    responses((status = 200, description = "A line for each step, as it happens.", body = Progress, content_type = "application/x-ndjson")),
    security(("administrator" = [])),
)]
pub(super) async fn renew(State(state): State<AdminState>, Segment(name): Segment) -> Result<Response, Failure> {
    Ok(lines(state.issuer.issue(&name, true).ok_or_else(|| unknown(&name))?))
}

/// Orders a certificate, whatever the one in use is like.
#[utoipa::path(
    post, path = "/v1/certificates/{name}/reissue", tag = "certificates", operation_id = "reissue_certificate",
    params(("name" = String, Path, description = "Of a [[certificate]] in the configuration.", min_length = 1)),
    request_body = Option<NewReissue>,
    responses((status = 200, description = "A line for each step, as it happens.", body = Progress, content_type = "application/x-ndjson")),
    security(("administrator" = [])),
)]
pub(super) async fn reissue(
    State(state): State<AdminState>,
    Segment(name): Segment,
    Given(wanted): Given<Option<NewReissue>>,
) -> Result<Response, Failure> {
    let NewReissue { new_key } = wanted.unwrap_or_default();
    Ok(lines(state.issuer.reissue(&name, new_key).ok_or_else(|| unknown(&name))?))
}

/// Revokes a certificate (RFC 8555 section 7.6).
#[utoipa::path(
    post, path = "/v1/certificates/{name}/revoke", tag = "certificates", operation_id = "revoke_certificate",
    params(("name" = String, Path, description = "Of a [[certificate]] in the configuration.", min_length = 1)),
    request_body = Option<NewRevocation>,
    responses(
        (status = 200, description = "A line for each step, as it happens.", body = Progress, content_type = "application/x-ndjson"),
        (status = 404, description = "There is no such certificate.", body = crate::api::ApiError),
        (status = 409, description = "There is no certificate yet, or another one is to take the place of one that is not in use.", body = crate::api::ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn revoke(
    State(state): State<AdminState>,
    Segment(name): Segment,
    Given(wanted): Given<Option<NewRevocation>>,
) -> Result<Response, Failure> {
    let wanted = wanted.unwrap_or_default();
    let is_serial = |serial: &String| {
        serial.len() <= 100
            && serial.contains(|c: char| c.is_ascii_hexdigit())
            && serial.chars().all(|c| c == ':' || c.is_ascii_hexdigit())
    };
    if wanted.serial.as_ref().is_some_and(|serial| !is_serial(serial)) {
        return Err(Failure::bad_request("`serial` is no hexadecimal number"));
    }
    match state.issuer.revoke(&name, wanted).await {
        Ok(steps) => Ok(lines(steps)),
        Err(RevokeError::Store(error)) => Err(error.into()),
        Err(error @ (RevokeError::None(_) | RevokeError::NotInUse { .. })) => {
            Err(Failure::new(StatusCode::CONFLICT, "conflict", error.to_string()))
        }
        Err(error) => Err(Failure::not_found(error.to_string())),
    }
}

/// Runs the deploy program of a certificate now, due or not.
#[utoipa::path(
    post, path = "/v1/certificates/{name}/deploy", tag = "certificates", operation_id = "deploy_certificate",
    params(("name" = String, Path, description = "Of a [[certificate]] in the configuration.", min_length = 1)),
    responses((status = 200, description = "A line for each line of the program, as it happens.", body = Progress, content_type = "application/x-ndjson")),
    security(("administrator" = [])),
)]
pub(super) async fn deploy(State(state): State<AdminState>, Segment(name): Segment) -> Result<Response, Failure> {
    Ok(lines(state.issuer.deploy(&name).ok_or_else(|| unknown(&name))?))
}

/// Tells what an order would meet, and orders nothing.
#[utoipa::path(
    post, path = "/v1/certificates/{name}/preview", tag = "certificates", operation_id = "preview_certificate",
    params(("name" = String, Path, description = "Of a [[certificate]] in the configuration.", min_length = 1)),
    responses((status = 200, description = "A line for each thing that was looked at.", body = Progress, content_type = "application/x-ndjson")),
    security(("administrator" = [])),
)]
pub(super) async fn preview(State(state): State<AdminState>, Segment(name): Segment) -> Result<Response, Failure> {
    Ok(lines(state.issuer.preview(&name).ok_or_else(|| unknown(&name))?))
}

/// What has happened to a certificate, the oldest first.
#[utoipa::path(
    get, path = "/v1/certificates/{name}/history", tag = "certificates", operation_id = "certificate_history",
    params(("name" = String, Path, description = "Of a [[certificate]] in the configuration.", min_length = 1)),
    responses((status = 200, description = "The events that are kept, 200 at most.", body = Vec<CertificateEvent>)),
    security(("administrator" = [])),
)]
pub(super) async fn history(
    State(state): State<AdminState>,
    Segment(name): Segment,
) -> Result<Json<Vec<CertificateEvent>>, Failure> {
    Ok(Json(state.issuer.history(&name).await?.ok_or_else(|| unknown(&name))?))
}

fn unknown(name: &str) -> Failure {
    Failure::not_found(format!("the configuration has no [[certificate]] with the name `{name}`"))
}

/// Newline-delimited JSON, each line sent when its step happens. The last one is always an outcome.
pub(super) fn lines(steps: mpsc::Receiver<Progress>) -> Response {
    let lines = stream::unfold(Some(steps), |steps| async move {
        let mut steps = steps?;
        let step = steps.recv().await.unwrap_or_else(|| Progress::Failed {
            message: "the order ended without an outcome, see the server's log".to_owned(),
        });
        let more = matches!(step, Progress::Step { .. }).then_some(steps);
        Some((serde_json::to_string(&step).map(|line| line + "\n"), more))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(steps: Vec<Progress>) -> String {
        let (sender, receiver) = mpsc::channel(8);
        for step in steps {
            sender.send(step).await.unwrap();
        }
        drop(sender);
        let body = axum::body::to_bytes(lines(receiver).into_body(), 10_000).await.unwrap();
        String::from_utf8(body.into()).unwrap()
    }

    #[tokio::test]
    async fn each_step_is_one_line_and_the_last_is_an_outcome() {
        let step = || Progress::Step { message: "asking\nthe CA".into() };
        let done = Progress::Done { message: "issued".into(), path: "certs/a".into() };
        let whole = text(vec![step(), done]).await;
        let expected = [
            r#"{"event":"step","message":"asking\nthe CA"}"#,
            r#"{"event":"done","message":"issued","path":"certs/a"}"#,
        ];
        assert_eq!(whole.lines().collect::<Vec<_>>(), expected);
        let broken = text(vec![step()]).await;
        assert!(broken.lines().nth(1).unwrap().starts_with(r#"{"event":"failed""#), "{broken}");
    }
}
