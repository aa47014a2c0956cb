//! The start-up and the end of the process: what is done before the first request is wanted, what
//! runs beside the requests, and what is closed after the last one.

use std::time::Duration;

use lameduck::{
    Shutdown,
    shutdown::{Handle, InvalidShutdown},
};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info};

use crate::{config::Config, log_writer::LogWriter, state::AppState, telemetry};

/// Each part has its budget, and all together must fit in the orchestrator's grace: that is checked
/// when the server starts, while somebody is looking.
pub fn plan<F>(config: &Config, writer: LogWriter, scraped: F) -> Shutdown
where
    F: Future<Output = ()> + Send + 'static,
{
    let flush = move || telemetry::flush(writer);
    budgets(config, Shutdown::new(), flush, scraped)
}

/// Whether the budgets fit: before anything is started, and without hearing signals.
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
        // Closers run one after another, so that nothing is closed before those who use it. A real
        // service closes here its database pool, then its cache, then its message broker.
        .closer("pool", Duration::from_secs(2), || async {
            info!("the pool is closed");
        })
        .flush("logs", Duration::from_secs(1), flush);
    if let Some(budget) = config.last_scrape {
        // What happened since the last scrape is otherwise never seen: the drain, and what was cut.
        shutdown = shutdown.flush("metrics", budget, || scraped);
    }
    shutdown
}

/// What must be true before the first request is wanted: migrations, warm caches, a first
/// connection to the database. Here it is a wait, to give you time to look at `/readyz`.
pub async fn start_up(delay: Option<Duration>, handle: Handle) {
    if let Some(delay) = delay {
        sleep(delay).await;
    }
    // Logged as the change of phase that it is; none, if a signal has come before.
    handle.ready();
}

/// Workers run beside the requests, and are told to stop after the last of them, because a request
/// may still need what they do.
pub fn start_workers(handle: &Handle, state: &AppState) {
    let state = state.clone();
    handle.spawn_worker("ticker", async move |stop| {
        let mut tick = interval(Duration::from_secs(10));
        // After a pause of the machine one tick is enough.
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
