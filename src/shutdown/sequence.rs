//! The order of things after the signal.

use std::time::Duration;

use tokio::time::Instant;

use super::drained::{FALL, before, drained};
use super::order::Order;
use super::planned::Planned;
#[cfg(unix)]
use super::signal_thread::{Deaf, Subscription};
use super::{Budgets, Cause, Handle, Report, StepKind};
use crate::events::Event;
use crate::phase::Phase;

/// How long the observers' last answers may take, if the margin has it: who watches a shutdown sees its
/// end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many of the cut requests are named by events, one each: more would flood a log, and hold the end up.
pub(super) const NAMED: usize = 100;

/// A shutdown that waits for its signal.
pub(crate) struct Sequence {
    pub(super) driver: Driver,
    pub(super) budgets: Budgets,
    #[cfg(not(unix))]
    pub(super) signals: super::Signals,
    pub(super) starting: bool,
    pub(super) lame_duck_is_set: bool,
    pub(super) closers: Vec<Planned>,
    pub(super) flushes: Vec<Planned>,
}

/// The one that drives the shutdown. When it is dropped before the end, all that waits for the end is told:
/// nothing else would.
pub(crate) struct Driver {
    pub(super) handle: Handle,
    /// Hears signals.
    #[cfg(unix)]
    pub(super) subscription: Option<Subscription>,
    #[cfg(unix)]
    pub(super) _deaf: Option<Deaf>,
    pub(super) finished: bool,
}

impl Driver {
    /// When the process will be ended whatever it does, if a signal has begun its end.
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

impl Handle {
    /// Ends everything at once, without waiting for any of it.
    fn abandon(&self) {
        self.orders().give(Order::Cut, Cause::Dropped);
        let mut report = Report::new(self.cause());
        report.at_once = true;
        self.cut_servers(&mut report);
        report.steps = self.workers_of().abort();
        self.count_requests(&mut report);
        self.lifecycle().advance(Phase::Closed);
        self.tell(|| Event::Phase(Phase::Closed));
        self.observers().abandon(&report);
    }

    /// Cuts what is in flight, and takes it into the report, the oldest first.
    fn cut_servers(&self, report: &mut Report) {
        for server in self.servers() {
            report.cut.extend(server.cut());
        }
        report.cut.sort_by_key(|cut| std::cmp::Reverse(cut.age));
        for cut in report.cut.iter().take(NAMED) {
            self.tell(|| Event::Cut {
                request: cut.info(),
                state: cut.state,
                age: cut.age,
            });
        }
        let more = report.cut.len().saturating_sub(NAMED);
        if more > 0 {
            self.tell(|| Event::MoreCut { count: more });
        }
    }

    /// What was served: all requests that have begun but those that were cut.
    fn count_requests(&self, report: &mut Report) {
        for server in self.servers() {
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

    /// Waits for the order to leave, and does all that follows.
    pub(crate) async fn run(self) -> Report {
        #[cfg(not(unix))]
        {
            let obey = super::signals::obey_ctrl_c(self.signals, self.driver.handle.clone());
            tokio::select! {
                never = obey => match never {},
                report = self.leave() => report,
            }
        }
        #[cfg(unix)]
        self.leave().await
    }

    async fn leave(mut self) -> Report {
        let handle = self.driver.handle.clone();
        let orders = handle.orders();
        orders.at_least(Order::Leave).await;
        let began = Instant::now();
        let mut report = Report::new(handle.cause());

        // Where there are no connections, there is no one to send elsewhere.
        let has_lame_duck = self.lame_duck_is_set || !handle.servers().is_empty();
        let has_lame_duck = has_lame_duck && !self.budgets.lame_duck.is_zero();
        if orders.current() == Order::Leave && has_lame_duck {
            handle.lifecycle().lame_duck(self.budgets.lame_duck);
            self.tell(Phase::LameDuck);
            tokio::select! {
                biased;
                () = orders.at_least(Order::LeaveNow) => {}
                () = tokio::time::sleep(self.budgets.lame_duck) => {}
            }
        }
        report.lame_duck = began.elapsed();

        let drain_began = Instant::now();
        let deadline = drain_began + self.budgets.drain;
        handle.set_drain_deadline(deadline.into_std());
        handle.lifecycle().advance(Phase::Draining);
        self.tell(Phase::Draining);
        let drained = tokio::select! {
            biased;
            () = orders.at_least(Order::Cut) => false,
            drained = before(deadline, drained(|| handle.servers())) => drained,
        };
        if !drained {
            // Naming them takes its time as well: it is part of the time they have.
            let fallen_by = Instant::now() + FALL;
            handle.cut_servers(&mut report);
            let fallen = async {
                for server in handle.servers() {
                    server.all().idle().await;
                }
            };
            before(fallen_by, fallen).await;
        }
        report.drain = drain_began.elapsed();
        handle.set_drained(report.drain);
        handle.tell(|| Event::Drained {
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
        handle.tell(|| Event::Phase(Phase::Closed));
        let mut last_words = Instant::now() + LAST_WORDS.min(self.budgets.margin);
        if let Some(forced_at) = self.driver.forced_at() {
            // With time for them to fall.
            last_words = last_words.min(forced_at.checked_sub(2 * FALL).unwrap_or(forced_at));
        }
        handle.observers().end(&report, last_words, orders).await;
        self.driver.finished = true;
        report
    }

    fn tell(&self, phase: Phase) {
        for server in self.driver.handle.servers() {
            server.phase_moved();
        }
        self.driver.handle.tell(|| Event::Phase(phase));
    }
}
