//! Migrations of a schema that a service uses meanwhile. A folder to copy: it needs nothing else of this crate.
//!
//! Files `NNNN_name.up.sql` (and `.down.sql`, if there is a way back) begin with their directives:
//!
//! ```sql
//! -- safe: yes                   or: no <reason>; then it needs --allow-downtime
//! -- phase: expand               or: contract, behind which older code breaks
//! -- after: 1.4.0                of a contract: the version of the service that must run everywhere first
//! -- transaction: no             for CREATE INDEX CONCURRENTLY; one statement only
//! ```
//!
//! Each is applied in a transaction together with its row in `schema_migrations`, by one process at a time. What is
//! pending is what has no row, not what is above the highest one.

pub mod cli;
mod directives;
mod error;
mod file;
mod lock;
mod new;
mod plan;
mod repair;
mod report;
mod run;
mod session;
mod sql;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::{
    error::MigrateError,
    file::{Migration, Migrations},
    plan::Entry,
    repair::{Mended, Repair},
    run::{apply, down, try_out},
    session::Database,
};

use self::session::Session;

/// The limits of a run, and what it may do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Applies what needs downtime. Off by default.
    pub allow_downtime: bool,
    /// Applies what lies below the newest one that is applied. Off by default.
    pub out_of_order: bool,
    /// Stops before the first contract: for the step before a new version is rolled out. Off by default.
    pub expand_only: bool,
    /// The wait for another process that migrates; 5 minutes by default.
    pub lock_wait: Duration,
    /// The wait of a statement for a lock in PostgreSQL, since all later statements queue behind it; 2 s by default.
    pub lock_timeout: Duration,
    /// The times that a migration is tried whose locks are not had; 5 by default.
    pub tries: u32,
    /// The pause after the first try; it doubles with each. 1 s by default.
    pub backoff: Duration,
    /// The name in the table and in `pg_stat_activity`: `host:pid` by default.
    pub applied_by: String,
}

/// The state of a schema that a program can work with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The highest number that is applied; 0 without any.
    pub newest: i64,
    /// Migrations that this program does not know: all are expands.
    pub newer: Vec<String>,
    /// Contracts that are still to be applied: this program works without them.
    pub contracts: Vec<String>,
}

/// Compares the schema with what this program needs. It reads, and waits for no lock.
///
/// # Errors
///
/// Returns [`MigrateError::Older`] if an expand is missing, [`MigrateError::Newer`] if a contract was applied that this
/// program does not know, and an error if the database cannot be read.
pub async fn check(database: &Database, migrations: &Migrations) -> Result<Schema, MigrateError> {
    let mut session = Session::open(database, &Options::default().application_name()).await?;
    let rows = session.rows().await;
    session.close().await;
    plan::check(migrations, &rows?)
}

/// Returns every migration of the files and of the table, in the order of their numbers.
///
/// # Errors
///
/// Returns an error if the database cannot be read.
pub async fn status(
    database: &Database,
    migrations: &Migrations,
) -> Result<Vec<Entry>, MigrateError> {
    let mut session = Session::open(database, &Options::default().application_name()).await?;
    let rows = session.rows().await;
    session.close().await;
    Ok(plan::compare(migrations, &rows?))
}

/// Returns what `apply` would do now.
///
/// # Errors
///
/// Returns the error with which `apply` would refuse to begin.
pub async fn pending(
    database: &Database,
    migrations: &Migrations,
    options: &Options,
) -> Result<Vec<Migration>, MigrateError> {
    let mut session = Session::open(database, &options.application_name()).await?;
    let pending = run::pending(&mut session, migrations, options).await;
    session.close().await;
    Ok(pending?.into_iter().cloned().collect())
}

/// Decides what became of the migrations that did not finish: see [`Repair`].
///
/// # Errors
///
/// Returns an error if the schema does not show it, or the database does not answer.
pub async fn repair(
    database: &Database,
    migrations: &Migrations,
    options: &Options,
    repair: Repair,
) -> Result<Vec<Mended>, MigrateError> {
    let mut session = Session::locked(database, options).await?;
    let mended = repair::repair(&mut session, migrations, options, repair).await;
    session.close().await;
    mended
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = match host.trim() {
            "" => "unknown",
            host => host,
        };
        Self {
            allow_downtime: false,
            out_of_order: false,
            expand_only: false,
            lock_wait: Duration::from_secs(300),
            lock_timeout: Duration::from_secs(2),
            tries: 5,
            backoff: Duration::from_secs(1),
            applied_by: format!("{host}:{}", std::process::id()),
        }
    }
}

impl Options {
    fn application_name(&self) -> String {
        format!("migrate {}", self.applied_by)
    }
}
