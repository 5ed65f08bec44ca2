//! `/v1/txt`: the values of every challenge name.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::AdminState;
use super::failure::{Body, Failure, Segment};
use crate::api::{ApiError, DomainName, TxtName, ValueText, Values};
use crate::door::values;
use crate::store::{Actor, Writer, now};
use crate::zone::{Edit, Label, Live, MAX_SET_OCTETS, MAX_VALUES, Name, TxtValue, Update};

/// All names that have values now.
#[utoipa::path(
    get, path = "/v1/txt", tag = "txt", operation_id = "list_txt",
    responses((status = 200, description = "Names and values.", body = Vec<TxtName>)),
    security(("administrator" = [])),
)]
pub(super) async fn list(State(state): State<AdminState>) -> Json<Vec<TxtName>> {
    Json(served(state.writer.live()))
}

/// The values of a name.
#[utoipa::path(
    get, path = "/v1/txt/{name}", tag = "txt", operation_id = "show_txt",
    params(("name" = DomainName, Path, description = "A registered label, a challenge zone or an `_acme-challenge` name.")),
    responses(
        (status = 200, description = "What is there now.", body = TxtName),
        (status = 404, description = "No values can be put there.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn show(State(state): State<AdminState>, Segment(name): Segment) -> Result<Json<TxtName>, Failure> {
    Ok(Json(described(state.writer.live(), challenge_name(&state.writer, &name)?)))
}

/// Adds values.
#[utoipa::path(
    post, path = "/v1/txt/{name}", tag = "txt", operation_id = "add_txt",
    request_body = SomeValues,
    params(("name" = DomainName, Path, description = "A registered label, a challenge zone or an `_acme-challenge` name.")),
    responses(
        (status = 200, description = "What is there now.", body = TxtName),
        (status = 404, description = "No values can be put there.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn add(
    State(state): State<AdminState>,
    Segment(name): Segment,
    Body(SomeValues { values }): Body<SomeValues>,
) -> Result<Json<TxtName>, Failure> {
    if values.is_empty() {
        return Err(Failure::bad_request("no value to add"));
    }
    change(&state.writer, &name, parsed(&values)?.into_iter().map(Edit::Add).collect()).await
}

/// Replaces all values.
#[utoipa::path(
    put, path = "/v1/txt/{name}", tag = "txt", operation_id = "replace_txt",
    request_body = Values,
    params(("name" = DomainName, Path, description = "A registered label, a challenge zone or an `_acme-challenge` name.")),
    responses(
        (status = 200, description = "What is there now.", body = TxtName),
        (status = 404, description = "No values can be put there.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn replace(
    State(state): State<AdminState>,
    Segment(name): Segment,
    Body(Values { values }): Body<Values>,
) -> Result<Json<TxtName>, Failure> {
    change(&state.writer, &name, vec![Edit::Replace(parsed(&values)?)]).await
}

/// [`Values`], but not none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SomeValues {
    #[schema(value_type = Vec<ValueText>, min_items = 1, max_items = 64)]
    values: Vec<String>,
}

/// The query of a deletion.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// All values if left out.
    value: Option<String>,
}

/// Removes one value, or all.
#[utoipa::path(
    delete, path = "/v1/txt/{name}", tag = "txt", operation_id = "remove_txt",
    params(("name" = DomainName, Path, description = "A registered label, a challenge zone or an `_acme-challenge` name."),
        ("value" = Option<ValueText>, Query, description = "All values if left out.")),
    responses(
        (status = 200, description = "What is there now.", body = TxtName),
        (status = 404, description = "No values can be put there.", body = ApiError),
    ),
    security(("administrator" = [])),
)]
pub(super) async fn remove(
    State(state): State<AdminState>,
    Segment(name): Segment,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<TxtName>, Failure> {
    let Query(which) = which.map_err(|error| Failure::bad_request(error.body_text()))?;
    let edit = match which.value {
        Some(value) => Edit::Remove(parsed_one(&value)?),
        None => Edit::Replace(Vec::new()),
    };
    change(&state.writer, &name, vec![edit]).await
}

/// Names that serve values at this moment, in the order of the names.
pub(super) fn served(live: &Live) -> Vec<TxtName> {
    let now = now();
    let mut names: Vec<TxtName> =
        live.values().into_iter().map(|(name, set)| TxtName { name, values: values(&set, now) }).collect();
    names.retain(|name| !name.values.is_empty());
    names.sort_by_cached_key(|holder| holder.name.to_string());
    names
}

async fn change(writer: &Writer, name: &str, edits: Vec<Edit>) -> Result<Json<TxtName>, Failure> {
    let name = challenge_name(writer, name)?;
    let updates = edits.into_iter().map(|edit| Update { name: name.clone(), edit }).collect();
    writer.update(Actor::Administrator, updates).await?;
    let changed = described(writer.live(), name);
    tracing::info!(name = %changed.name, values = changed.values.len(), "values changed by the administrator");
    Ok(Json(changed))
}

fn challenge_name(writer: &Writer, text: &str) -> Result<Name, Failure> {
    let label = Label::parse(&text.to_ascii_lowercase()).ok().and_then(|label| writer.name_of(&label));
    if let Some(name) = label {
        return Ok(name);
    }
    let name = Name::parse(text).map_err(|error| Failure::bad_request(format!("`{text}` is no name: {error}")))?;
    writer.live().challenge_name(&name).map_err(|error| crate::store::UpdateError::from(error).into())
}

/// Values of one request; no more than the name can hold, because the first of them would be gone at once.
fn parsed(values: &[String]) -> Result<Vec<TxtValue>, Failure> {
    let values: Vec<TxtValue> = values.iter().map(|value| parsed_one(value)).collect::<Result<_, _>>()?;
    let octets: usize = values.iter().map(|value| value.octets().len()).sum();
    if values.len() > MAX_VALUES || octets > MAX_SET_OCTETS {
        let message = format!("a name holds at most {MAX_VALUES} values with {MAX_SET_OCTETS} octets together");
        return Err(Failure::bad_request(message));
    }
    Ok(values)
}

fn parsed_one(value: &str) -> Result<TxtValue, Failure> {
    value.parse().map_err(|error: crate::zone::TxtValueError| Failure::bad_request(error.to_string()))
}

fn described(live: &Live, name: Name) -> TxtName {
    let set = live.txt_set(&name);
    TxtName { name, values: set.map(|set| values(&set, now())).unwrap_or_default() }
}
