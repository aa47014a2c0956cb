//! The errors of the store, by what the caller can do about them.

use std::fmt;

use sqlx::{error::DatabaseError, postgres::PgDatabaseError, sqlite::SqliteError};

use crate::secret::redact;

/// The error of a store.
#[derive(Debug)]
pub enum StoreError {
    /// The database is away, or too busy: a later attempt may succeed.
    Away(sqlx::Error),
    /// A constraint refused the row; the code of the problem.
    Conflict(&'static str),
    /// A bug, or a schema that does not fit.
    Internal(sqlx::Error),
}

impl StoreError {
    /// Returns a conflict where a unique index or a foreign key has refused the row.
    pub(super) fn conflict(error: sqlx::Error, code: &'static str) -> Self {
        match error.as_database_error() {
            Some(refusal)
                if refusal.is_unique_violation() || refusal.is_foreign_key_violation() =>
            {
                Self::Conflict(code)
            }
            _ => error.into(),
        }
    }

    /// Returns true for an error that says that the database is away, or too busy.
    pub fn is_away(error: &sqlx::Error) -> bool {
        use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Tls, WorkerCrashed};
        match error {
            Io(_) | Tls(_) | PoolClosed | PoolTimedOut | WorkerCrashed => true,
            Database(error) => refuses_all(error.as_ref()),
            _ => false,
        }
    }

    /// Returns the error of a value that cannot be written.
    pub(super) fn unwritable(error: serde_json::Error) -> Self {
        Self::Internal(sqlx::Error::Encode(Box::new(error)))
    }

    /// Returns the error of a value in the database that is not what this program writes.
    pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
        sqlx::Error::Decode(Box::new(error))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match Self::is_away(&error) {
            true => Self::Away(error),
            false => Self::Internal(error),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(error) => write!(f, "the database is away: {}", shown(error)),
            Self::Conflict(code) => write!(f, "a constraint refused it: {code}"),
            Self::Internal(error) => write!(f, "the database refused it: {}", shown(error)),
        }
    }
}

impl std::error::Error for StoreError {}

/// Returns the text of an error, which may repeat the URL that it was given.
fn shown(error: &sqlx::Error) -> String {
    redact(&error.to_string())
}

/// Checks whether the database refuses its work now, rather than this statement.
fn refuses_all(error: &dyn DatabaseError) -> bool {
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        let code = error.code();
        return match code {
            // A standby after a failover; a statement or a lock that took too long; an idle transaction.
            "25006" | "57014" | "55P03" | "25P03" => true,
            // Connections, logins, missing database, conflicts of transactions, resources, shutdown, the system.
            _ => ["08", "28", "3D", "40", "53", "57P", "58"]
                .iter()
                .any(|class| code.starts_with(class)),
        };
    }
    if error.try_downcast_ref::<SqliteError>().is_some() {
        // The low byte is the primary code: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN.
        let code = error.code().and_then(|code| code.parse::<u32>().ok());
        return matches!(code.map(|code| code & 0xff), Some(5 | 6 | 8 | 10 | 13 | 14));
    }
    false
}
