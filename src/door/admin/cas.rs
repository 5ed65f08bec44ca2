//! `/v1/cas`: the CAs that certificates come from, and how the server stands with them.

use axum::Json;
use axum::extract::State;

use super::AdminState;
use super::failure::{Failure, Segment};
use crate::api::CaStatus;

/// All CAs, in the order of the configuration. One that is down is shown with that.
#[utoipa::path(
    get, path = "/v1/cas", tag = "cas", operation_id = "list_cas",
    responses((status = 200, description = "The CAs.", body = Vec<CaStatus>)),
    security(("administrator" = [])),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<CaStatus>>, Failure> {
    Ok(Json(state.issuer.cas().await?))
}

/// One CA.
#[utoipa::path(
    get, path = "/v1/cas/{name}", tag = "cas", operation_id = "show_ca",
    params(("name" = String, Path, description = "Of a [[ca]] in the configuration.", min_length = 1)),
    responses((status = 200, description = "The CA.", body = CaStatus)),
    security(("administrator" = [])),
)]
pub(super) async fn show(State(state): State<AdminState>, Segment(name): Segment) -> Result<Json<CaStatus>, Failure> {
    let unknown = || Failure::not_found(format!("the configuration has no [[ca]] with the name `{name}`"));
    Ok(Json(state.issuer.ca(&name).await?.ok_or_else(unknown)?))
}
