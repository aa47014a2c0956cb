//! The start-up and the end of the process: the work before the first request, and the budgets after the last one.

use std::{pin::Pin, process::ExitCode, time::Duration};

use lameduck::{
    Phase, Shutdown,
    shutdown::{InvalidShutdown, ShutdownHandle},
};
use tokio::time::sleep;
use tracing::{error, warn};

use crate::{
    cli::EXIT_CONFIG,
    config::Config,
    database::{Database, StillLent},
    flags::Flags,
    migrate::MigrateError,
    secret::redact,
    store::StoreError,
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

/// The work of the end: each step runs once, in this order.
pub struct Steps {
    pub database: Step<Result<(), StillLent>>,
    /// Before the logs, which then have a line about spans that were lost.
    pub traces: Option<Step<()>>,
    pub logs: Step<()>,
}

pub type Step<T> = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = T> + Send>> + Send>;

/// The time for the database to close: a connection that is lent does not come back sooner.
const DATABASE: Duration = Duration::from_secs(2);
/// The time for the last spans.
const TRACES: Duration = Duration::from_secs(1);
/// The time for the last lines of the log.
const LOGS: Duration = Duration::from_secs(1);

/// Returns the step of a closure.
pub fn step<T, R>(run: impl FnOnce() -> R + Send + 'static) -> Step<T>
where
    R: Future<Output = T> + Send + 'static,
{
    Box::new(|| Box::pin(run()))
}

impl Budgets {
    /// Sets them, and the steps. The sum must fit in the orchestrator's grace: the start checks it, so that an operator
    /// sees the error.
    pub fn set(&self, shutdown: Shutdown, steps: Steps) -> Shutdown {
        // Closers run one after another, after the requests and the workers: nothing is closed before its users.
        let mut shutdown = shutdown
            .lame_duck(self.lame_duck)
            .drain(self.drain)
            .termination_grace(self.grace)
            .closer("database", DATABASE, steps.database);
        if let Some(traces) = steps.traces {
            shutdown = shutdown.flush("traces", TRACES, traces);
        }
        shutdown.flush("logs", LOGS, steps.logs)
    }

    /// Checks that they fit, before anything is started and without handling signals.
    pub fn check(&self) -> Result<(), InvalidShutdown> {
        let steps = Steps {
            database: step(async || Ok(())),
            traces: self.traces.then(|| step(async || {})),
            logs: step(async || {}),
        };
        let mut shutdown = self.set(Shutdown::with_signals(false), steps);
        // The server adds it by itself.
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
