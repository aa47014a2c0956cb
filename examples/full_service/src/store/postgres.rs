//! The store on PostgreSQL.

mod jobs;
mod lent;
pub mod listen;

use std::{str::FromStr, sync::Arc};

use sqlx::{
    PgConnection, PgPool, Postgres, QueryBuilder, Row,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
    query, query_scalar,
};
use tokio::sync::Notify;
use uuid::Uuid;

use self::lent::Lent;
use super::{
    Change, Closed, Created, IdempotencyKey, KEPT, NewJob, NewOrder, NewUser, Order, OrderFilter,
    OrderStatus, Origin, Result, Settings, StoreError, User, close, not_changed, now,
};

/// The columns are named, never `*`: a migration that adds one would change the result of a statement that is prepared.
macro_rules! user_columns {
    () => {
        "id, email, name, version, created_at, updated_at"
    };
}

macro_rules! order_columns {
    () => {
        "id, user_id, status, currency, items::text AS items, total, version, created_at, updated_at"
    };
}

/// The store on PostgreSQL.
#[derive(Clone)]
pub struct PostgresStore {
    pub(super) pool: PgPool,
    pub(super) hint: Arc<Notify>,
}

impl PostgresStore {
    pub(super) fn connect(settings: &Settings) -> Result<Self> {
        let statement_timeout = settings.statement_timeout.as_millis().to_string();
        let options = PgConnectOptions::from_str(&settings.url)?
            .application_name(&settings.instance)
            .options([
                ("statement_timeout", statement_timeout.as_str()),
                // The net under all transactions: a process that hangs in one holds its locks no longer than this.
                ("idle_in_transaction_session_timeout", "10000"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(settings.pool)
            .acquire_timeout(settings.acquire_timeout)
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            hint: Arc::default(),
        })
    }

    pub(super) async fn ping(&self) -> Result<()> {
        query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    pub(super) async fn close(&self) -> Closed {
        Closed {
            lent: close(&self.pool).await,
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
        .bind(user.created_at)
        .bind(user.updated_at)
        .execute(&self.pool)
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
        .fetch_optional(&self.pool)
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
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(user).collect::<Result<_, _>>()?)
    }

    pub(super) async fn update_user(
        &self,
        id: Uuid,
        new: &NewUser,
        expected: Option<i64>,
    ) -> Result<Change<User>> {
        let row = query(concat!(
            "UPDATE users SET email = $3, name = $4, version = version + 1, updated_at = $5
             WHERE id = $1 AND ($2::bigint IS NULL OR version = $2) RETURNING ",
            user_columns!()
        ))
        .bind(id)
        .bind(expected)
        .bind(&new.email)
        .bind(&new.name)
        .bind(now())
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| StoreError::conflict(error, "duplicate-email"))?;
        match row {
            Some(row) => Ok(Change::Done(user(&row)?)),
            None => self.user_not_changed(id).await,
        }
    }

    pub(super) async fn delete_user(&self, id: Uuid, expected: Option<i64>) -> Result<Change<()>> {
        let deleted =
            query("DELETE FROM users WHERE id = $1 AND ($2::bigint IS NULL OR version = $2)")
                .bind(id)
                .bind(expected)
                .execute(&self.pool)
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
        let mut lent = Lent::acquire(&self.pool).await?;
        let mut transaction = lent.begin().await?;
        let order = Order::place(new, now());
        if let Some(key) = key
            && let Some(created) = claimed(&mut transaction, key).await?
        {
            // Here, and not some time after the drop: until then the key is taken for one that is still running.
            transaction.rollback().await?;
            return Ok(created);
        }
        let items = serde_json::to_string(&order.items).map_err(StoreError::unwritable)?;
        query(
            "INSERT INTO orders
                 (id, user_id, status, currency, items, total, version, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9)",
        )
        .bind(order.id)
        .bind(order.user_id)
        .bind(order.status.as_str())
        .bind(&order.currency)
        .bind(items)
        .bind(order.total)
        .bind(order.version)
        .bind(order.created_at)
        .bind(order.updated_at)
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::conflict(error, "unknown-user"))?;
        if let Some(key) = key {
            let answer = serde_json::to_string(&order).map_err(StoreError::unwritable)?;
            query(
                "INSERT INTO idempotency_keys (key, fingerprint, answer, created_at)
                 VALUES ($1, $2, $3::jsonb, $4)
                 ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint,
                     answer = excluded.answer, created_at = excluded.created_at",
            )
            .bind(&key.key)
            .bind(&key.fingerprint[..])
            .bind(answer)
            .bind(order.created_at)
            .execute(&mut *transaction)
            .await?;
        }
        jobs::insert(&mut transaction, &NewJob::confirm(&order, origin)).await?;
        transaction.commit().await?;
        Ok(Created::New(order))
    }

    pub(super) async fn answer(&self, key: &IdempotencyKey) -> Result<Option<Created>> {
        // Without the claim, which a request with the same key would take for one that still runs.
        answered(&mut *self.pool.acquire().await?, key).await
    }

    pub(super) async fn order(&self, id: Uuid) -> Result<Option<Order>> {
        let row = query(concat!(
            "SELECT ",
            order_columns!(),
            " FROM orders WHERE id = $1"
        ))
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(order).transpose()?)
    }

    pub(super) async fn orders(
        &self,
        filter: &OrderFilter,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Order>> {
        let mut query = QueryBuilder::<Postgres>::new(concat!(
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
        let rows = query.build().fetch_all(&self.pool).await?;
        Ok(rows.iter().map(order).collect::<Result<_, _>>()?)
    }

    pub(super) async fn update_order(
        &self,
        id: Uuid,
        new: &NewOrder,
        expected: Option<i64>,
    ) -> Result<Change<Order>> {
        let items = serde_json::to_string(&new.items).map_err(StoreError::unwritable)?;
        let row = query(
            concat!("UPDATE orders SET user_id = $3, currency = $4, items = $5::jsonb, total = $6,
                 version = version + 1, updated_at = $7
             WHERE id = $1 AND ($2::bigint IS NULL OR version = $2) AND status = 'placed' RETURNING ", order_columns!()),
        )
        .bind(id)
        .bind(expected)
        .bind(new.user_id)
        .bind(&new.currency)
        .bind(items)
        .bind(new.total)
        .bind(now())
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| StoreError::conflict(error, "unknown-user"))?;
        self.order_changed(row, id, expected, "not-changeable")
            .await
    }

    pub(super) async fn cancel_order(
        &self,
        id: Uuid,
        expected: Option<i64>,
    ) -> Result<Change<Order>> {
        let row = query(
            concat!("UPDATE orders SET status = 'cancelled', version = version + 1, updated_at = $3
             WHERE id = $1 AND ($2::bigint IS NULL OR version = $2) AND status <> 'cancelled' RETURNING ", order_columns!()),
        )
        .bind(id)
        .bind(expected)
        .bind(now())
        .fetch_optional(&self.pool)
        .await?;
        self.order_changed(row, id, expected, "not-cancellable")
            .await
    }

    async fn order_changed(
        &self,
        row: Option<PgRow>,
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
        .bind(now())
        .execute(&self.pool)
        .await?;
        Ok(confirmed.rows_affected() == 1)
    }
}

/// Claims a key until the end of the transaction; returns the answer that it has, or `Running`.
async fn claimed(connection: &mut PgConnection, key: &IdempotencyKey) -> Result<Option<Created>> {
    // A statement of its own: the next one must see what the last holder wrote.
    let free: bool = query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(&key.key)
        .fetch_one(&mut *connection)
        .await?;
    match free {
        true => answered(connection, key).await,
        false => Ok(Some(Created::Running)),
    }
}

/// Returns the answer that a key has; `None`: it is new, forgotten, or its request still runs.
async fn answered(connection: &mut PgConnection, key: &IdempotencyKey) -> Result<Option<Created>> {
    let row = query(
        "SELECT fingerprint, answer::text AS answer FROM idempotency_keys WHERE key = $1 AND created_at >= $2",
    )
    .bind(&key.key)
    .bind(now() - KEPT)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let fingerprint: Vec<u8> = row.try_get("fingerprint")?;
    let answer: String = row.try_get("answer")?;
    Created::again(key, &fingerprint, &answer).map(Some)
}

fn user(row: &PgRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

fn order(row: &PgRow) -> Result<Order, sqlx::Error> {
    Ok(Order {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        status: OrderStatus::read(row.try_get("status")?)?,
        currency: row.try_get("currency")?,
        items: serde_json::from_str(row.try_get("items")?).map_err(StoreError::unreadable)?,
        total: row.try_get("total")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
