//! The outbox: jobs that are written in the transaction of an order, and done after it, at least once.
//!
//! A worker claims a job for the time of a lease, which it prolongs while it works. The job of a process that was killed
//! is taken over when its lease ends. Workers go on while requests drain, and are stopped after the last request.

pub mod admin;
mod handlers;
pub mod instance;
mod metrics;
#[cfg(test)]
mod tests;
mod worker;

use std::time::Duration;

use lameduck::shutdown::ShutdownHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::worker::Worker;
pub use self::{handlers::Handlers, metrics::JobMetrics};
use crate::store::{Job, Store};

/// The pause between two looks at an empty queue. Hints come between them.
const POLL: Duration = Duration::from_secs(1);
/// The number of attempts after which a job is dead.
const MOST_ATTEMPTS: i32 = 20;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// The settings of the workers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The number of workers; none: this instance only answers requests.
    pub workers: usize,
    /// The time after which the job of a killed process is taken over.
    pub lease: Duration,
    /// The name of this instance.
    pub instance: String,
}

/// The end of an attempt that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The job has seen the stop, and is for another worker: this attempt does not count.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the jobs of this service are short")
    )]
    GiveBack,
}

/// The error of an attempt.
pub type JobError = Box<dyn std::error::Error + Send + Sync>;

/// The work of the jobs.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Does a job. It may be done again: after a kill, or when its end could not be written. The id of the job is the
    /// key by which to make it idempotent elsewhere.
    ///
    /// A job that takes longer than the workers' budget watches `stop`, and returns [`Outcome::GiveBack`].
    fn run(
        &self,
        job: &Job,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<Outcome, JobError>> + Send;
}

/// Starts the workers, and on PostgreSQL the listener that wakes them. They stop after the drain, because a request may
/// still write a job: then each finishes its job, within the workers' budget.
pub fn start<H: Handler>(handle: &ShutdownHandle, store: &Store, handler: &H, settings: &Settings) {
    for number in 1..=settings.workers {
        let worker = Worker {
            store: store.clone(),
            handler: handler.clone(),
            // A process that has the name of an earlier one is not the owner of its jobs.
            owner: format!("{}/{number}/{}", settings.instance, Uuid::now_v7().simple()),
            lease: settings.lease,
            poll: POLL,
        };
        handle.spawn_worker(&format!("jobs-{number}"), |stop| worker.run(stop));
    }
    if let (Store::Postgres(store), 1..) = (store, settings.workers) {
        let listener = store.listener();
        handle.spawn_worker("jobs-listener", |stop| listener.run(stop));
    }
}

/// Returns the pause before the next attempt: 1 s, then twice the last one, at most 5 min, less up to half by chance so
/// that jobs which failed together do not return together. `None` after the last attempt.
fn delay(attempts: i32, chance: f64) -> Option<Duration> {
    if attempts >= MOST_ATTEMPTS {
        return None;
    }
    let doubled = u32::try_from(attempts - 1).unwrap_or_default();
    let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doubled));
    Some(delay.min(LONGEST_DELAY).mul_f64(1.0 - chance / 2.0))
}
