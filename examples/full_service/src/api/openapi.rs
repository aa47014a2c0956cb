//! The OpenAPI document, made from the handlers themselves.

use std::collections::BTreeMap;

use axum::{
    Router,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tracing::error;
use utoipa::{
    IntoResponses, OpenApi,
    openapi::{
        ArrayBuilder, ContentBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema,
        Type, header::HeaderBuilder,
    },
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    ApiState, orders,
    problem::{Details, FieldError, Kind, PROBLEM_JSON, Problem},
    users,
};

#[derive(OpenApi)]
#[openapi(
    info(
        description = "Users and their orders. Every error has the form of RFC 9457.",
        contact(name = "The team of this service"),
        license(name = "MIT", identifier = "MIT"),
    ),
    security(()),
    servers((url = "/", description = "The service that has sent this document.")),
    tags(
        (name = "users", description = "Those who order."),
        (name = "orders", description = "What they order."),
    ),
    components(schemas(Details, FieldError)),
)]
struct Document;

/// What any request may be answered.
pub struct Problems;

/// What a request with a body may be answered.
pub struct BodyProblems;

/// What a request with a query may be answered.
pub struct ListProblems;

/// Returns the routes of `/api/v1`, and the document that describes them.
pub fn routes() -> (Router<ApiState>, utoipa::openapi::OpenApi) {
    let v1 = users::router().merge(orders::router());
    let (routes, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(v1)
        .split_for_parts();
    name_data(&mut document);
    (routes, document)
}

/// Names the type of the data in each envelope: utoipa writes out what is generic, and clients would have a type for
/// each place.
fn name_data(document: &mut utoipa::openapi::OpenApi) {
    let schemas = document.components.as_mut().map(|all| &mut all.schemas);
    for (name, schema) in schemas.into_iter().flatten() {
        let (Some(data), RefOr::T(Schema::Object(envelope))) =
            (name.strip_prefix("Envelope_"), schema)
        else {
            continue;
        };
        let data: RefOr<Schema> = match data.strip_prefix("Vec_") {
            Some(item) => ArrayBuilder::new()
                .items(Ref::from_schema_name(item))
                .into(),
            None => Ref::from_schema_name(data).into(),
        };
        envelope.properties.insert("data".to_owned(), data);
    }
}

/// Returns the route of `/openapi.json`.
pub fn route(document: &utoipa::openapi::OpenApi) -> Router {
    let text = document.to_pretty_json().map(|text| text + "\n");
    let text = text.inspect_err(|error| error!(%error, "the OpenAPI document has no form"));
    let answer = match text {
        Ok(text) => {
            let json = HeaderValue::from_static("application/json");
            Ok(([(CONTENT_TYPE, json)], axum::body::Bytes::from(text)))
        }
        Err(_) => Err(Problem::new(Kind::INTERNAL, Kind::INTERNAL.title)),
    };
    let answer = move || std::future::ready(answer.clone().into_response());
    Router::new().route("/openapi.json", get(answer))
}

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (400, "The request is malformed."),
            (408, "The request came too slowly."),
            (429, "The client sends too many requests."),
            (500, "The service failed."),
            (503, "The service or its database cannot answer at present."),
        ])
    }
}

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (413, "The body is too large."),
            (415, "The body is not JSON by its content type."),
            (422, "Values are invalid; the response lists them all."),
        ])
    }
}

impl IntoResponses for ListProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[(422, "Parameters are invalid; the response lists them all.")])
    }
}

fn problems(problems: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let content = || {
        ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build()
    };
    let problem = |&(status, description): &(u16, &str)| {
        let mut response = ResponseBuilder::new()
            .description(description)
            .content(PROBLEM_JSON, content());
        if matches!(status, 429 | 503) {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer);
            let header = HeaderBuilder::new()
                .schema(Some(seconds))
                .description(Some("Seconds."));
            response = response.header("Retry-After", header.build());
        }
        (status.to_string(), response.build().into())
    };
    problems.iter().map(problem).collect()
}
