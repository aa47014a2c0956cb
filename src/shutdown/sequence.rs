//! The sequence of steps after the signal.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::drained::{ABORT_GRACE, before, drained};
use super::obeys::Obeys;
use super::order::Order;
use super::planned::Planned;
#[cfg(unix)]
use super::signal_thread::{Subscription, Unsubscribed};
use super::{Budgets, Cause, Report, ShutdownHandle, StepKind};
use crate::events::Event;
use crate::phase::Phase;

/// The maximum time for the observers' last responses, if the margin allows it: a client that watches a shutdown sees
/// its end.
const OBSERVER_GRACE: Duration = Duration::from_secs(1);

/// The maximum number of cut requests in events, one each: more would flood a log, and delay the end.
pub(super) const NAMED: usize = 100;

/// A future that begins the shutdown.
pub(super) type Trigger = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A shutdown that waits for its signal.
pub(crate) struct Sequence {
    pub(super) driver: Driver,
    pub(super) budgets: Budgets,
    #[cfg(not(unix))]
    pub(super) signals: super::Signals,
    pub(super) starting: bool,
    pub(super) lame_duck_is_set: bool,
    pub(super) trigger: Option<Trigger>,
    pub(super) closers: Vec<Planned>,
    pub(super) flushes: Vec<Planned>,
}

/// The driver of the shutdown. If it is dropped before the end, it notifies all that wait for the end: nothing else
/// would.
pub(crate) struct Driver {
    pub(super) handle: ShutdownHandle,
    /// The subscription to signals.
    #[cfg(unix)]
    pub(super) subscription: Option<Subscription>,
    #[cfg(unix)]
    pub(super) _deaf: Option<Unsubscribed>,
    pub(super) _obeys: Option<Obeys>,
    pub(super) finished: bool,
}

impl Driver {
    /// Returns the time at which the process is ended whatever it does, if a signal has begun its end.
    fn forced_at(&self) -> Option<Instant> {
        #[cfg(unix)]
        return self
            .subscription
            .as_ref()
            .and_then(Subscription::deadline)
            .map(Instant::from_std);
        #[cfg(not(unix))]
        None
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.finished {
            self.handle.abandon();
        }
        #[cfg(unix)]
        if let Some(subscription) = self.subscription.take().filter(|_| self.finished) {
            subscription.finish();
        }
    }
}

impl ShutdownHandle {
    /// Ends everything at once, without waiting.
    fn abandon(&self) {
        self.orders().give(Order::Cut, Cause::Dropped);
        let mut report = Report::new(self.cause());
        report.at_once = true;
        self.cut_servers(&mut report);
        report.steps = self.workers_of().abort();
        self.count_requests(&mut report);
        self.lifecycle().advance(Phase::Closed);
        self.emit(|| Event::Phase(Phase::Closed));
        self.observers().abandon(&report);
    }

    /// Waits until others have moved the phase this far, and gives the order that it amounts to. The accept loop and the
    /// layers obey the phase: a sequence that went on waiting for an order would never end.
    async fn moved_by_others(&self, phase: Phase) {
        let order = match self.lifecycle().reached(phase).await {
            Phase::Closed => Order::Cut,
            Phase::Draining => Order::LeaveNow,
            Phase::LameDuck | Phase::Ready | Phase::Starting => Order::Leave,
        };
        self.orders().give(order, Cause::Called);
    }

    /// Cuts the requests in flight, and adds them to the report, the oldest first.
    fn cut_servers(&self, report: &mut Report) {
        for server in self.servers() {
            report.cut.extend(server.cut());
        }
        report.cut.sort_by_key(|cut| std::cmp::Reverse(cut.age));
        for cut in report.cut.iter().take(NAMED) {
            self.emit(|| Event::Cut {
                request: cut.info(),
                state: cut.state,
                age: cut.age,
            });
        }
        let more = report.cut.len().saturating_sub(NAMED);
        if more > 0 {
            self.emit(|| Event::MoreCut { count: more });
        }
    }

    /// Counts the served requests: all that have begun, except those that were cut.
    fn count_requests(&self, report: &mut Report) {
        for server in self.servers() {
            report.served = true;
            report.requests += server.requests();
            report.timed_out += server.timed_out();
            report.client_gone += server.client_gone();
            report.connections += server.connections();
        }
        let begun = report.cut.iter().filter(|cut| !cut.method.is_empty());
        report.requests = report.requests.saturating_sub(begun.count() as u64);
    }
}

impl Sequence {
    pub(crate) fn waits_for_ready(&self) -> bool {
        self.starting
    }

    /// Waits for the order to leave, and runs all that follows.
    pub(crate) async fn run(self) -> Report {
        let handle = self.driver.handle.clone();
        #[cfg(not(unix))]
        let obey = super::signals::follow_ctrl_c(self.signals, handle.clone());
        #[cfg(unix)]
        let obey = pending::<std::convert::Infallible>();
        tokio::select! {
            biased;
            never = obey => match never {},
            // Before the sequence acts on it.
            never = handle.announce_signals() => match never {},
            report = self.leave() => report,
        }
    }

    async fn leave(mut self) -> Report {
        let handle = self.driver.handle.clone();
        let orders = handle.orders();
        let trigger = self.trigger.take();
        let triggered = async {
            match trigger {
                Some(trigger) => trigger.await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = handle.moved_by_others(Phase::LameDuck) => {}
            () = orders.at_least(Order::Leave) => {}
            () = triggered => handle.shutdown(),
        }
        let began = Instant::now();
        let mut report = Report::new(handle.cause());

        // Where there are no connections, there is no one to send elsewhere.
        let has_lame_duck = self.lame_duck_is_set || !handle.servers().is_empty();
        let has_lame_duck = has_lame_duck && !self.budgets.lame_duck.is_zero();
        if orders.current() == Order::Leave && has_lame_duck {
            handle.lifecycle().lame_duck(self.budgets.lame_duck);
            self.emit(Phase::LameDuck);
            tokio::select! {
                biased;
                () = handle.moved_by_others(Phase::Draining) => {}
                () = orders.at_least(Order::LeaveNow) => {}
                () = tokio::time::sleep(self.budgets.lame_duck) => {}
            }
        }
        report.lame_duck = began.elapsed();

        let drain_began = Instant::now();
        let deadline = drain_began + self.budgets.drain;
        handle.set_drain_deadline(deadline.into_std());
        handle.lifecycle().advance(Phase::Draining);
        self.emit(Phase::Draining);
        let drained = tokio::select! {
            biased;
            () = handle.moved_by_others(Phase::Closed) => false,
            () = orders.at_least(Order::Cut) => false,
            drained = before(deadline, drained(|| handle.servers())) => drained,
        };
        if !drained {
            // Naming the requests takes time as well: it is part of the connections' time to end.
            let ended_by = Instant::now() + ABORT_GRACE;
            handle.cut_servers(&mut report);
            let ended = async {
                for server in handle.servers() {
                    server.all().idle().await;
                }
            };
            before(ended_by, ended).await;
        }
        report.drain = drain_began.elapsed();
        handle.set_drained(report.drain);
        handle.emit(|| Event::Drained {
            took: report.drain,
            cut: report.cut.len(),
        });

        let workers_began = Instant::now();
        let workers = handle.workers_of();
        report.steps = workers.stop(self.budgets.workers, orders).await;
        report.workers = workers_began.elapsed();

        let closers_began = Instant::now();
        for closer in std::mem::take(&mut self.closers) {
            let step = closer.run(StepKind::Closer, Some(orders)).await;
            report.steps.push(step);
        }
        for flush in std::mem::take(&mut self.flushes) {
            report.steps.push(flush.run(StepKind::Flush, None).await);
        }
        report.closers = closers_began.elapsed();

        handle.count_requests(&mut report);
        report.at_once = orders.current() >= Order::Cut;
        report.total = began.elapsed();
        handle.lifecycle().advance(Phase::Closed);
        handle.emit(|| Event::Phase(Phase::Closed));
        let mut observe_until = Instant::now() + OBSERVER_GRACE.min(self.budgets.margin);
        if let Some(forced_at) = self.driver.forced_at() {
            // With time for them to end.
            observe_until =
                observe_until.min(forced_at.checked_sub(2 * ABORT_GRACE).unwrap_or(forced_at));
        }
        handle.observers().end(&report, observe_until, orders).await;
        self.driver.finished = true;
        report
    }

    fn emit(&self, phase: Phase) {
        for server in self.driver.handle.servers() {
            server.phase_moved();
        }
        self.driver.handle.emit(|| Event::Phase(phase));
    }
}
