//! The kinds of errors: what is the same each time that one happens.

use axum::http::StatusCode;

/// A kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub status: StatusCode,
    pub code: &'static str,
    pub title: &'static str,
}

impl Kind {
    pub const BAD_REQUEST: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "bad-request",
        "The request is malformed",
    );
    pub const NOT_JSON: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "not-json",
        "The body is not valid JSON",
    );
    pub const NOT_FOUND: Self = Self::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "There is no such resource",
    );
    pub const STALE: Self = Self::new(
        StatusCode::PRECONDITION_FAILED,
        "version-changed",
        "The resource has changed since it was read",
    );
    pub const NOT_JSON_TYPE: Self = Self::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "The content type is not supported",
    );
    pub const ENCODED: Self = Self::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-encoding",
        "The content encoding is not supported",
    );
    pub const INVALID: Self = Self::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid",
        "The request has invalid values",
    );
    pub const OVERFLOW: Self = Self::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "overflow",
        "The total is too large",
    );
    pub const UNKNOWN_USER: Self = Self::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "unknown-user",
        "There is no such user",
    );
    pub const KEY_REUSED: Self = Self::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "The idempotency key belongs to another request",
    );
    pub const KEY_IN_USE: Self = Self::new(
        StatusCode::CONFLICT,
        "idempotency-key-in-use",
        "The first request with this idempotency key has not ended",
    );
    pub const INTERNAL: Self = Self::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The service failed",
    );
    pub const ORDERS_CLOSED: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "orders-closed",
        "No new orders are taken",
    );
    pub const AWAY: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "database-away",
        "The database does not answer",
    );

    const fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self {
            status,
            code,
            title,
        }
    }

    /// Returns the kind of a conflict with the state of the data.
    pub(super) fn conflict(code: &'static str) -> Self {
        let title = match code {
            "unknown-user" => return Self::UNKNOWN_USER,
            "duplicate-email" => "Another user has this email address",
            "user-has-orders" => "The user has orders",
            "not-cancellable" => "The order can no longer be cancelled",
            "not-changeable" => "The order can no longer be changed",
            _ => "The request conflicts with the state of the resource",
        };
        Self::new(StatusCode::CONFLICT, code, title)
    }

    /// Returns the kind of a refusal that is not this module's.
    pub(super) fn refusal(status: StatusCode) -> Self {
        let (code, title) = match status {
            StatusCode::BAD_REQUEST => return Self::BAD_REQUEST,
            StatusCode::NOT_FOUND => return Self::NOT_FOUND,
            StatusCode::INTERNAL_SERVER_ERROR => return Self::INTERNAL,
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method-not-allowed", "The resource has no such method")
            }
            StatusCode::REQUEST_TIMEOUT => ("request-timeout", "The request came too slowly"),
            StatusCode::PAYLOAD_TOO_LARGE => ("body-too-large", "The body is too large"),
            StatusCode::TOO_MANY_REQUESTS => ("rate-limited", "The client sends too many requests"),
            StatusCode::SERVICE_UNAVAILABLE => {
                ("unavailable", "The service cannot answer at present")
            }
            StatusCode::GATEWAY_TIMEOUT => ("timeout", "The service did not answer in time"),
            _ => ("refused", status.canonical_reason().unwrap_or("Refused")),
        };
        Self::new(status, code, title)
    }
}
