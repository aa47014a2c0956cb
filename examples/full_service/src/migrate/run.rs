//! Up, down, and the trial of both.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    Options,
    error::{self, MigrateError},
    file::{Migration, Migrations, Phase, Release, Script},
    plan,
    session::{Database, Session},
};

/// The pauses between tries do not double beyond it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A migration that was applied, or undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub version: i64,
    pub name: String,
    pub took: Duration,
}

/// A migration that was tried out, and rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub version: i64,
    pub name: String,
    /// `None` for one without a transaction, which cannot be rolled back and so was left out.
    pub took: Option<Duration>,
}

/// The way that a run takes.
#[derive(Clone, Copy)]
enum Way {
    Up,
    /// Down to this version, which stays.
    Down(i64),
}

/// Applies what is pending, one after the other, each in a transaction with its row.
///
/// What was applied before an error stays so. The future may be dropped at any time: what is under way rolls back,
/// or is `failed` if it has no transaction.
///
/// # Errors
///
/// Returns an error before anything is applied if something of it is refused, and when a statement fails.
pub async fn apply(
    database: &Database,
    migrations: &Migrations,
    options: &Options,
) -> Result<Vec<Done>, MigrateError> {
    run(database, migrations, options, Way::Up).await
}

/// Undoes what is applied above a version, the newest first.
///
/// # Errors
///
/// Returns an error before anything is undone if one of them has no way down, and when a statement fails.
pub async fn down(
    database: &Database,
    migrations: &Migrations,
    options: &Options,
    to: i64,
) -> Result<Vec<Done>, MigrateError> {
    run(database, migrations, options, Way::Down(to)).await
}

/// Runs everything that is pending in one transaction, and rolls it back.
///
/// It holds its locks to the end, so try out on a copy what takes long.
///
/// # Errors
///
/// Returns an error if files have changed, or a statement fails.
pub async fn try_out(
    database: &Database,
    migrations: &Migrations,
    options: &Options,
) -> Result<Vec<Tried>, MigrateError> {
    let options = Options {
        allow_downtime: true,
        ..options.clone()
    };
    let mut session = Session::locked(database, &options).await?;
    let tried = session.try_out(migrations, &options).await;
    session.close().await;
    tried
}

async fn run(
    database: &Database,
    migrations: &Migrations,
    options: &Options,
    way: Way,
) -> Result<Vec<Done>, MigrateError> {
    let mut session = Session::locked(database, options).await?;
    let done = session.run(migrations, options, way).await;
    session.close().await;
    done
}

/// Returns what is to be applied.
///
/// # Errors
///
/// Returns an error if it is refused, by the files or by the instances that are alive.
pub async fn pending<'a>(
    session: &mut Session,
    migrations: &'a Migrations,
    options: &Options,
) -> Result<Vec<&'a Migration>, MigrateError> {
    let rows = session.rows().await?;
    let pending = plan::pending(migrations, &rows, options)?;
    if session.is_sqlite() {
        let alone = pending.iter().find(|migration| !migration.up.transaction);
        if let Some(migration) = alone {
            return Err(MigrateError::NeedsTransaction(migration.up.file.clone()));
        }
    }
    let contracts = pending
        .iter()
        .filter(|migration| migration.phase == Phase::Contract);
    for (migration, after) in contracts.filter_map(|one| Some((one, one.after.as_ref()?))) {
        let mut alive = session.instances().await?;
        // A version that is not a number is not known to be new enough.
        alive.retain(|(version, _)| Release::parse(version).is_none_or(|other| other < *after));
        if !alive.is_empty() {
            return Err(MigrateError::OlderInstances {
                label: migration.label(),
                after: after.clone(),
                alive,
            });
        }
    }
    Ok(pending)
}

// === impl Session ===

impl Session {
    async fn run(
        &mut self,
        migrations: &Migrations,
        options: &Options,
        way: Way,
    ) -> Result<Vec<Done>, MigrateError> {
        self.begin(options).await?;
        self.create_table().await?;
        self.execute("COMMIT").await?;

        let mut done = Vec::new();
        let mut tries = 1;
        loop {
            match self.step(migrations, options, way).await {
                Ok(Some(one)) => {
                    let (version, name) = (one.version, &one.name);
                    let took_ms = u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX);
                    match way {
                        Way::Up => info!(version, name, took_ms, "migration applied"),
                        Way::Down(_) => info!(version, name, took_ms, "migration undone"),
                    }
                    done.push(one);
                    tries = 1;
                }
                Ok(None) => return Ok(done),
                Err(error) if error.is_passing() && tries < options.tries => {
                    self.execute("ROLLBACK").await?;
                    let pause = options
                        .backoff
                        .saturating_mul(2_u32.saturating_pow(tries - 1));
                    let pause = pause.min(LONGEST_PAUSE);
                    warn!(%error, tries, ?pause, "a lock was not had: trying again");
                    sleep(pause).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Applies or undoes the next one. The table is read each time, under the lock: SQLite's ends with each transaction.
    async fn step(
        &mut self,
        migrations: &Migrations,
        options: &Options,
        way: Way,
    ) -> Result<Option<Done>, MigrateError> {
        self.begin(options).await?;
        let next = match way {
            Way::Up => pending(self, migrations, options).await?.into_iter().next(),
            Way::Down(to) => {
                let rows = self.rows().await?;
                let undone = plan::undone(migrations, &rows, to)?;
                undone.into_iter().next()
            }
        };
        let script = match way {
            Way::Up => next.map(|next| &next.up),
            Way::Down(_) => next.and_then(|next| next.down.as_ref()),
        };
        let (Some(migration), Some(script)) = (next, script) else {
            self.execute("ROLLBACK").await?;
            return Ok(None);
        };
        let begun = Instant::now();
        if script.transaction {
            self.statements(script).await?;
            self.keep(migration, options, way, begun.elapsed()).await?;
            self.execute("COMMIT").await?;
        } else {
            self.execute("ROLLBACK").await?;
            self.alone(migration, script, options, way).await?;
            self.keep(migration, options, way, begun.elapsed()).await?;
        }
        Ok(Some(Done {
            version: migration.version,
            name: migration.name.clone(),
            took: begun.elapsed(),
        }))
    }

    async fn statements(&mut self, script: &Script) -> Result<(), MigrateError> {
        for statement in &script.statements {
            self.execute(&statement.text)
                .await
                .map_err(|error| MigrateError::Statement {
                    file: script.file.clone(),
                    line: statement.line,
                    error,
                })?;
        }
        let broken = self.broken_foreign_keys().await?;
        if !broken.is_empty() {
            return Err(MigrateError::ForeignKeys {
                file: script.file.clone(),
                broken,
            });
        }
        if !self.is_sqlite() {
            // The row is written by the role that has connected, not by one that the migration has taken.
            self.execute("RESET ROLE").await?;
        }
        Ok(())
    }

    /// Records that a migration is applied, or is no longer.
    async fn keep(
        &mut self,
        migration: &Migration,
        options: &Options,
        way: Way,
        took: Duration,
    ) -> Result<(), MigrateError> {
        match way {
            Way::Up => {
                self.record(migration, true, took, &options.applied_by)
                    .await
            }
            Way::Down(_) => self.forget(migration.version).await,
        }
    }

    /// Runs the one statement of a script without a transaction. The migration counts as failed until it is over.
    async fn alone(
        &mut self,
        migration: &Migration,
        script: &Script,
        options: &Options,
        way: Way,
    ) -> Result<(), MigrateError> {
        let Some(statement) = script.statements.first() else {
            return Ok(());
        };
        let by = &options.applied_by;
        self.record(migration, false, Duration::ZERO, by).await?;
        let concurrent = statement.concurrent().is_some();
        if concurrent {
            // It waits for old transactions, and while it waits nothing queues behind it; a timeout would leave
            // an invalid index.
            self.execute("SET lock_timeout = 0").await?;
        }
        let Err(error) = self.execute(&statement.text).await else {
            return Ok(());
        };
        // A statement that did not get its lock has done nothing.
        if error::is_passing(&error) && !concurrent {
            match way {
                Way::Up => self.forget(migration.version).await?,
                Way::Down(_) => self.record(migration, true, Duration::ZERO, by).await?,
            }
            return Err(MigrateError::Statement {
                file: script.file.clone(),
                line: statement.line,
                error,
            });
        }
        Err(MigrateError::Interrupted {
            file: script.file.clone(),
            error,
            label: migration.label(),
        })
    }

    async fn try_out(
        &mut self,
        migrations: &Migrations,
        options: &Options,
    ) -> Result<Vec<Tried>, MigrateError> {
        self.begin(options).await?;
        let mut tried = Vec::new();
        for migration in pending(self, migrations, options).await? {
            let begun = Instant::now();
            if migration.up.transaction {
                self.statements(&migration.up).await?;
            }
            tried.push(Tried {
                version: migration.version,
                name: migration.name.clone(),
                took: migration.up.transaction.then(|| begun.elapsed()),
            });
        }
        self.execute("ROLLBACK").await?;
        Ok(tried)
    }
}
