//! The store on SQLite: one connection writes, 4 read, and the log of the file lets neither wait for the other.

mod jobs;
mod rows;

use std::{future::ready, str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    Connection, QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool, query,
    query::Query,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
    },
};
use tokio::sync::Notify;
use uuid::Uuid;

use self::rows::{micros, order, user};
use super::{
    Change, Closed, Created, IdempotencyKey, KEPT, NewJob, NewOrder, NewUser, Order, OrderFilter,
    Origin, Result, Settings, StoreError, User, close, not_changed, now,
};

/// The connections that read.
const READERS: u32 = 4;
/// The longest wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

/// The columns are named, never `*`: a migration that adds one would change the result of a statement that is prepared.
macro_rules! user_columns {
    () => {
        "id, email, name, version, created_at, updated_at"
    };
}

macro_rules! order_columns {
    () => {
        "id, user_id, status, currency, items, total, version, created_at, updated_at"
    };
}

/// The store on SQLite.
#[derive(Clone)]
pub struct SqliteStore {
    pub(super) writer: SqlitePool,
    readers: SqlitePool,
    pub(super) hint: Arc<Notify>,
}

impl SqliteStore {
    pub(super) async fn connect(settings: &Settings) -> Result<Self> {
        let options = SqliteConnectOptions::from_str(&settings.url)?
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let pool = |size| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .acquire_timeout(settings.acquire_timeout)
                // A file is not lost as a server is; and a future that is dropped in the test would close it.
                .test_before_acquire(false)
                // SQLite itself rolls back where the disk is full or fails; sqlx (0.9) then counts a transaction for ever.
                .before_acquire(|connection, _| {
                    let resting = !connection.is_in_transaction();
                    Box::pin(ready(Ok(resting)))
                })
                .idle_timeout(None)
                .max_lifetime(None)
        };
        // The writer is first: it creates the file, and its log.
        let writer = pool(1).connect_with(options.clone()).await?;
        let readers = pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self {
            writer,
            readers,
            hint: Arc::default(),
        })
    }

    pub(super) async fn ping(&self) -> Result<()> {
        query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    pub(super) async fn close(&self) -> Closed {
        let (writer, readers) = tokio::join!(close(&self.writer), close(&self.readers));
        Closed {
            lent: writer + readers,
        }
    }

    pub(super) async fn create_user(&self, new: &NewUser) -> Result<User> {
        let user = User::create(new, now());
        query(
            "INSERT INTO users (id, email, name, version, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(user.id)
        .bind(&user.email)
        .bind(&user.name)
        .bind(user.version)
        .bind(micros(user.created_at))
        .bind(micros(user.updated_at))
        .execute(&self.writer)
        .await
        .map_err(|error| StoreError::conflict(error, "duplicate-email"))?;
        Ok(user)
    }

    pub(super) async fn user(&self, id: Uuid) -> Result<Option<User>> {
        let row = query(concat!(
            "SELECT ",
            user_columns!(),
            " FROM users WHERE id = $1"
        ))
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.as_ref().map(user).transpose()?)
    }

    pub(super) async fn users(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<User>> {
        let rows = query(concat!(
            "SELECT ",
            user_columns!(),
            " FROM users WHERE id > $1 ORDER BY id LIMIT $2"
        ))
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.iter().map(user).collect::<Result<_, _>>()?)
    }

    pub(super) async fn update_user(
        &self,
        id: Uuid,
        new: &NewUser,
        expected: Option<i64>,
    ) -> Result<Change<User>> {
        let changed = query(concat!(
            "UPDATE users SET email = $3, name = $4, version = version + 1, updated_at = $5
             WHERE id = $1 AND ($2 IS NULL OR version = $2) RETURNING ",
            user_columns!()
        ))
        .bind(id)
        .bind(expected)
        .bind(&new.email)
        .bind(&new.name)
        .bind(micros(now()));
        let row = self.returned(changed).await;
        match row.map_err(|error| StoreError::conflict(error, "duplicate-email"))? {
            Some(row) => Ok(Change::Done(user(&row)?)),
            None => self.user_not_changed(id).await,
        }
    }

    pub(super) async fn delete_user(&self, id: Uuid, expected: Option<i64>) -> Result<Change<()>> {
        let deleted = query("DELETE FROM users WHERE id = $1 AND ($2 IS NULL OR version = $2)")
            .bind(id)
            .bind(expected)
            .execute(&self.writer)
            .await
            .map_err(|error| StoreError::conflict(error, "user-has-orders"))?;
        match deleted.rows_affected() {
            0 => self.user_not_changed(id).await,
            _ => Ok(Change::Done(())),
        }
    }

    async fn user_not_changed<T>(&self, id: Uuid) -> Result<Change<T>> {
        let there = self.user(id).await?;
        Ok(there.map_or(Change::Missing, |_| Change::Stale))
    }

    pub(super) async fn create_order(
        &self,
        new: &NewOrder,
        key: Option<&IdempotencyKey>,
        origin: Origin<'_>,
    ) -> Result<Created> {
        // At once for writing: a transaction that reads first may find that it can no longer write.
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let order = Order::place(new, now());
        if let Some(key) = key
            && let Some(created) = answered(&mut transaction, key).await?
        {
            return Ok(created);
        }
        let items = serde_json::to_string(&order.items).map_err(StoreError::unwritable)?;
        query(
            "INSERT INTO orders
                 (id, user_id, status, currency, items, total, version, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(order.id)
        .bind(order.user_id)
        .bind(order.status.as_str())
        .bind(&order.currency)
        .bind(items)
        .bind(order.total)
        .bind(order.version)
        .bind(micros(order.created_at))
        .bind(micros(order.updated_at))
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::conflict(error, "unknown-user"))?;
        if let Some(key) = key {
            let answer = serde_json::to_string(&order).map_err(StoreError::unwritable)?;
            query(
                "INSERT INTO idempotency_keys (key, fingerprint, answer, created_at)
                 VALUES ($1, $2, $3, $4)
                 ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint,
                     answer = excluded.answer, created_at = excluded.created_at",
            )
            .bind(&key.key)
            .bind(&key.fingerprint[..])
            .bind(answer)
            .bind(micros(order.created_at))
            .execute(&mut *transaction)
            .await?;
        }
        jobs::insert(&mut transaction, &NewJob::confirm(&order, origin)).await?;
        transaction.commit().await?;
        Ok(Created::New(order))
    }

    pub(super) async fn answer(&self, key: &IdempotencyKey) -> Result<Option<Created>> {
        answered(&mut *self.readers.acquire().await?, key).await
    }

    pub(super) async fn order(&self, id: Uuid) -> Result<Option<Order>> {
        let row = query(concat!(
            "SELECT ",
            order_columns!(),
            " FROM orders WHERE id = $1"
        ))
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.as_ref().map(order).transpose()?)
    }

    pub(super) async fn orders(
        &self,
        filter: &OrderFilter,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Order>> {
        let mut query = QueryBuilder::<Sqlite>::new(concat!(
            "SELECT ",
            order_columns!(),
            " FROM orders WHERE id > "
        ));
        query.push_bind(after.unwrap_or_default());
        if let Some(user_id) = filter.user_id {
            query.push(" AND user_id = ").push_bind(user_id);
        }
        if let Some(status) = filter.status {
            query.push(" AND status = ").push_bind(status.as_str());
        }
        query.push(" ORDER BY id LIMIT ");
        query.push_bind(i64::from(limit));
        let rows = query.build().fetch_all(&self.readers).await?;
        Ok(rows.iter().map(order).collect::<Result<_, _>>()?)
    }

    pub(super) async fn update_order(
        &self,
        id: Uuid,
        new: &NewOrder,
        expected: Option<i64>,
    ) -> Result<Change<Order>> {
        let items = serde_json::to_string(&new.items).map_err(StoreError::unwritable)?;
        let changed = query(concat!(
            "UPDATE orders SET user_id = $3, currency = $4, items = $5, total = $6,
                 version = version + 1, updated_at = $7
             WHERE id = $1 AND ($2 IS NULL OR version = $2) AND status = 'placed' RETURNING ",
            order_columns!()
        ))
        .bind(id)
        .bind(expected)
        .bind(new.user_id)
        .bind(&new.currency)
        .bind(items)
        .bind(new.total)
        .bind(micros(now()));
        let row = self.returned(changed).await;
        let row = row.map_err(|error| StoreError::conflict(error, "unknown-user"))?;
        self.order_changed(row, id, expected, "not-changeable")
            .await
    }

    pub(super) async fn cancel_order(
        &self,
        id: Uuid,
        expected: Option<i64>,
    ) -> Result<Change<Order>> {
        let changed = query(concat!(
            "UPDATE orders SET status = 'cancelled', version = version + 1, updated_at = $3
             WHERE id = $1 AND ($2 IS NULL OR version = $2) AND status <> 'cancelled' RETURNING ",
            order_columns!()
        ))
        .bind(id)
        .bind(expected)
        .bind(micros(now()));
        let row = self.returned(changed).await?;
        self.order_changed(row, id, expected, "not-cancellable")
            .await
    }

    /// Runs a statement that returns the row that it writes. To its end, where SQLite commits: `fetch_optional` ends at the
    /// row, and an error of the commit is lost (sqlx 0.9).
    async fn returned(
        &self,
        statement: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Option<SqliteRow>, sqlx::Error> {
        Ok(statement.fetch_all(&self.writer).await?.pop())
    }

    async fn order_changed(
        &self,
        row: Option<SqliteRow>,
        id: Uuid,
        expected: Option<i64>,
        refusal: &'static str,
    ) -> Result<Change<Order>> {
        match row {
            Some(row) => Ok(Change::Done(order(&row)?)),
            None => {
                let version = self.order(id).await?.map(|order| order.version);
                Ok(not_changed(version, expected, refusal))
            }
        }
    }

    pub(super) async fn confirm_order(&self, id: Uuid) -> Result<bool> {
        let confirmed = query(
            "UPDATE orders SET status = 'confirmed', version = version + 1, updated_at = $2
             WHERE id = $1 AND status = 'placed'",
        )
        .bind(id)
        .bind(micros(now()))
        .execute(&self.writer)
        .await?;
        Ok(confirmed.rows_affected() == 1)
    }
}

/// Returns the answer that a key has; `None`: it is new, or forgotten.
async fn answered(
    connection: &mut SqliteConnection,
    key: &IdempotencyKey,
) -> Result<Option<Created>> {
    let row = query(
        "SELECT fingerprint, answer FROM idempotency_keys WHERE key = $1 AND created_at >= $2",
    )
    .bind(&key.key)
    .bind(micros(now() - KEPT))
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let fingerprint: Vec<u8> = row.try_get("fingerprint")?;
    let answer: String = row.try_get("answer")?;
    Created::again(key, &fingerprint, &answer).map(Some)
}
