//! The handle's part that runs workers.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use super::order::Order;
use super::{Cause, ShutdownHandle, StepEnd, StepOutput};
use crate::events::{Event, WorkerEnd};

impl ShutdownHandle {
    /// Returns the token that is cancelled when the workers are to stop: after the drain, because requests in flight
    /// may need them.
    pub fn stop_token(&self) -> CancellationToken {
        self.workers_of().stop_token()
    }

    /// Runs a worker that is asked to stop after the drain and has the workers' budget to do so. One that does not stop
    /// in time is aborted, and named in the report; a panic is reported and stops no other worker.
    ///
    /// ```
    /// # use lameduck::Shutdown;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let shutdown = Shutdown::new();
    /// shutdown.handle().spawn_worker("mailer", |stop| async move {
    ///     while !stop.is_cancelled() {
    ///         tokio::select! {
    ///             () = stop.cancelled() => {}
    ///             () = tokio::time::sleep(std::time::Duration::from_secs(60)) => { /* send */ }
    ///         }
    ///     }
    /// });
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn spawn_worker<F, R>(&self, name: &str, work: F)
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        self.spawn(name, false, work);
    }

    /// Runs a worker without which the process is of no use: when it ends before it is to stop, however it ends, the
    /// shutdown begins.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn spawn_essential_worker<F, R>(&self, name: &str, work: F)
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        self.spawn(name, true, work);
    }

    fn spawn<F, R>(&self, name: &str, essential: bool, work: F)
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        self.note_use();
        let handle = self.clone();
        let on_end = Box::new(move |name: &str, end: &StepEnd| {
            let end = match end {
                StepEnd::Done => WorkerEnd::Done,
                StepEnd::Failed(error) => WorkerEnd::Failed(error),
                _ => WorkerEnd::Panicked,
            };
            let event = || Event::WorkerEnded {
                name,
                end,
                essential,
            };
            handle.event_sink().emit(event);
            if essential {
                handle.orders().give(Order::Leave, Cause::Worker);
            }
        });
        self.workers_of().spawn(name, work, on_end);
    }

    /// Returns the names of the workers that failed or panicked before they were to stop.
    pub fn failed_workers(&self) -> Vec<String> {
        let failed = self.workers_of().failed().into_iter();
        failed.map(|(name, _)| name).collect()
    }

    /// Returns the workers that failed or panicked before they were to stop, and why: `mailer: connection refused`.
    pub(crate) fn worker_failures(&self) -> Vec<String> {
        let failed = self.workers_of().failed().into_iter();
        let named = failed.map(|(name, end)| match end {
            StepEnd::Failed(error) => format!("{name}: {error}"),
            _ => format!("{name}: panicked"),
        });
        named.collect()
    }
}
