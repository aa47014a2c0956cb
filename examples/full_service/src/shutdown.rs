//! The start-up and the end of the process: the work before the first request, the workers beside the requests, and the
//! closers after the last one.

use std::{process::ExitCode, time::Duration};

use lameduck::{
    Phase, Shutdown,
    shutdown::{InvalidShutdown, ShutdownHandle},
};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, error, info, warn};

use crate::{
    cli::EXIT_CONFIG,
    config::Config,
    database::{Database, StillLent},
    log_writer::LogWriter,
    migrate::MigrateError,
    state::AppState,
    store::StoreError,
    telemetry,
};

/// The parts of the shutdown that are set.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    pub lame_duck: Duration,
    pub drain: Duration,
    /// The wait for Prometheus to read the final values.
    pub last_scrape: Option<Duration>,
    pub grace: Duration,
}

/// The time for the database to close: a connection that is lent does not come back sooner.
const DATABASE: Duration = Duration::from_secs(2);

/// Plans the shutdown. Each part has its budget, and the sum must fit in the orchestrator's grace: the start checks it,
/// so that an operator sees the error.
pub fn plan<F>(budgets: &Budgets, writer: LogWriter, database: Database, scraped: F) -> Shutdown
where
    F: Future<Output = ()> + Send + 'static,
{
    let flush = move || telemetry::flush(writer);
    with(
        budgets,
        Shutdown::new(),
        || database.close(),
        flush,
        scraped,
    )
}

/// Checks that the budgets fit, before anything is started and without handling signals.
pub fn check(budgets: &Budgets) -> Result<(), InvalidShutdown> {
    let deaf = Shutdown::with_signals(false);
    with(budgets, deaf, async || Ok(()), || async {}, async {}).check()
}

fn with<C, R, F>(
    budgets: &Budgets,
    shutdown: Shutdown,
    close: impl FnOnce() -> C + Send + 'static,
    flush: impl FnOnce() -> R + Send + 'static,
    scraped: F,
) -> Shutdown
where
    C: Future<Output = Result<(), StillLent>> + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut shutdown = shutdown
        .lame_duck(budgets.lame_duck)
        .drain(budgets.drain)
        .termination_grace(budgets.grace)
        .starting()
        // Closers run one after another, after the requests and the workers: nothing is closed before its users.
        .closer("database", DATABASE, close)
        .flush("logs", Duration::from_secs(1), flush);
    if let Some(budget) = budgets.last_scrape {
        // Prometheus otherwise never sees the values since its last scrape: the drain, and the cut requests.
        shutdown = shutdown.flush("metrics", budget, || scraped);
    }
    shutdown
}

/// Does the work before the first request: the schema, and what a `STARTUP_DELAY` stands for. Then it starts the workers
/// of the database, and the service is ready.
///
/// # Errors
///
/// Returns the exit code if the schema does not fit; the shutdown has begun.
pub async fn start_up(
    config: Config,
    database: Database,
    handle: ShutdownHandle,
) -> Result<(), ExitCode> {
    let lifecycle = handle.lifecycle().clone();
    let work = async {
        if let Some(delay) = config.startup_delay {
            sleep(delay).await;
        }
        prepare(&database).await
    };
    let prepared = tokio::select! {
        prepared = work => prepared,
        // A signal has come before: there is nothing to prepare any more.
        _ = lifecycle.reached(Phase::LameDuck) => return Ok(()),
    };
    if let Err(error) = prepared {
        error!(%error, "the schema of the database does not fit");
        handle.drain_now();
        return Err(ExitCode::from(EXIT_CONFIG));
    }
    database.start_workers(&handle, &config);
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
                warn!(%error, retry_in = ?pause, "the database is away; the start waits for it");
                sleep(pause).await;
                pause = Duration::from_secs(5).min(pause * 2);
            }
            prepared => return prepared,
        }
    }
}

/// Starts a worker of an example. Workers run beside the requests and stop after the last of them, because a request may
/// still need them.
pub fn start_ticker(handle: &ShutdownHandle, state: &AppState) {
    let state = state.clone();
    handle.spawn_worker("ticker", async move |stop| {
        let mut tick = interval(Duration::from_secs(10));
        // After a pause of the machine one tick suffices.
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => debug!(
                    phase = %state.phase(),
                    in_flight = state.in_flight(),
                    uptime_s = state.uptime().as_secs(),
                    "tick"
                ),
            }
        }
        info!("the ticker has stopped");
    });
}
