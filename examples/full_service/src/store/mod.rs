//! The database: users, orders with their idempotency keys, and the outbox, on SQLite or PostgreSQL.
//!
//! A future of the store may be dropped at any await, as the handlers of clients that leave are: an open transaction
//! then rolls back, and no connection is lent again inside of one.

mod error;
mod postgres;
mod sqlite;
#[cfg(test)]
pub(crate) mod tests;
mod types;

use std::{sync::Arc, time::Duration};

use sqlx::{Database, Pool};
use time::OffsetDateTime;
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

pub use self::{error::StoreError, postgres::PostgresStore, sqlite::SqliteStore, types::*};

/// The time after which the answer to a key is forgotten, and a done job is removed.
const KEPT: time::Duration = time::Duration::hours(24);
/// The most rows that one sweep removes of each table: no statement runs long.
pub const SWEPT: u32 = 1_000;
/// The limit of [`Store::close`]: less than the 2 s of its closer, which has something to write before, and is to say what
/// is missing.
const CLOSING: Duration = Duration::from_millis(1_500);

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The settings of a store. They have no `Debug` output, because the URL has the password.
#[derive(Clone)]
pub struct Settings {
    /// `sqlite://` or `postgres://`.
    pub url: String,
    /// The most connections. SQLite has one that writes and 4 that read.
    pub pool: u32,
    pub acquire_timeout: Duration,
    /// The longest a statement may run. PostgreSQL only.
    pub statement_timeout: Duration,
    /// The name of the connections in `pg_stat_activity`.
    pub instance: String,
}

/// The database. It is cheap to clone.
#[derive(Clone)]
pub enum Store {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

/// The end of a store.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    /// The connections that were still lent when the time was up.
    pub lent: u32,
}

macro_rules! on {
    ($this:expr, $store:ident => $call:expr) => {
        match $this {
            Store::Sqlite($store) => $call,
            Store::Postgres($store) => $call,
        }
    };
}

// === impl Store ===

impl Store {
    /// Opens the database. PostgreSQL is not asked yet: one that is away does not stop the start.
    ///
    /// # Errors
    ///
    /// The URL is malformed, or the SQLite file cannot be opened.
    pub async fn connect(settings: &Settings) -> Result<Self> {
        if settings.url.starts_with("sqlite:") {
            Ok(Self::Sqlite(SqliteStore::connect(settings).await?))
        } else {
            Ok(Self::Postgres(PostgresStore::connect(settings)?))
        }
    }

    /// Asks the database for an answer.
    pub async fn ping(&self) -> Result<()> {
        on!(self, store => store.ping().await)
    }

    /// Closes the connections, each with a farewell to the server: those at rest at once, the lent ones as they come
    /// back, for at most 1.5 s.
    pub async fn close(self) -> Closed {
        on!(self, store => store.close().await)
    }

    /// Returns the hint that there may be a job to claim.
    pub fn hint(&self) -> Arc<Notify> {
        on!(self, store => store.hint.clone())
    }

    /// Creates a user.
    ///
    /// # Errors
    ///
    /// `Conflict("duplicate-email")`.
    pub async fn create_user(&self, new: &NewUser) -> Result<User> {
        on!(self, store => store.create_user(new).await)
    }

    pub async fn user(&self, id: Uuid) -> Result<Option<User>> {
        on!(self, store => store.user(id).await)
    }

    /// Returns the users after an id, ascending by id.
    pub async fn users(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<User>> {
        on!(self, store => store.users(after, limit).await)
    }

    /// Replaces the fields of a user, if it has the version expected.
    ///
    /// # Errors
    ///
    /// `Conflict("duplicate-email")`.
    pub async fn update_user(
        &self,
        id: Uuid,
        new: &NewUser,
        expected: Option<i64>,
    ) -> Result<Change<User>> {
        on!(self, store => store.update_user(id, new, expected).await)
    }

    /// Deletes a user, if it has the version expected.
    ///
    /// # Errors
    ///
    /// `Conflict("user-has-orders")`.
    pub async fn delete_user(&self, id: Uuid, expected: Option<i64>) -> Result<Change<()>> {
        on!(self, store => store.delete_user(id, expected).await)
    }

    /// Creates an order, and in the same transaction the answer to its key and the job that confirms it.
    ///
    /// # Errors
    ///
    /// `Conflict("unknown-user")`.
    pub async fn create_order<'a>(
        &self,
        new: &NewOrder,
        key: Option<&IdempotencyKey>,
        origin: impl Into<Origin<'a>>,
    ) -> Result<Created> {
        let origin = origin.into();
        let created = on!(self, store => store.create_order(new, key, origin).await)?;
        if let Created::New(_) = created {
            self.hint().notify_one();
        }
        Ok(created)
    }

    /// Returns the answer that a key has, without an order for one that has none. PostgreSQL has none for a request that
    /// still runs.
    pub async fn answer(&self, key: &IdempotencyKey) -> Result<Option<Created>> {
        on!(self, store => store.answer(key).await)
    }

    pub async fn order(&self, id: Uuid) -> Result<Option<Order>> {
        on!(self, store => store.order(id).await)
    }

    /// Returns the orders after an id, ascending by id.
    pub async fn orders(
        &self,
        filter: &OrderFilter,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Order>> {
        on!(self, store => store.orders(filter, after, limit).await)
    }

    /// Replaces the fields of an order that is placed, if it has the version expected; else `Refused("not-changeable")`.
    ///
    /// # Errors
    ///
    /// `Conflict("unknown-user")`.
    pub async fn update_order(
        &self,
        id: Uuid,
        new: &NewOrder,
        expected: Option<i64>,
    ) -> Result<Change<Order>> {
        on!(self, store => store.update_order(id, new, expected).await)
    }

    /// Cancels an order that is placed or confirmed, if it has the version expected; else `Refused("not-cancellable")`.
    pub async fn cancel_order(&self, id: Uuid, expected: Option<i64>) -> Result<Change<Order>> {
        on!(self, store => store.cancel_order(id, expected).await)
    }

    /// Confirms an order that is placed. Returns `false` if there was nothing to confirm: twice is as good as once.
    pub async fn confirm_order(&self, id: Uuid) -> Result<bool> {
        on!(self, store => store.confirm_order(id).await)
    }

    /// Writes a job without an order.
    #[cfg(test)]
    pub async fn enqueue(&self, job: &NewJob<'_>) -> Result<Uuid> {
        on!(self, store => store.enqueue(job).await)
    }

    /// Claims the job that waits longest, for the time of a lease: one that is queued, or whose lease has run out.
    pub async fn claim(&self, owner: &str, lease: Duration) -> Result<Option<Job>> {
        on!(self, store => store.claim(owner, lease).await)
    }

    /// Prolongs the lease. Returns `false` if another worker has the job by now.
    pub async fn heartbeat(&self, job: &Job, lease: Duration) -> Result<bool> {
        on!(self, store => store.heartbeat(job, lease).await)
    }

    /// Marks a job as done. Returns `false`, and writes nothing, if another worker has it by now.
    pub async fn done(&self, job: &Job) -> Result<bool> {
        on!(self, store => store.done(job).await)
    }

    /// Puts a job back, as if this attempt had not been. Returns `false` if another worker has it by now.
    pub async fn give_back(&self, job: &Job) -> Result<bool> {
        on!(self, store => store.give_back(job).await)
    }

    /// Puts a failed job back for an attempt after `delay`; `None`: it is dead. Returns `false` if another worker has
    /// it by now.
    pub async fn fail(&self, job: &Job, error: &str, delay: Option<Duration>) -> Result<bool> {
        on!(self, store => store.fail(job, error, delay).await)
    }

    /// Queues a dead job again, with all its attempts; else `Refused("not-dead")`.
    pub async fn retry(&self, id: Uuid) -> Result<Change<()>> {
        let change = on!(self, store => store.retry(id).await)?;
        if let Change::Done(()) = change {
            self.hint().notify_one();
        }
        Ok(change)
    }

    /// Returns the state of a job: `queued`, `running`, `done` or `dead`.
    pub async fn job_state(&self, id: Uuid) -> Result<Option<String>> {
        on!(self, store => store.job_state(id).await)
    }

    /// Counts the jobs that are not done.
    pub async fn job_counts(&self) -> Result<JobCounts> {
        on!(self, store => store.job_counts().await)
    }

    /// Notes that this instance is alive.
    pub async fn seen(&self, instance: &Instance) -> Result<()> {
        on!(self, store => store.seen(instance).await)
    }

    /// Notes the end of an instance.
    pub async fn gone(&self, instance: &Instance) -> Result<()> {
        on!(self, store => store.gone(instance).await)
    }

    /// Removes keys and done jobs that are a day old, and instances that were not seen for a day: at most [`SWEPT`] of
    /// each. Returns how many.
    pub async fn sweep(&self) -> Result<u64> {
        on!(self, store => store.sweep().await)
    }
}

/// Returns the time, as exact as both databases keep it.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000)
        .unwrap_or(now)
}

/// Returns what an absent row means for a change that no row has taken.
fn not_changed<T>(row: Option<i64>, expected: Option<i64>, refusal: &'static str) -> Change<T> {
    match row {
        None => Change::Missing,
        Some(version) if expected.is_some_and(|expected| expected != version) => Change::Stale,
        Some(_) => Change::Refused(refusal),
    }
}

/// Closes a pool, and returns the number of connections that were lent to the end.
async fn close<DB: Database>(pool: &Pool<DB>) -> u32 {
    let closing = async {
        // `Pool::close` touches those at rest only when all are back: one that is lent would cost all their farewell.
        while let Some(connection) = pool.try_acquire() {
            let _ = connection.close().await;
        }
        pool.close().await;
    };
    match timeout(CLOSING, closing).await {
        Ok(()) => 0,
        Err(_) => {
            let resting = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            pool.size().saturating_sub(resting)
        }
    }
}
