//! The sign of life of this process, for migrations that wait until the older ones are gone; and beside it the count of
//! jobs and the sweep of old rows.

use std::time::Duration;

use lameduck::shutdown::ShutdownHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::JobMetrics;
use crate::store::{Instance, SWEPT, Store};

/// The time between two signs of life. One that has given none for three of them is taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The counts between two sweeps.
const SWEEP_EVERY: u64 = 6;

/// What an instance does in the database besides its work.
pub(super) struct Signs {
    pub store: Store,
    pub instance: Instance,
    pub metrics: JobMetrics,
    /// The time between two signs of life, and between two counts.
    pub every: Duration,
}

/// Starts the signs of life. They end with the workers; the closer of the pool says [goodbye](Store::gone) for good.
pub fn start(handle: &ShutdownHandle, store: &Store, instance: Instance, metrics: JobMetrics) {
    let signs = Signs {
        store: store.clone(),
        instance,
        metrics,
        every: HEARTBEAT,
    };
    handle.spawn_worker("instance", |stop| signs.run(stop));
}

impl Signs {
    /// Gives signs of life until the stop. A count or a sweep that takes long delays none of them.
    pub async fn run(self, stop: CancellationToken) {
        let housekeeping = stop.run_until_cancelled(self.keep_house(&stop));
        tokio::join!(self.live(&stop), housekeeping);
    }

    async fn live(&self, stop: &CancellationToken) {
        let mut beat = self.interval();
        let mut away = false;
        while stop.run_until_cancelled(beat.tick()).await.is_some() {
            // Not cut by the stop: one that comes after the goodbye would undo it.
            match self.store.seen(&self.instance).await {
                Ok(()) => away = false,
                // Once for each time that it is away.
                Err(error) if !std::mem::replace(&mut away, true) => {
                    warn!(%error, "the sign of life could not be written");
                }
                Err(_) => {}
            }
        }
    }

    async fn keep_house(&self, stop: &CancellationToken) {
        let mut beat = self.interval();
        let mut away = false;
        for count in 1_u64.. {
            beat.tick().await;
            match self.metrics.refresh(&self.store).await {
                Ok(()) => away = false,
                Err(error) if !std::mem::replace(&mut away, true) => {
                    warn!(%error, "the jobs could not be counted");
                }
                Err(_) => {}
            }
            if count % SWEEP_EVERY == 0 {
                sweep(&self.store, stop).await;
            }
        }
    }

    fn interval(&self) -> Interval {
        let mut interval = interval(self.every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    }
}

/// Removes old rows until few are left, ten seconds have passed, or the stop: rows that come faster than one batch a
/// sweep would fill the database.
pub(super) async fn sweep(store: &Store, stop: &CancellationToken) {
    let until = Instant::now() + HEARTBEAT;
    let mut removed = 0;
    loop {
        match store.sweep().await {
            Ok(rows) => {
                removed += rows;
                if rows < u64::from(SWEPT) || stop.is_cancelled() || Instant::now() >= until {
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
