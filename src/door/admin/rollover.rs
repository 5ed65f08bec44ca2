//! `/v1/cas/{name}/rollover`: a new key for the account at a CA.

use axum::extract::State;
use axum::response::Response;

use super::AdminState;
use super::certificates::lines;
use super::failure::{Failure, Segment};
use crate::api::Progress;

/// Gives the account at a CA a new key (RFC 8555 section 7.3.5).
#[utoipa::path(
    post, path = "/v1/cas/{name}/rollover", tag = "cas", operation_id = "roll_over_account_key",
    params(("name" = String, Path, description = "Of a [[ca]] in the configuration.", min_length = 1)),
    responses((status = 200, description = "A line for each step, as it happens.", body = Progress, content_type = "application/x-ndjson")),
    security(("administrator" = [])),
)]
pub(super) async fn roll_over(State(state): State<AdminState>, Segment(name): Segment) -> Result<Response, Failure> {
    let unknown = || Failure::not_found(format!("the configuration has no [[ca]] with the name `{name}`"));
    Ok(lines(state.issuer.roll_over(&name).ok_or_else(unknown)?))
}
