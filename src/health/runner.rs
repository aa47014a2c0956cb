//! When the checks run, and who waits for them.

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

/// The checks' last results, and their one run at a time.
#[derive(Debug)]
pub(super) struct Runner {
    checks: Box<[Check]>,
    deadline: Duration,
    cache: Duration,
    state: Lock<State>,
    /// Notified whenever a run ends.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    last: Results,
    running: bool,
}

/// What the checks found, and when.
#[derive(Clone, Debug)]
pub(super) struct Results {
    pub components: Arc<[Component]>,
    /// `None`: never yet.
    pub at: Option<Instant>,
}

/// The right to run the checks. Whatever becomes of it, those who wait are told.
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

    /// What the last run found, however old.
    pub(super) fn last(&self) -> Results {
        self.state().last.clone()
    }

    /// What the last run found, if that need not be asked again.
    pub(super) fn fresh(&self) -> Option<Results> {
        let last = self.last();
        self.is_fresh(&last).then_some(last)
    }

    fn is_fresh(&self, results: &Results) -> bool {
        !self.has_checks() || results.at.is_some_and(|at| at.elapsed() < self.cache)
    }

    /// What the checks find: those of the last run while it is fresh, or of the run that is on, or of
    /// one that begins now. The run is a task of its own: it goes on if this future is dropped.
    pub(super) async fn results(self: &Arc<Self>) -> Results {
        let mut ended = pin!(self.ended.notified());
        // Enrol first, look afterwards: a run that ends between the look and the enrolment would be missed.
        ended.as_mut().enable();
        {
            let mut state = self.state();
            // Looked at again under the lock, or two who found it stale would start two runs.
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

    /// Waits until a run has ended after this future was first polled.
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
            // No runtime, no checks: it ends here, and they have failed.
            Err(_) => drop(run),
        }
    }

    async fn run(mut self, on: Handle) {
        let deadline = self.runner.deadline;
        let checks = &self.runner.checks;
        // All are started before any is waited for, so they take as long as the slowest.
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
    /// Dropped before its end: by a runtime that shuts down, has no timers, or is not there.
    fn drop(&mut self) {
        if !self.ended {
            let error: Arc<str> = "not run: no tokio runtime with time enabled".into();
            let failed = |check: &Check| check.failed(error.clone(), Duration::ZERO);
            self.runner
                .publish(self.runner.checks.iter().map(failed).collect());
        }
    }
}

/// Which of two futures was ready.
pub(super) enum Either<A, B> {
    First(A),
    Other(B),
}

/// Waits for the one or for the other, looked at in this order.
pub(super) async fn first<A: Future, B: Future>(one: A, other: B) -> Either<A::Output, B::Output> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Either::First(value)),
        Poll::Pending => other.as_mut().poll(cx).map(Either::Other),
    })
    .await
}
