//! The rows of the service, as the handlers and the workers see them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::StoreError;

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    /// The number of this version, from 1.
    pub version: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// The fields of a user that a client chooses, validated.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub email: String,
    pub name: String,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Order {
    pub id: Uuid,
    pub user_id: Uuid,
    pub status: OrderStatus,
    /// Three capital letters, as in ISO 4217.
    pub currency: String,
    pub items: Vec<Item>,
    /// The sum of the items, in minor units of the currency.
    pub total: i64,
    /// The number of this version, from 1.
    pub version: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    pub sku: String,
    pub quantity: i32,
    /// The price of one, in minor units of the currency.
    pub unit_price: i64,
}

/// The fields of an order that a client chooses, validated, with their sum.
#[derive(Debug, Clone)]
pub struct NewOrder {
    pub user_id: Uuid,
    pub currency: String,
    pub items: Vec<Item>,
    pub total: i64,
}

/// The state of an order. It is placed by a client, confirmed by a job, and cancelled by a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    Placed,
    Confirmed,
    Cancelled,
}

/// The orders to list: all, or those of one user or status.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    pub user_id: Option<Uuid>,
    pub status: Option<OrderStatus>,
}

/// The key by which a client names a request that it may send again.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    pub key: String,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
}

/// The end of an attempt to create an order.
#[derive(Debug, PartialEq)]
pub enum Created {
    New(Order),
    /// The same request was answered before, with this order as it was then.
    Replayed(Order),
    /// The key was used for another request.
    KeyReused,
    /// Another request with this key is still running.
    Running,
}

/// The end of an attempt to change a row.
#[derive(Debug, PartialEq)]
pub enum Change<T> {
    Done(T),
    Missing,
    /// The row has another version than the one expected.
    Stale,
    /// The state of the row does not allow it; the code of the problem.
    Refused(&'static str),
}

/// The request that a job comes from: the job's log lines and spans name it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    pub request_id: Option<&'a str>,
    /// W3C Trace Context.
    pub traceparent: Option<&'a str>,
}

impl<'a> From<Option<&'a str>> for Origin<'a> {
    fn from(request_id: Option<&'a str>) -> Self {
        Self {
            request_id,
            traceparent: None,
        }
    }
}

/// A job to do after the transaction that it was written in.
#[derive(Debug)]
pub struct NewJob<'a> {
    pub kind: &'static str,
    pub payload: Value,
    pub origin: Origin<'a>,
}

/// A job that a worker has claimed. `id`, `owner` and `attempts` name this run of it: whatever is written about the run
/// is written only while no other run has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: Uuid,
    pub kind: String,
    pub payload: Value,
    pub owner: String,
    /// The number of this attempt, from 1.
    pub attempts: i32,
    pub request_id: Option<String>,
    pub traceparent: Option<String>,
}

/// The jobs that are not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobCounts {
    pub queued: i64,
    pub running: i64,
    pub dead: i64,
    /// How long the one that waits longest has been due, or its lease has been over; zero if none waits.
    pub longest_wait: Duration,
}

/// A process of the service.
#[derive(Debug, Clone)]
pub struct Instance {
    pub id: String,
    /// The version of the program.
    pub version: String,
    /// The schema that it needs.
    pub schema_version: i64,
    pub started_at: OffsetDateTime,
}

// === impl OrderStatus ===

impl OrderStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn read(text: &str) -> Result<Self, sqlx::Error> {
        [Self::Placed, Self::Confirmed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| sqlx::Error::Decode(format!("the status {text:?} is unknown").into()))
    }
}

// === impl Created ===

impl Created {
    /// Returns the end of a request whose key has an answer.
    pub(super) fn again(
        key: &IdempotencyKey,
        fingerprint: &[u8],
        answer: &str,
    ) -> Result<Self, StoreError> {
        if fingerprint != key.fingerprint {
            return Ok(Self::KeyReused);
        }
        let order = serde_json::from_str(answer).map_err(StoreError::unreadable)?;
        Ok(Self::Replayed(order))
    }
}

// === impl Order ===

impl Order {
    /// Returns a new order, placed at `now`.
    pub(super) fn place(new: &NewOrder, now: OffsetDateTime) -> Self {
        Self {
            id: Uuid::now_v7(),
            user_id: new.user_id,
            status: OrderStatus::Placed,
            currency: new.currency.clone(),
            items: new.items.clone(),
            total: new.total,
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

// === impl User ===

impl User {
    /// Returns a new user, created at `now`.
    pub(super) fn create(new: &NewUser, now: OffsetDateTime) -> Self {
        Self {
            id: Uuid::now_v7(),
            email: new.email.clone(),
            name: new.name.clone(),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

// === impl NewJob ===

/// The kind of the job that confirms an order.
pub const CONFIRM_ORDER: &str = "confirm-order";

impl<'a> NewJob<'a> {
    /// Returns the job that every new order brings with it.
    pub(super) fn confirm(order: &Order, origin: Origin<'a>) -> Self {
        Self {
            kind: CONFIRM_ORDER,
            payload: serde_json::json!({ "order_id": order.id }),
            origin,
        }
    }
}
