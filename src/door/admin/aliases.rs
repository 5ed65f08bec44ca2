//! `/v1/aliases`: challenge names elsewhere that have the values of a label here.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::failure::{Body, Failure, Segment};
use super::{AdminState, accounts};
use crate::account;
use crate::api::{Alias, ApiError, DomainName, NewAlias};
use crate::store::Writer;
use crate::zone::{ACME_CHALLENGE, Label, Name};

/// All aliases.
#[utoipa::path(
    get, path = "/v1/aliases", tag = "aliases", operation_id = "list_aliases",
    responses((status = 200, description = "The aliases.", body = Vec<Alias>)),
    security(("administrator" = [])),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<Alias>>, Failure> {
    let aliases = state.writer.aliases().await?;
    Ok(Json(aliases.into_iter().map(described).collect::<Result<_, _>>()?))
}

/// Makes `_acme-challenge.<domain>` have the values of a label.
#[utoipa::path(
    post, path = "/v1/aliases", tag = "aliases", operation_id = "add_alias",
    request_body = NewAlias,
    responses(
        (status = 201, description = "The alias.", body = Alias),
        (status = 404, description = "There is no such label.", body = ApiError),
        (status = 409, description = "The domain cannot have an alias.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn add(
    State(state): State<AdminState>,
    Body(wanted): Body<NewAlias>,
) -> Result<(StatusCode, Json<Alias>), Failure> {
    let label = label_of(&state.writer, &wanted.label).await?;
    let alias = described(state.writer.add_alias(domain_of(wanted.domain), label).await?)?;
    tracing::info!(domain = %alias.domain, name = %alias.fulldomain, "alias made by the administrator");
    Ok((StatusCode::CREATED, Json(alias)))
}

/// Takes an alias away.
#[utoipa::path(
    delete, path = "/v1/aliases/{domain}", tag = "aliases", operation_id = "remove_alias",
    params(("domain" = DomainName, Path, description = "The domain, or its challenge name.")),
    responses((status = 200, description = "The alias as it was.", body = Alias)),
    security(("administrator" = [])),
)]
pub(super) async fn remove(State(state): State<AdminState>, Segment(domain): Segment) -> Result<Json<Alias>, Failure> {
    let name = Name::parse(&domain).map_err(|_| Failure::not_found(format!("`{domain}` is no domain name")))?;
    let alias = described(state.writer.remove_alias(domain_of(name)).await?)?;
    tracing::info!(domain = %alias.domain, name = %alias.fulldomain, "alias removed by the administrator");
    Ok(Json(alias))
}

/// The label of `<label>` or `<label>.<zone>`.
async fn label_of(writer: &Writer, text: &str) -> Result<Label, Failure> {
    let text = text.to_ascii_lowercase();
    match Label::parse(&text) {
        Ok(label) => Ok(label),
        Err(_) => Ok(accounts::holder(writer, &text).await?.1.label),
    }
}

/// The domain of a challenge name, or of a wildcard.
fn domain_of(name: Name) -> Name {
    let decorated = name.labels().next().is_some_and(|first| first == ACME_CHALLENGE || first == b"*");
    if decorated { name.parent().unwrap_or(name) } else { name }
}

fn described(alias: account::Alias) -> Result<Alias, Failure> {
    let too_long = |error: crate::zone::NameError| Failure::bad_request(error.to_string());
    Ok(Alias {
        zone: alias.domain.child(ACME_CHALLENGE).map_err(too_long)?,
        fulldomain: alias.grant.name().map_err(too_long)?,
        label: alias.grant.label,
        domain: alias.domain,
    })
}
