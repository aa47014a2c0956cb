//! The form of every success: `{"data": …, "meta": …, "links": …}`.

use std::convert::Infallible;

use axum::{
    Json,
    extract::{FromRequestParts, OriginalUri},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{ETAG, LOCATION},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use lameduck::request_id::RequestId;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    extract::{IfNoneMatch, Paging},
    problem::Problem,
};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The resource, and what belongs to its response.
#[derive(Serialize, ToSchema)]
pub struct Envelope<T> {
    data: T,
    meta: Meta,
    links: Links,
}

#[derive(Serialize, ToSchema)]
pub struct Meta {
    /// The id of the request, as in `X-Request-Id` and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// The `cursor` of the next page. The last page has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Links {
    /// The path of this resource.
    #[serde(rename = "self")]
    this: String,
    /// The path of the next page. The last page has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// A resource with a path and a version.
pub trait Entity: Serialize {
    /// The path of all of them.
    const PATH: &'static str;

    fn id(&self) -> Uuid;
    fn version(&self) -> i64;
}

/// The part of a request that its response repeats.
pub struct Context {
    pub request_id: Option<RequestId>,
    uri: axum::http::Uri,
}

impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, state).await?;
        let request_id = RequestId::of(&parts.extensions).cloned();
        Ok(Self { request_id, uri })
    }
}

impl Context {
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().map(RequestId::as_str)
    }

    /// 201, with the path of the new resource. `replayed` is for a request that has been answered before.
    pub fn created<E: Entity>(&self, entity: &E, replayed: bool) -> Response {
        let location = [(LOCATION, path_of(entity))];
        let mut response = (StatusCode::CREATED, location, self.entity(entity)).into_response();
        if replayed {
            let headers = response.headers_mut();
            headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }

    /// 200.
    pub fn entity<E: Entity>(&self, entity: &E) -> Response {
        let links = Links {
            this: path_of(entity),
            next: None,
        };
        ([etag(entity)], self.envelope(entity, None, links)).into_response()
    }

    /// 200, 304 if the client has this version, or 404.
    pub fn entity_unless<E: Entity>(
        &self,
        entity: Option<E>,
        known: &IfNoneMatch,
    ) -> Result<Response, Problem> {
        let entity = entity.ok_or_else(Problem::not_found)?;
        Ok(match known.matches(entity.version()) {
            true => (StatusCode::NOT_MODIFIED, [etag(&entity)]).into_response(),
            false => self.entity(&entity),
        })
    }

    /// 200, with a page of the entities. There is another page if there is one entity more than the page has room for.
    pub fn page<E: Entity>(
        &self,
        mut entities: Vec<E>,
        paging: &Paging,
        filter: &[(&str, String)],
    ) -> Response {
        let room = paging.limit as usize;
        let more = entities.len() > room;
        entities.truncate(room);
        let last = entities.last().filter(|_| more);
        let cursor = last.map(|last| Paging::cursor(last.id()));
        let next = cursor.as_deref().map(|cursor| {
            let filter: String = filter
                .iter()
                .map(|(name, value)| format!("&{name}={value}"))
                .collect();
            format!("{}?limit={room}{filter}&cursor={cursor}", E::PATH)
        });
        let this = self.uri.path_and_query();
        let this = this.map_or(E::PATH, |this| this.as_str()).to_owned();
        self.envelope(entities, cursor, Links { this, next })
    }

    fn envelope<T: Serialize>(
        &self,
        data: T,
        next_cursor: Option<String>,
        links: Links,
    ) -> Response {
        let request_id = self.request_id().map(str::to_owned);
        let meta = Meta {
            request_id,
            next_cursor,
        };
        Json(Envelope { data, meta, links }).into_response()
    }
}

fn path_of<E: Entity>(entity: &E) -> String {
    format!("{}/{}", E::PATH, entity.id())
}

fn etag<E: Entity>(entity: &E) -> (HeaderName, String) {
    (ETAG, format!("\"v{}\"", entity.version()))
}
