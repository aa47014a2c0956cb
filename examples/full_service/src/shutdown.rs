//! The start-up and the end of the process: the work before the first request, and the budgets after the last one.

use std::{process::ExitCode, time::Duration};

use lameduck::{
    Phase, Shutdown,
    shutdown::{InvalidShutdown, ShutdownHandle},
};
use tokio::time::sleep;
use tracing::{error, warn};

use crate::{
    cli::EXIT_CONFIG, config::Config, database::Database, flags::Flags, migrate::MigrateError,
    secret::redact, store::StoreError,
};

/// The parts of the shutdown that are set.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    pub lame_duck: Duration,
    pub drain: Duration,
    /// The wait for Prometheus to read the final values.
    pub last_scrape: Option<Duration>,
    /// Whether there are traces to flush.
    pub traces: bool,
    pub grace: Duration,
}

/// The time for the database to close: a connection that is lent does not come back sooner.
pub const DATABASE: Duration = Duration::from_secs(2);
/// The time for the last spans.
pub const TRACES: Duration = Duration::from_secs(1);
/// The time for the last lines of the log.
pub const LOGS: Duration = Duration::from_secs(1);

impl Budgets {
    /// Sets them. The sum must fit in the orchestrator's grace: the start checks it, so that an operator sees the error.
    pub fn set(&self, shutdown: Shutdown) -> Shutdown {
        shutdown
            .lame_duck(self.lame_duck)
            .drain(self.drain)
            .termination_grace(self.grace)
    }

    /// Checks that they fit, before anything is started and without handling signals.
    pub fn check(&self) -> Result<(), InvalidShutdown> {
        let deaf = self.set(Shutdown::with_signals(false));
        let mut shutdown =
            deaf.closer("database", DATABASE, async || {})
                .flush("logs", LOGS, async || {});
        if self.traces {
            shutdown = shutdown.flush("traces", TRACES, async || {});
        }
        if let Some(last_scrape) = self.last_scrape {
            shutdown = shutdown.flush("metrics", last_scrape, async || {});
        }
        shutdown.check()
    }
}

/// Does the work before the first request: the schema, the flags, and what a `STARTUP_DELAY` stands for. Then it starts
/// the workers, and the service is ready.
///
/// # Errors
///
/// Returns the exit code if the schema does not fit; the shutdown has begun.
pub async fn start_up(
    config: &Config,
    database: &Database,
    flags: &Flags,
    handle: &ShutdownHandle,
) -> Result<(), ExitCode> {
    let mut refresher = flags.refresher();
    let work = async {
        if let Some(delay) = config.startup_delay {
            sleep(delay).await;
        }
        tokio::join!(prepare(database), refresher.load()).0
    };
    let prepared = tokio::select! {
        prepared = work => prepared,
        // A signal has come before: there is nothing to prepare any more.
        _ = handle.lifecycle().reached(Phase::LameDuck) => return Ok(()),
    };
    if let Err(error) = prepared {
        let error = redact(&error.to_string());
        error!(error, "the schema of the database does not fit");
        handle.drain_now();
        return Err(ExitCode::from(EXIT_CONFIG));
    }
    database.start_workers(handle, config);
    handle.spawn_worker("flags", |stop| refresher.run(stop));
    // This logs a change of phase; none, if a signal has come before.
    handle.ready();
    Ok(())
}

/// Prepares the schema. While the database is away it waits: the service is not ready, and a restart would not help.
async fn prepare(database: &Database) -> Result<(), MigrateError> {
    let mut pause = Duration::from_millis(250);
    loop {
        match database.prepare().await {
            Err(MigrateError::Database(error)) if StoreError::is_away(&error) => {
                let error = redact(&error.to_string());
                warn!(error, retry_in = ?pause, "the database is away; the start waits for it");
                sleep(pause).await;
                pause = Duration::from_secs(5).min(pause * 2);
            }
            prepared => return prepared,
        }
    }
}
