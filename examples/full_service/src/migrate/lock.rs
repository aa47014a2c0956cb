//! One applier at a time.
//!
//! PostgreSQL's advisory lock is asked for again and again, and never waited for: `pg_advisory_lock` keeps a snapshot
//! while it waits, `CREATE INDEX CONCURRENTLY` of the holder waits for that snapshot, and PostgreSQL ends the deadlock
//! by killing one of them.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{
    Options,
    error::{Holder, MigrateError},
    session::{self, Connection, Database, Session},
};

/// The time between two tries to get the lock.
pub const POLL: Duration = Duration::from_millis(200);

/// Who may migrate; held by a connection of its own, which is idle and so keeps no snapshot.
const MIGRATES: i64 = 0x6d69_6772_6174_6501;

/// Whose statements run. A killed applier loses its connections, but what it has sent last may run on in the server:
/// so the connection that works holds a lock as well, and the next applier waits for both.
const WORKS: i64 = 0x6d69_6772_6174_6502;

// === impl Session ===

impl Session {
    /// Connects, and gets the lock within `lock_wait`. SQLite's lock is that of each transaction: see `begin`.
    pub async fn locked(database: &Database, options: &Options) -> Result<Self, MigrateError> {
        let name = options.application_name();
        let mut session = Self::open(database, &name).await?;
        let (Database::Postgres(to), Connection::Postgres(work)) =
            (database, &mut session.connection)
        else {
            return Ok(session);
        };
        let mut guard = session::postgres(to, &name).await?;
        refuse_pooler(&mut guard, work).await?;
        // The guard is idle for as long as the longest migration takes.
        sqlx::raw_sql(
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'",
        )
        .execute(&mut guard)
        .await?;

        let until = Instant::now() + options.lock_wait;
        lock(&mut guard, MIGRATES, until, options.lock_wait).await?;
        lock(work, WORKS, until, options.lock_wait).await?;
        session.guard = Some(guard);
        Ok(session)
    }

    /// Begins a transaction of a known state: that of a new connection, with the timeouts for DDL.
    ///
    /// # Errors
    ///
    /// Returns an error if the lock is lost, or is not had within `lock_wait` (SQLite).
    pub async fn begin(&mut self, options: &Options) -> Result<(), MigrateError> {
        if self.is_sqlite() {
            return self.begin_exclusive(options.lock_wait).await;
        }
        self.settings(options).await?;
        Ok(self.execute("BEGIN").await?)
    }

    /// Returns PostgreSQL's session to the settings of a new one; a migration may have changed them.
    pub async fn settings(&mut self, options: &Options) -> Result<(), MigrateError> {
        if let Some(guard) = &mut self.guard {
            sqlx::raw_sql("SELECT").execute(guard).await?;
        }
        // 0 would be no limit.
        let lock_timeout = options.lock_timeout.as_millis().max(1);
        // The last one, which older servers do not have, ends the statement of a killed applier with it, and not hours
        // later.
        let settings = format!(
            "RESET SESSION AUTHORIZATION; RESET ALL; SET statement_timeout = 0; \
             SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = {lock_timeout}; \
             SELECT set_config(name, '1s', false) FROM pg_settings \
             WHERE name = 'client_connection_check_interval'"
        );
        Ok(self.execute(&settings).await?)
    }

    async fn begin_exclusive(&mut self, wait: Duration) -> Result<(), MigrateError> {
        let until = Instant::now() + wait;
        loop {
            // It waits for `POLL` itself, by the busy timeout of the connection.
            match self.execute("BEGIN EXCLUSIVE").await {
                Err(error) if is_busy(&error) && Instant::now() < until => {}
                Err(error) if is_busy(&error) => {
                    return Err(MigrateError::Locked {
                        waited: wait,
                        holder: None,
                    });
                }
                done => return Ok(done?),
            }
        }
    }
}

/// Returns whether SQLite answered `SQLITE_BUSY`, in any of its kinds.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

async fn lock(
    connection: &mut PgConnection,
    key: i64,
    until: Instant,
    wait: Duration,
) -> Result<(), MigrateError> {
    let mut named = false;
    loop {
        let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(key)
            .persistent(false)
            .fetch_one(&mut *connection)
            .await?;
        if locked {
            return Ok(());
        }
        let now = Instant::now();
        if now >= until || !named {
            let holder = holder(connection, key).await?;
            if now >= until {
                return Err(MigrateError::Locked {
                    waited: wait,
                    holder,
                });
            }
            if let Some(Holder { pid, application }) = holder {
                info!(pid, application, "another process migrates: waiting for it");
                named = true;
            }
        }
        sleep(POLL.min(until - now)).await;
    }
}

async fn holder(connection: &mut PgConnection, key: i64) -> Result<Option<Holder>, MigrateError> {
    let found: Option<(i32, Option<String>)> = sqlx::query_as(
        "SELECT l.pid, a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND (l.classid::bigint << 32) | l.objid::bigint = $1",
    )
    .bind(key)
    .persistent(false)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|(pid, application)| Holder {
        pid,
        application: application.unwrap_or_default(),
    }))
}

/// Refuses a pooler that lends one server process to two sessions in turn: a lock of a session is then another's too.
///
/// Without one, each session keeps its own process. A pooler that lends them per transaction gives the process of
/// `one`, which is not in a transaction, to `other`; or gives `one` another process each time.
async fn refuse_pooler(
    one: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<(), MigrateError> {
    let first = process(one).await?;
    if process(one).await? != first {
        return Err(MigrateError::Pooler);
    }
    sqlx::raw_sql("BEGIN").execute(&mut *other).await?;
    if process(other).await? == first || process(one).await? != first {
        return Err(MigrateError::Pooler);
    }
    sqlx::raw_sql("ROLLBACK").execute(other).await?;
    Ok(())
}

/// Returns the id of the server's process. Not prepared: a pooler might prepare it in another one.
async fn process(connection: &mut PgConnection) -> Result<i32, MigrateError> {
    use sqlx::Row as _;
    let row = sqlx::raw_sql("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    Ok(row.try_get(0)?)
}
