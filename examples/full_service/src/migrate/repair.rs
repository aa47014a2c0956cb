//! Migrations that have no transaction, and did not finish: what became of them is looked up in the schema.

use std::time::Duration;

use tracing::info;

use super::{
    Options,
    error::MigrateError,
    file::{Migration, Migrations},
    session::{Connection, Session},
    sql::Concurrent,
};

/// The way to decide what became of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Looks at the index of every migration that did not finish: a valid one is recorded, an invalid one is dropped
    /// by `DROP INDEX CONCURRENTLY`, so that the migration is pending again.
    Look,
    /// Records a migration as applied, with the checksum of its file.
    Applied(i64),
    /// Removes the record of a migration that did not finish.
    Pending(i64),
}

/// A migration that was repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    pub version: i64,
    pub name: String,
    /// Whether it is applied now; else it is pending.
    pub applied: bool,
    /// The reason, and what was done for it.
    pub because: String,
}

/// An index as the schema has it.
enum Index {
    Missing,
    Valid,
    /// Its name, as a statement may use it.
    Invalid(String),
}

pub async fn repair(
    session: &mut Session,
    migrations: &Migrations,
    options: &Options,
    repair: Repair,
) -> Result<Vec<Mended>, MigrateError> {
    let rows = session.rows().await?;
    let mut mended = Vec::new();
    match repair {
        Repair::Look => {
            for row in rows.iter().filter(|row| !row.applied) {
                let migration = migrations
                    .get(row.version)
                    .ok_or(MigrateError::Unknown(row.version))?;
                let (applied, because) = look(session, migration, options).await?;
                let one = session.mend(migration, options, applied, because).await?;
                mended.push(one);
            }
        }
        Repair::Applied(version) | Repair::Pending(version) => {
            let row = rows.iter().find(|row| row.version == version);
            let migration = migrations.get(version);
            let applied = repair == Repair::Applied(version);
            // What is applied is not made pending by a word: that is what `down` is for.
            let fits = row.is_some_and(|row| applied || !row.applied);
            let migration = migration
                .filter(|_| fits)
                .ok_or(MigrateError::Unknown(version))?;
            let because = "you say so".to_owned();
            mended.push(session.mend(migration, options, applied, because).await?);
        }
    }
    Ok(mended)
}

/// Looks whether the statement of a migration has done its work, and clears away a half of it.
async fn look(
    session: &mut Session,
    migration: &Migration,
    options: &Options,
) -> Result<(bool, String), MigrateError> {
    let statement = migration.up.statements.first();
    let statement = statement.filter(|_| !migration.up.transaction);
    match statement.and_then(|statement| statement.concurrent()) {
        Some(Concurrent::Create {
            index: Some(name), ..
        }) => Ok(match session.index(&name).await? {
            Index::Valid => (true, format!("the index {name} is there and valid")),
            Index::Missing => (false, format!("the index {name} is not there")),
            Index::Invalid(name) => {
                let statement = session.drop_index(&name, options).await?;
                (false, format!("the index was invalid: {statement}"))
            }
        }),
        Some(Concurrent::Drop { index }) => Ok(match session.index(&index).await? {
            Index::Missing => (true, format!("the index {index} is gone")),
            Index::Valid => (false, format!("the index {index} is there")),
            Index::Invalid(name) => {
                let statement = session.drop_index(&name, options).await?;
                (true, format!("the index was half dropped: {statement}"))
            }
        }),
        _ => Err(MigrateError::Undecided(migration.label())),
    }
}

// === impl Session ===

impl Session {
    async fn mend(
        &mut self,
        migration: &Migration,
        options: &Options,
        applied: bool,
        because: String,
    ) -> Result<Mended, MigrateError> {
        match applied {
            true => {
                let by = &options.applied_by;
                self.record(migration, true, Duration::ZERO, by).await?;
            }
            false => self.forget(migration.version).await?,
        }
        let state = if applied { "applied" } else { "pending" };
        info!(
            migration.version,
            migration.name, state, because, "migration repaired"
        );
        Ok(Mended {
            version: migration.version,
            name: migration.name.clone(),
            applied,
            because,
        })
    }

    /// Drops an index that is not valid, and returns the statement.
    async fn drop_index(&mut self, name: &str, options: &Options) -> Result<String, MigrateError> {
        let statement = format!("DROP INDEX CONCURRENTLY {name}");
        self.settings(options).await?;
        // It waits for old transactions, and nothing queues behind it.
        self.execute("SET lock_timeout = 0").await?;
        self.execute(&statement).await?;
        Ok(statement)
    }

    async fn index(&mut self, name: &str) -> Result<Index, MigrateError> {
        let Connection::Postgres(connection) = &mut self.connection else {
            return Ok(Index::Missing);
        };
        let found: Option<(String, bool)> = sqlx::query_as(
            "SELECT indexrelid::regclass::text, indisvalid AND indisready FROM pg_index
             WHERE indexrelid = to_regclass($1)",
        )
        .bind(name.to_owned())
        .persistent(false)
        .fetch_optional(connection)
        .await?;
        Ok(match found {
            None => Index::Missing,
            Some((_, true)) => Index::Valid,
            Some((name, false)) => Index::Invalid(name),
        })
    }
}
