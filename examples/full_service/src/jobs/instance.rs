//! The sign of life of this process, for migrations that wait until the older ones are gone; the count of jobs; and the
//! sweep of old rows.

use std::time::Duration;

use lameduck::shutdown::ShutdownHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::JobMetrics;
use crate::store::{Instance, SWEPT, Store};

/// The time between two signs of life. One that has given none for three of them is taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The heartbeats between two sweeps.
const SWEEP_EVERY: u64 = 6;

/// Starts the signs of life. They end with the workers; the closer of the pool says [goodbye](Store::gone) for good.
pub fn start(handle: &ShutdownHandle, store: &Store, instance: Instance, metrics: JobMetrics) {
    let store = store.clone();
    handle.spawn_worker("instance", async move |stop| {
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut away = false;
        for count in 1_u64.. {
            if stop.run_until_cancelled(beat.tick()).await.is_none() {
                return;
            }
            match store.seen(&instance).await {
                Ok(()) => away = false,
                // Once for each time that it is away.
                Err(error) if !std::mem::replace(&mut away, true) => {
                    warn!(%error, "the sign of life could not be written");
                }
                Err(_) => {}
            }
            metrics.refresh(&store).await;
            if count % SWEEP_EVERY == 0 {
                sweep(&store, &stop).await;
            }
        }
    });
}

/// Removes old rows until few are left, the next sign of life is due, or the stop: rows that come faster than one batch
/// a sweep would fill the database.
pub(super) async fn sweep(store: &Store, stop: &CancellationToken) {
    let due = Instant::now() + HEARTBEAT;
    let mut removed = 0;
    loop {
        match store.sweep().await {
            Ok(rows) => {
                removed += rows;
                if rows < u64::from(SWEPT) || stop.is_cancelled() || Instant::now() >= due {
                    break;
                }
            }
            Err(error) => {
                warn!(%error, "old rows could not be removed");
                break;
            }
        }
    }
    if removed > 0 {
        info!(rows = removed, "old rows are removed");
    }
}
