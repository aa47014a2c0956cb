//! Every reason why a schema is not migrated, with what to do about it.

use std::{fmt, time::Duration};

use super::file::Release;

/// The reason why nothing more was done. Its text is for an operator; that of the driver in it may repeat a URL.
#[derive(Debug)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database cannot be reached, or refuses a statement of the bookkeeping.
    Database(sqlx::Error),
    /// A statement of a migration failed; its transaction is rolled back.
    Statement {
        file: String,
        line: usize,
        error: sqlx::Error,
    },
    /// A statement without a transaction failed; the migration is now `failed`.
    Interrupted {
        file: String,
        error: sqlx::Error,
        label: String,
    },
    /// Migrations without a transaction have not finished.
    Unfinished(Vec<String>),
    /// Applied files are not what they were.
    Changed(Vec<Difference>),
    /// Pending migrations lie below the newest one that is applied.
    OutOfOrder {
        pending: Vec<String>,
        newest: String,
    },
    /// Pending migrations need downtime: label and reason.
    Unsafe(Vec<(String, String)>),
    /// Instances run that a contract would break: their versions, and how many of each.
    OlderInstances {
        label: String,
        after: Release,
        alive: Vec<(String, i64)>,
    },
    /// Another process migrates.
    Locked {
        waited: Duration,
        holder: Option<Holder>,
    },
    /// A pooler lends the server's connections to several clients in turn.
    Pooler,
    /// The search path of PostgreSQL names no schema that exists.
    NoSchema,
    /// The schema lacks what this program needs.
    Older { newest: i64, missing: Vec<String> },
    /// The schema has migrations behind which this program cannot run.
    Newer { known: i64, newer: Vec<String> },
    /// Migrations that cannot be undone lie in the way.
    NoDown(Vec<String>),
    /// SQLite runs each migration in a transaction.
    NeedsTransaction(String),
    /// Foreign keys of SQLite point nowhere: table, and the table that it refers to.
    ForeignKeys {
        file: String,
        broken: Vec<(String, String)>,
    },
    /// There is no migration of this number to repair.
    Unknown(i64),
    /// The statement does not show in the schema whether it has run.
    Undecided(String),
}

/// The session that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: i32,
    pub application: String,
}

/// An applied migration whose file has another checksum, or is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub label: String,
    pub applied: String,
    pub file: Option<String>,
}

// === impl MigrateError ===

impl MigrateError {
    /// Returns whether a lock was not had in time, so that a later try may succeed.
    pub(super) fn is_passing(&self) -> bool {
        let (Self::Database(error) | Self::Statement { error, .. }) = self else {
            return false;
        };
        is_passing(error)
    }
}

/// Returns whether PostgreSQL gave up a wait for a lock: by its timeout, or to end a deadlock.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl std::error::Error for MigrateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(error)
            | Self::Statement { error, .. }
            | Self::Interrupted { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => write!(f, "the database: {error}"),
            Self::Statement { file, line, error } => {
                write!(f, "{file}:{line}: {error}; it is rolled back")
            }
            Self::Interrupted { file, error, label } => write!(
                f,
                "{file}: {error}; {label} is marked as failed, since a part of it may be done: \
                 run `migrate repair`"
            ),
            Self::Unfinished(labels) => write!(
                f,
                "{} did not finish: run `migrate repair`, which looks at what is there \
                 (it drops an invalid index by DROP INDEX CONCURRENTLY), then `migrate apply`",
                labels.join(", ")
            ),
            Self::Changed(differences) => {
                write!(f, "applied migrations are not what they were:")?;
                for Difference {
                    label,
                    applied,
                    file,
                } in differences
                {
                    let file = file.as_deref().unwrap_or("missing");
                    write!(f, "\n  {label}: applied {applied}, the file is {file}")?;
                }
                write!(
                    f,
                    "\nrestore the files; where a change is meant, `migrate repair N --as applied` takes it over"
                )
            }
            Self::OutOfOrder { pending, newest } => write!(
                f,
                "{} would be applied behind {newest}: give a higher number, or use --out-of-order",
                pending.join(", ")
            ),
            Self::Unsafe(unsafe_ones) => {
                write!(f, "downtime is needed:")?;
                for (label, reason) in unsafe_ones {
                    write!(f, "\n  {label}: {reason}")?;
                }
                write!(f, "\nstop the service, and use --allow-downtime")
            }
            Self::OlderInstances {
                label,
                after,
                alive,
            } => {
                let alive: Vec<_> = alive
                    .iter()
                    .map(|(version, count)| format!("{count} of version {version}"))
                    .collect();
                write!(
                    f,
                    "{label} is for version {after} and later, but there run {}: \
                     deploy {after} everywhere first, or use --expand-only",
                    alive.join(", ")
                )
            }
            Self::Locked { waited, holder } => {
                write!(f, "another process migrates; waited {waited:?}. ")?;
                match holder {
                    Some(Holder { pid, application }) => write!(
                        f,
                        "The lock is held by pid {pid}, application_name {application:?}"
                    ),
                    None => write!(f, "The database does not say which"),
                }
            }
            Self::Pooler => write!(
                f,
                "a pooler (PgBouncer?) in transaction mode is in between: \
                 a lock cannot be held through it; connect to PostgreSQL itself"
            ),
            Self::NoSchema => write!(f, "the search_path names no schema that exists"),
            Self::Older { newest, missing } => write!(
                f,
                "the schema is at {newest:04} and lacks {}: run `migrate apply` first",
                missing.join(", ")
            ),
            Self::Newer { known, newer } => write!(
                f,
                "the schema is too new: this program knows {known:04}, \
                 and cannot run behind {}",
                newer.join(", ")
            ),
            Self::NoDown(labels) => write!(f, "there is no way down past {}", labels.join(", ")),
            Self::NeedsTransaction(file) => write!(
                f,
                "{file}: SQLite has no statement here that needs `transaction: no`"
            ),
            Self::ForeignKeys { file, broken } => {
                write!(f, "{file} breaks foreign keys, and is rolled back:")?;
                broken
                    .iter()
                    .try_for_each(|(table, parent)| write!(f, " {table} -> {parent}"))
            }
            Self::Unknown(version) => write!(f, "there is no migration {version:04}"),
            Self::Undecided(label) => write!(
                f,
                "{label}: the schema does not show whether it was done; look, then run \
                 `migrate repair N --as applied` or `migrate repair N --as pending`"
            ),
        }
    }
}
