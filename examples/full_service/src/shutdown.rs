//! The start-up and the end of the process: the work before the first request, the workers beside the requests, and the
//! closers after the last one.

use std::time::Duration;

use lameduck::{
    Shutdown,
    shutdown::{InvalidShutdown, ShutdownHandle},
};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info};

use crate::{config::Config, log_writer::LogWriter, state::AppState, telemetry};

/// Plans the shutdown. Each part has its budget, and the sum must fit in the orchestrator's grace: the start checks it,
/// so that an operator sees the error.
pub fn plan<F>(config: &Config, writer: LogWriter, scraped: F) -> Shutdown
where
    F: Future<Output = ()> + Send + 'static,
{
    let flush = move || telemetry::flush(writer);
    budgets(config, Shutdown::new(), flush, scraped)
}

/// Checks that the budgets fit, before anything is started and without handling signals.
pub fn check(config: &Config) -> Result<(), InvalidShutdown> {
    let deaf = Shutdown::with_signals(false);
    budgets(config, deaf, || async {}, async {}).check()
}

fn budgets<R, F>(
    config: &Config,
    shutdown: Shutdown,
    flush: impl FnOnce() -> R + Send + 'static,
    scraped: F,
) -> Shutdown
where
    R: Future<Output = ()> + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut shutdown = shutdown
        .lame_duck(config.lame_duck)
        .drain(config.drain_timeout)
        .termination_grace(config.termination_grace)
        .starting()
        // Closers run one after another, so that nothing is closed before its users. A real service closes its database
        // pool here, then its cache, then its message broker.
        .closer("pool", Duration::from_secs(2), || async {
            info!("the pool is closed");
        })
        .flush("logs", Duration::from_secs(1), flush);
    if let Some(budget) = config.last_scrape {
        // Prometheus otherwise never sees the values since its last scrape: the drain, and the cut requests.
        shutdown = shutdown.flush("metrics", budget, || scraped);
    }
    shutdown
}

/// Does the work before the first request: migrations, warm caches, a first connection to the database. Here it waits,
/// to give you time to look at `/readyz`.
pub async fn start_up(delay: Option<Duration>, handle: ShutdownHandle) {
    if let Some(delay) = delay {
        sleep(delay).await;
    }
    // This logs a change of phase; none, if a signal has come before.
    handle.ready();
}

/// Starts the workers, which run beside the requests and stop after the last of them, because a request may still need
/// them.
pub fn start_workers(handle: &ShutdownHandle, state: &AppState) {
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
