//! A connection to either database, and its table of what is applied.

use std::{str::FromStr, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection as _, Row as _,
    postgres::{PgConnectOptions, PgConnection},
    sqlite::{SqliteConnectOptions, SqliteConnection},
};
use tokio::time::timeout;

use super::{
    error::MigrateError,
    file::{Migration, Phase},
    lock,
};

/// The time that a connection may take; there is no limit in the driver.
const CONNECT: Duration = Duration::from_secs(10);

/// An instance that has not said for this long that it is alive is gone: three heartbeats.
const ALIVE_SECONDS: u32 = 30;

/// The database that is migrated, by connections of the migration's own.
#[derive(Debug, Clone)]
pub enum Database {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions),
}

/// A connection, and the name of the table as this database wants it.
pub struct Session {
    pub connection: Connection,
    /// Holds the lock; only of PostgreSQL.
    pub guard: Option<PgConnection>,
    table: String,
    /// Whether the table is known to be there.
    has_table: bool,
}

pub enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// A row of `schema_migrations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub version: i64,
    pub name: String,
    pub checksum: String,
    pub phase: Phase,
    /// Whether it is applied; else it has failed, or is at work without a transaction.
    pub applied: bool,
    pub applied_at: String,
    pub took_ms: i64,
    pub applied_by: String,
}

/// Does the same with a connection of either kind.
macro_rules! either {
    ($session:expr, $connection:ident => $then:expr) => {
        match &mut $session.connection {
            Connection::Postgres($connection) => $then,
            Connection::Sqlite($connection) => $then,
        }
    };
}

// === impl Database ===

impl Database {
    /// Reads a URL: `postgres://…` or `sqlite:…`.
    ///
    /// # Errors
    ///
    /// Returns a rule that the URL breaks, without the URL.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => PgConnectOptions::from_str(url)
                .map(Self::Postgres)
                .map_err(|_| "is not a URL of PostgreSQL"),
            Some("sqlite") => SqliteConnectOptions::from_str(url)
                .map(Self::Sqlite)
                .map_err(|_| "is not a URL of SQLite"),
            _ => Err("begins with neither postgres: nor sqlite:"),
        }
    }
}

/// Connects to PostgreSQL under a name that `pg_stat_activity` shows.
pub async fn postgres(
    options: &PgConnectOptions,
    name: &str,
) -> Result<PgConnection, MigrateError> {
    let options = options
        .clone()
        .application_name(name)
        // PgBouncer refuses it as a parameter of the start, and no migration reads floats here.
        .extra_float_digits(None)
        .disable_statement_logging();
    within(options.connect()).await
}

async fn within<T>(
    connecting: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, MigrateError> {
    match timeout(CONNECT, connecting).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()),
    }
}

// === impl Session ===

impl Session {
    /// Connects, without a lock.
    pub async fn open(database: &Database, name: &str) -> Result<Self, MigrateError> {
        let (connection, table) = match database {
            Database::Postgres(options) => {
                let mut connection = postgres(options, name).await?;
                // Not prepared: behind a pooler that would fail before the pooler is recognised.
                let row = sqlx::raw_sql("SELECT quote_ident(current_schema())")
                    .fetch_one(&mut connection)
                    .await?;
                let schema: Option<String> = row.try_get(0)?;
                // Qualified, since a migration may change the search path.
                let table = schema.ok_or(MigrateError::NoSchema)? + ".schema_migrations";
                (Connection::Postgres(connection), table)
            }
            Database::Sqlite(options) => {
                let options = options
                    .clone()
                    // A table is rebuilt under a foreign key only without them; see `foreign_keys`.
                    .foreign_keys(false)
                    .busy_timeout(lock::POLL)
                    .disable_statement_logging();
                let connection = within(options.connect()).await?;
                (
                    Connection::Sqlite(connection),
                    "schema_migrations".to_owned(),
                )
            }
        };
        Ok(Self {
            connection,
            guard: None,
            table,
            has_table: false,
        })
    }

    /// Says goodbye to the database, which else logs a lost connection.
    pub async fn close(self) {
        // Whatever it answers, the work is over, and dropping the connection is as good.
        if let Some(guard) = self.guard {
            let _ = timeout(CONNECT, guard.close()).await;
        }
        let _ = match self.connection {
            Connection::Postgres(connection) => timeout(CONNECT, connection.close()).await,
            Connection::Sqlite(connection) => timeout(CONNECT, connection.close()).await,
        };
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.connection, Connection::Sqlite(_))
    }

    /// Runs one statement, or several that return nothing.
    pub async fn execute(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql);
        either!(self, connection => sqlx::raw_sql(sql).execute(connection).await.map(drop))
    }

    pub async fn create_table(&mut self) -> Result<(), MigrateError> {
        let (time, now) = match self.is_sqlite() {
            true => ("text", "(strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))"),
            false => ("timestamptz", "now()"),
        };
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (
                version bigint PRIMARY KEY,
                name text NOT NULL,
                checksum text NOT NULL,
                phase text NOT NULL CHECK (phase IN ('expand', 'contract')),
                state text NOT NULL CHECK (state IN ('applied', 'failed')),
                applied_at {time} NOT NULL DEFAULT {now},
                took_ms bigint NOT NULL,
                applied_by text NOT NULL
            )",
            self.table
        );
        self.execute(&sql).await?;
        self.has_table = true;
        Ok(())
    }

    /// Reads the table; without one nothing is applied.
    pub async fn rows(&mut self) -> Result<Vec<Row>, MigrateError> {
        if !self.has_table && !self.exists(&self.table.clone()).await? {
            return Ok(Vec::new());
        }
        let applied_at = match self.is_sqlite() {
            true => "applied_at",
            false => r#"to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#,
        };
        let sql = format!(
            "SELECT version, name, checksum, phase, state, {applied_at}, took_ms, applied_by
             FROM {} ORDER BY version",
            self.table
        );
        let mut rows = Vec::new();
        either!(self, connection => {
            let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
            for row in query.fetch_all(connection).await? {
                rows.push(Row {
                    version: row.try_get(0)?,
                    name: row.try_get(1)?,
                    checksum: row.try_get(2)?,
                    phase: match row.try_get::<String, _>(3)?.as_str() {
                        "contract" => Phase::Contract,
                        _ => Phase::Expand,
                    },
                    applied: row.try_get::<String, _>(4)? == "applied",
                    applied_at: row.try_get(5)?,
                    took_ms: row.try_get(6)?,
                    applied_by: row.try_get(7)?,
                });
            }
        });
        Ok(rows)
    }

    /// Records a migration, or replaces its record.
    pub async fn record(
        &mut self,
        migration: &Migration,
        applied: bool,
        took: Duration,
        by: &str,
    ) -> Result<(), MigrateError> {
        let sql = format!(
            "INSERT INTO {} (version, name, checksum, phase, state, took_ms, applied_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (version) DO UPDATE
             SET checksum = excluded.checksum, phase = excluded.phase, state = excluded.state,
                 took_ms = excluded.took_ms, applied_by = excluded.applied_by",
            self.table
        );
        let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        either!(self, connection => {
            sqlx::query(AssertSqlSafe(sql))
                .bind(migration.version)
                .bind(migration.name.clone())
                .bind(migration.checksum.clone())
                .bind(migration.phase.as_str())
                .bind(if applied { "applied" } else { "failed" })
                .bind(took)
                .bind(by.to_owned())
                .persistent(false)
                .execute(connection)
                .await?;
        });
        Ok(())
    }

    /// Removes the record of a migration, so that it is pending.
    pub async fn forget(&mut self, version: i64) -> Result<(), MigrateError> {
        let sql = format!("DELETE FROM {} WHERE version = $1", self.table);
        either!(self, connection => {
            let query = sqlx::query(AssertSqlSafe(sql)).bind(version).persistent(false);
            query.execute(connection).await?;
        });
        Ok(())
    }

    /// Returns the versions of the service that run now, and the instances of each.
    pub async fn instances(&mut self) -> Result<Vec<(String, i64)>, MigrateError> {
        if !self.exists("instances").await? {
            return Ok(Vec::new());
        }
        let alive = match self.is_sqlite() {
            true => format!(
                "seen_at > (CAST(strftime('%s', 'now') AS integer) - {ALIVE_SECONDS}) * 1000000"
            ),
            false => format!("seen_at > now() - interval '{ALIVE_SECONDS} seconds'"),
        };
        let sql = format!(
            "SELECT version, count(*) FROM instances WHERE {alive} GROUP BY version ORDER BY version"
        );
        let query = AssertSqlSafe(sql);
        either!(self, connection => {
            let query = sqlx::query_as(query).persistent(false);
            Ok(query.fetch_all(connection).await?)
        })
    }

    /// Returns the rows whose foreign key points nowhere: table, and the table that it refers to.
    pub async fn broken_foreign_keys(&mut self) -> Result<Vec<(String, String)>, MigrateError> {
        match &mut self.connection {
            Connection::Postgres(_) => Ok(Vec::new()),
            Connection::Sqlite(connection) => {
                let sql =
                    r#"SELECT DISTINCT "table", parent FROM pragma_foreign_key_check LIMIT 20"#;
                Ok(sqlx::query_as(sql).fetch_all(connection).await?)
            }
        }
    }

    async fn exists(&mut self, name: &str) -> Result<bool, MigrateError> {
        let name = name.to_owned();
        Ok(match &mut self.connection {
            Connection::Postgres(connection) => {
                sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
                    .bind(name)
                    .persistent(false)
                    .fetch_one(connection)
                    .await?
            }
            Connection::Sqlite(connection) => {
                sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_master WHERE name = $1")
                    .bind(name)
                    .persistent(false)
                    .fetch_one(connection)
                    .await?
            }
        })
    }
}
