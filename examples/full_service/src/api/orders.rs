//! `/api/v1/orders`.

mod body;

use axum::{
    extract::{FromRequestParts, State},
    http::request::Parts,
    response::Response,
};
use tracing::info;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use self::body::OrderBody;
use super::{
    ApiState,
    envelope::{Context, Entity, Envelope},
    extract::{Id, IfMatch, IfNoneMatch, OptionalKey, Paging, Parameters, Valid},
    openapi::{BodyProblems, ListProblems, Problems},
    problem::{Details, FieldError, Kind, Problem},
    users::done,
};
use crate::{
    store::{Created, Order, OrderFilter, OrderStatus, Origin},
    traces,
};

/// Whether orders of a user are taken.
const ORDERS_OPEN: &str = "orders-open";
/// The seconds after which a client may ask again.
const ASK_AGAIN: u32 = 60;

/// The query of a list of orders.
pub struct Listed {
    paging: Paging,
    filter: OrderFilter,
}

pub fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, update))
        .routes(routes!(cancel))
}

/// Places an order.
///
/// With an `Idempotency-Key` a retry is safe: for 24 hours the same key with the same body has the first response.
#[utoipa::path(
    post,
    path = "/api/v1/orders",
    tag = "orders",
    operation_id = "createOrder",
    params(
        ("Idempotency-Key" = Option<String>, Header, nullable = false, pattern = "^[!-~]{1,255}$",
            description = "A key that the client makes for this order, and sends with each retry."),
    ),
    request_body = OrderBody,
    responses(
        (status = 201, description = "The order has been placed.", body = Envelope<Order>, headers(
            ("Location" = String, description = "The path of the order."),
            ("ETag" = String, description = "The version of the order."),
        )),
        (status = 409, description = "The first request with this key has not ended.",
            body = Details, content_type = "application/problem+json"),
        BodyProblems,
        Problems,
    )
)]
async fn create(
    State(api): State<ApiState>,
    context: Context,
    key: OptionalKey,
    Valid { value, bytes }: Valid<OrderBody>,
) -> Result<Response, Problem> {
    let key = key.of("POST", context.path(), &bytes);
    let order = value.order()?;
    let mut user = Uuid::encode_buffer();
    let user = order.user_id.hyphenated().encode_lower(&mut user);
    let created = match (api.flags.is_on(ORDERS_OPEN, Some(user), true), &key) {
        (true, key) => {
            let traceparent = traces::traceparent();
            let origin = Origin {
                request_id: context.request_id(),
                traceparent: traceparent.as_deref(),
            };
            Some(api.store.create_order(&order, key.as_ref(), origin).await?)
        }
        // The order may have been placed before, and its response lost.
        (false, Some(key)) => api.store.answer(key).await?,
        (false, None) => None,
    };
    let created = created.ok_or_else(|| {
        let detail = "no new orders of this user are taken at present";
        Problem::new(Kind::ORDERS_CLOSED, detail).retry_after(ASK_AGAIN)
    })?;
    match created {
        Created::New(order) => {
            info!(order = %order.id, "order placed");
            Ok(context.created(&order, false))
        }
        Created::Replayed(order) => Ok(context.created(&order, true)),
        Created::KeyReused => {
            let detail = "the key was used with another body: make a new key for a new order";
            let error = FieldError::in_header("Idempotency-Key", "reused", detail);
            Err(Problem::new(Kind::KEY_REUSED, detail).errors([error]))
        }
        Created::Running => {
            let detail = "the first request with this key has not ended: please try again";
            Err(Problem::new(Kind::KEY_IN_USE, detail).retry_after(1))
        }
    }
}

/// Lists orders, from the oldest to the newest.
///
/// `links.next` leads to the next page with the same filter.
#[utoipa::path(
    get,
    path = "/api/v1/orders",
    tag = "orders",
    operation_id = "listOrders",
    params(
        ("user_id" = Option<Uuid>, Query, description = "Only the orders of this user."),
        ("status" = Option<OrderStatus>, Query, description = "Only orders in this state."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100,
            description = "The most orders on the page: 20 if it is not given."),
        ("cursor" = Option<String>, Query, pattern = "^[0-9a-f]{32}$",
            description = "`meta.next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "A page of orders.", body = Envelope<Vec<Order>>),
        ListProblems,
        Problems,
    )
)]
async fn list(
    State(api): State<ApiState>,
    context: Context,
    Listed { paging, filter }: Listed,
) -> Result<Response, Problem> {
    let limit = paging.limit + 1;
    let orders = api.store.orders(&filter, paging.after, limit).await?;
    let mut repeated = Vec::new();
    if let Some(user) = filter.user_id {
        repeated.push(("user_id", user.to_string()));
    }
    if let Some(status) = filter.status {
        repeated.push(("status", status.as_str().to_owned()));
    }
    Ok(context.page(orders, &paging, &repeated))
}

/// Shows an order.
///
/// The `ETag` is the version, for `If-Match` and `If-None-Match`.
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}",
    tag = "orders",
    operation_id = "showOrder",
    params(
        ("id" = Uuid, Path, description = "The id of the order."),
        ("If-None-Match" = Option<String>, Header, nullable = false,
            description = "The `ETag` of the version that the client has."),
    ),
    responses(
        (status = 200, description = "The order.", body = Envelope<Order>, headers(
            ("ETag" = String, description = "The version of the order."),
        )),
        (status = 304, description = "The client has the current version.", headers(
            ("ETag" = String, description = "The version of the order."),
        )),
        (status = 404, description = "There is no such order.",
            body = Details, content_type = "application/problem+json"),
        Problems,
    )
)]
async fn show(
    State(api): State<ApiState>,
    context: Context,
    Id(id): Id,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    context.entity_unless(api.store.order(id).await?, &known)
}

/// Replaces an order.
///
/// An order that has been confirmed or cancelled stays as it is.
#[utoipa::path(
    put,
    path = "/api/v1/orders/{id}",
    tag = "orders",
    operation_id = "replaceOrder",
    params(
        ("id" = Uuid, Path, description = "The id of the order."),
        ("If-Match" = Option<String>, Header, nullable = false,
            description = "The `ETag` of the version to replace. Without it any version is replaced."),
    ),
    request_body = OrderBody,
    responses(
        (status = 200, description = "The order has been replaced.", body = Envelope<Order>, headers(
            ("ETag" = String, description = "The version of the order."),
        )),
        (status = 404, description = "There is no such order.",
            body = Details, content_type = "application/problem+json"),
        (status = 409, description = "The order can no longer be changed.",
            body = Details, content_type = "application/problem+json"),
        (status = 412, description = "The order has another version.",
            body = Details, content_type = "application/problem+json"),
        BodyProblems,
        Problems,
    )
)]
async fn update(
    State(api): State<ApiState>,
    context: Context,
    Id(id): Id,
    expected: IfMatch,
    Valid { value, .. }: Valid<OrderBody>,
) -> Result<Response, Problem> {
    let expected = expected.expected(|| version(&api, id)).await?;
    let order = value.order()?;
    let change = api.store.update_order(id, &order, expected).await?;
    Ok(context.entity(&done(change)?))
}

/// Cancels an order.
///
/// An order that is cancelled cannot be cancelled again.
#[utoipa::path(
    post,
    path = "/api/v1/orders/{id}/cancel",
    tag = "orders",
    operation_id = "cancelOrder",
    params(
        ("id" = Uuid, Path, description = "The id of the order."),
        ("If-Match" = Option<String>, Header, nullable = false,
            description = "The `ETag` of the version to cancel. Without it any version is cancelled."),
    ),
    responses(
        (status = 200, description = "The order has been cancelled.", body = Envelope<Order>, headers(
            ("ETag" = String, description = "The version of the order."),
        )),
        (status = 404, description = "There is no such order.",
            body = Details, content_type = "application/problem+json"),
        (status = 409, description = "The order can no longer be cancelled.",
            body = Details, content_type = "application/problem+json"),
        (status = 412, description = "The order has another version.",
            body = Details, content_type = "application/problem+json"),
        Problems,
    )
)]
async fn cancel(
    State(api): State<ApiState>,
    context: Context,
    Id(id): Id,
    expected: IfMatch,
) -> Result<Response, Problem> {
    let expected = expected.expected(|| version(&api, id)).await?;
    let order = done(api.store.cancel_order(id, expected).await?)?;
    info!(order = %id, "order cancelled");
    Ok(context.entity(&order))
}

async fn version(api: &ApiState, id: Uuid) -> Result<Option<i64>, Problem> {
    let order = api.store.order(id).await?;
    Ok(order.map(|order| order.version))
}

impl Entity for Order {
    const PATH: &'static str = "/api/v1/orders";

    fn id(&self) -> Uuid {
        self.id
    }

    fn version(&self) -> i64 {
        self.version
    }
}

impl<S: Sync> FromRequestParts<S> for Listed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(&parts.uri)?;
        let paging = parameters.paging();
        let user_id = parameters.id("user_id");
        let status = parameters.take("status").and_then(|text| {
            let mut all = [
                OrderStatus::Placed,
                OrderStatus::Confirmed,
                OrderStatus::Cancelled,
            ]
            .into_iter();
            let status = all.find(|status| status.as_str() == text);
            let detail = "must be placed, confirmed or cancelled";
            status.or_else(|| parameters.refuse("status", "unknown-status", detail))
        });
        parameters.finish()?;
        let filter = OrderFilter { user_id, status };
        Ok(Self { paging, filter })
    }
}
