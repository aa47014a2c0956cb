//! Runs of the checks, shared by the probes that wait for them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::check::Check;
use super::report::Component;
use crate::sync::Lock;

/// The checks' last results, and their single current run.
#[derive(Debug)]
pub(super) struct Runner {
    checks: Box<[Check]>,
    deadline: Duration,
    cache: Duration,
    state: Lock<State>,
    /// Notified when a run ends.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    last: Results,
    running: bool,
}

/// The results of the checks, and their time.
#[derive(Clone, Debug)]
pub(super) struct Results {
    pub components: Arc<[Component]>,
    /// `None` if the checks have never run.
    pub at: Option<Instant>,
}

/// The right to run the checks. Its drop notifies the waiters in any case.
struct Run {
    runner: Arc<Runner>,
    ended: bool,
}

impl Runner {
    pub(super) fn new(checks: Box<[Check]>, deadline: Duration, cache: Duration) -> Runner {
        let last = Results {
            components: checks.iter().map(Check::unknown).collect(),
            at: None,
        };
        Runner {
            checks,
            deadline,
            cache,
            state: Lock::new(State {
                last,
                running: false,
            }),
            ended: Notify::new(),
        }
    }

    pub(super) fn has_checks(&self) -> bool {
        !self.checks.is_empty()
    }

    /// Returns the results of the last run, however old.
    pub(super) fn last(&self) -> Results {
        self.state().last.clone()
    }

    /// Returns the results of the last run if they are fresh.
    pub(super) fn fresh(&self) -> Option<Results> {
        let last = self.last();
        self.is_fresh(&last).then_some(last)
    }

    fn is_fresh(&self, results: &Results) -> bool {
        !self.has_checks() || results.at.is_some_and(|at| at.elapsed() < self.cache)
    }

    /// Returns the results of the last run if they are fresh, else those of the current run, else those of a new one.
    /// The run is a task of its own: it continues if this future is dropped.
    pub(super) async fn results(self: &Arc<Self>) -> Results {
        let mut ended = pin!(self.ended.notified());
        // Enable the waiter first, then read: a run that ends between a read and a later registration would be missed.
        ended.as_mut().enable();
        {
            let mut state = self.state();
            // Checked again under the lock, or two callers that found the results stale would start two runs.
            if self.is_fresh(&state.last) {
                return state.last.clone();
            }
            if !std::mem::replace(&mut state.running, true) {
                drop(state);
                Run::start(self.clone());
            }
        }
        ended.await;
        self.last()
    }

    /// Waits until a run ends after this future was first polled.
    #[cfg(feature = "tonic")]
    pub(super) fn ended(&self) -> tokio::sync::futures::Notified<'_> {
        self.ended.notified()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn publish(&self, components: Arc<[Component]>) {
        let mut state = self.state();
        state.last = Results {
            components,
            at: Some(Instant::now()),
        };
        state.running = false;
        drop(state);
        self.ended.notify_waiters();
    }
}

impl Run {
    fn start(runner: Arc<Runner>) {
        let run = Run {
            runner,
            ended: false,
        };
        match Handle::try_current() {
            Ok(handle) => {
                handle.clone().spawn(run.run(handle));
            }
            // Without a runtime no check can run: the run ends here, and all checks have failed.
            Err(_) => drop(run),
        }
    }

    async fn run(mut self, on: Handle) {
        let deadline = self.runner.deadline;
        let checks = &self.runner.checks;
        // All are started before any is awaited, so they take as long as the slowest.
        let started: Vec<_> = checks
            .iter()
            .map(|check| check.start(&on, deadline))
            .collect();
        let mut components = Vec::with_capacity(checks.len());
        for (check, started) in checks.iter().zip(started) {
            components.push(check.found(started, deadline).await);
        }
        self.ended = true;
        self.runner.publish(components.into());
    }
}

impl Drop for Run {
    /// Ends a run that did not complete: the runtime shuts down, has no timers, or is missing.
    fn drop(&mut self) {
        if !self.ended {
            let error: Arc<str> = "not run: no tokio runtime with time enabled".into();
            let failed = |check: &Check| check.failed(error.clone(), Duration::ZERO);
            self.runner
                .publish(self.runner.checks.iter().map(failed).collect());
        }
    }
}

/// The output of the future that completed first.
pub(super) enum Either<A, B> {
    First(A),
    Other(B),
}

/// Waits for either future; they are polled in this order.
pub(super) async fn first<A: Future, B: Future>(one: A, other: B) -> Either<A::Output, B::Output> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Either::First(value)),
        Poll::Pending => other.as_mut().poll(cx).map(Either::Other),
    })
    .await
}
