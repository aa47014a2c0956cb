//! Rows as SQLite keeps them: times are microseconds, items are JSON.

use sqlx::{Row, sqlite::SqliteRow};
use time::OffsetDateTime;

use super::super::{Order, OrderStatus, StoreError, User};

pub(super) fn user(row: &SqliteRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
    })
}

pub(super) fn order(row: &SqliteRow) -> Result<Order, sqlx::Error> {
    Ok(Order {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        status: OrderStatus::read(row.try_get("status")?)?,
        currency: row.try_get("currency")?,
        items: serde_json::from_str(row.try_get("items")?).map_err(StoreError::unreadable)?,
        total: row.try_get("total")?,
        version: row.try_get("version")?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
    })
}

pub(super) fn micros(moment: OffsetDateTime) -> i64 {
    // 2^63 microseconds are 292,000 years.
    i64::try_from(moment.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

fn moment(row: &SqliteRow, column: &str) -> Result<OffsetDateTime, sqlx::Error> {
    let micros: i64 = row.try_get(column)?;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
        .map_err(StoreError::unreadable)
}
