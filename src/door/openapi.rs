//! The OpenAPI 3.1 documents: what stands at each handler, and what every operation can answer besides.

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

use super::json::Refusal;
use crate::api::{ApiError, DomainName, ValueText};

/// The API that clients use.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "acmezone",
        description = "The doors for ACME clients over HTTP: the API of acme-dns, and `httpreq` of lego, which is also \
            acmeproxy's. Bodies are read as JSON under any `Content-Type` or none, keys in any letter case; keys that \
            are not known are left alone. Doubled slashes, a slash at the end and capitals in a path are overlooked. \
            Any other path is answered with 404, any other method with 405 and `Allow`."
    ),
    components(schemas(Refusal))
)]
struct Public;

/// What an administrator may do.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "acmezone administration",
        description = "What an administrator may do, on loopback. Any other path is answered with 404, any other \
            method with 405 and `Allow`."
    ),
    components(schemas(ApiError, DomainName, ValueText))
)]
struct Administration;

/// The document of the API that clients use, without its operations.
pub(super) fn public() -> utoipa::openapi::OpenApi {
    let key = |header| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(header)));
    let schemes = [
        ("user", key("X-Api-User")),
        ("key", key("X-Api-Key")),
        ("account", http(HttpAuthScheme::Basic)),
        ("token", key("X-Registration-Token")),
        ("bearer", http(HttpAuthScheme::Bearer)),
    ];
    with_schemes(Public::openapi(), schemes)
}

/// The document of the API of the command line and the dashboard, without its operations.
pub(super) fn administration() -> utoipa::openapi::OpenApi {
    with_schemes(Administration::openapi(), [("administrator", http(HttpAuthScheme::Bearer))])
}

fn http(scheme: HttpAuthScheme) -> SecurityScheme {
    SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build())
}

fn with_schemes<const N: usize>(
    mut document: utoipa::openapi::OpenApi,
    schemes: [(&str, SecurityScheme); N],
) -> utoipa::openapi::OpenApi {
    document.components.get_or_insert_default().add_security_schemes_from_iter(schemes);
    document
}

/// How a document is completed.
pub(super) struct Completion {
    /// Where it is served.
    pub path: &'static str,
    /// The schema of every refusal.
    pub refusal: &'static str,
    /// Statuses of every operation, with what they mean.
    pub always: &'static [(u16, &'static str)],
}

/// The routes, with their document beside them.
pub(super) fn documented(routes: OpenApiRouter, completion: &Completion) -> Router {
    let (routes, mut document) = routes.split_for_parts();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        operations.into_iter().flatten().for_each(|operation| complete(operation, completion));
    }
    // It is made of string keys and plain values.
    let document = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    routes.route(completion.path, get(async move || (json, document)))
}

/// Adds the statuses that follow from what an operation takes.
fn complete(operation: &mut Operation, completion: &Completion) {
    let (parameters, has_body) = (operation.parameters.iter().flatten(), operation.request_body.is_some());
    let mut places = parameters.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(&parameter.parameter_in),
        RefOr::Ref(_) => None,
    });
    let rules = [
        (401, "No credentials, wrong ones, or not from this address.", operation.security.is_some()),
        (404, "There is nothing of this name.", places.any(|place| *place == ParameterIn::Path)),
        (413, "The body is too long.", has_body),
    ];
    let followed = rules.into_iter().filter(|(_, _, holds)| *holds).map(|(status, meaning, _)| (status, meaning));
    for (status, meaning) in followed.chain(completion.always.iter().copied()) {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_string()).or_insert_with(|| refusal(completion.refusal, meaning).into());
    }
    for (status, header, kind) in [
        ("401", "WWW-Authenticate", Type::String),
        ("429", "Retry-After", Type::Integer),
        ("503", "Retry-After", Type::Integer),
    ] {
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
            let schema = ObjectBuilder::new().schema_type(kind);
            response.headers.insert(header.to_owned(), HeaderBuilder::new().schema(Some(schema)).build().into());
        }
    }
}

fn refusal(schema: &str, meaning: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(meaning).content("application/json", content).build()
}
