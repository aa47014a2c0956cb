//! The order of things after the signal.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::order::Order;
use super::report::{CutRequest, Report, StepKind};
use super::signals::Signals;
use super::steps::Planned;
use super::{Budgets, ConnectionCounts, Handle};
use crate::events::Event;
use crate::phase::Phase;
use crate::track::Tally;

/// A server, as the coordinator drains it.
pub(crate) trait Drains: Send + Sync {
    /// The phase has moved: connections are to look at it.
    fn phase_moved(&self);
    /// What the drain waits for: connections with something in flight.
    fn busy(&self) -> Arc<Tally>;
    /// All connections.
    fn all(&self) -> Arc<Tally>;
    /// Nothing is in flight: idle connections may close.
    fn close_idle(&self);
    /// Ends what is left at once, and names what was in flight.
    fn cut(&self) -> Vec<CutRequest>;
    /// What is in flight.
    fn in_flight(&self) -> Vec<CutRequest>;
    /// How many there are in flight, and the oldest of them, at most so many: only these are named.
    #[cfg(feature = "status")]
    fn oldest(&self, most: usize) -> (usize, Vec<CutRequest>);
    /// Counts each connection by what it does.
    fn count(&self, counts: &mut ConnectionCounts);
    /// Requests served so far.
    fn requests(&self) -> u64;
    /// Connections accepted so far.
    fn connections(&self) -> u64;
}

/// How long connections that have been cut may take to fall.
pub(super) const FALL: Duration = Duration::from_millis(100);

/// A shutdown that waits for its signal.
pub(crate) struct Sequence {
    pub(super) handle: Handle,
    pub(super) budgets: Budgets,
    pub(super) signals: Option<Signals>,
    pub(super) starting: bool,
    pub(super) closers: Vec<Planned>,
    pub(super) flushes: Vec<Planned>,
}

impl Sequence {
    pub(crate) fn waits_for_ready(&self) -> bool {
        self.starting
    }

    /// Waits for the order to leave, and does all that follows.
    pub(crate) async fn run(mut self) -> Report {
        let signals = self.signals.take();
        let handle = self.handle.clone();
        let obey = async move {
            match signals {
                Some(signals) => signals.obey(handle).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = obey => match never {},
            report = self.leave() => report,
        }
    }

    async fn leave(self) -> Report {
        let handle = self.handle.clone();
        let orders = handle.orders();
        orders.at_least(Order::Leave).await;
        let began = Instant::now();
        let mut report = Report::new(handle.cause());

        if orders.current() == Order::Leave && !self.budgets.lame_duck.is_zero() {
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
            for server in handle.servers() {
                report.cut.extend(server.cut());
            }
            report.cut.sort_by_key(|cut| std::cmp::Reverse(cut.age));
            for cut in &report.cut {
                handle.tell(|| Event::Cut {
                    request: cut.info(),
                    state: cut.state,
                    age: cut.age,
                });
            }
            let fallen = async {
                for server in handle.servers() {
                    server.all().idle().await;
                }
            };
            before(Instant::now() + FALL, fallen).await;
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
        for closer in self.closers {
            let step = closer.run(StepKind::Closer, Some(orders)).await;
            report.steps.push(step);
        }
        for flush in self.flushes {
            report.steps.push(flush.run(StepKind::Flush, None).await);
        }
        report.closers = closers_began.elapsed();

        for server in handle.servers() {
            report.requests += server.requests();
            report.connections += server.connections();
        }
        let begun = report.cut.iter().filter(|cut| !cut.method.is_empty());
        report.requests = report.requests.saturating_sub(begun.count() as u64);
        report.at_once = orders.current() >= Order::Cut;
        report.total = began.elapsed();
        handle.lifecycle().advance(Phase::Closed);
        handle.tell(|| Event::Phase(Phase::Closed));
        let margin = self.budgets.margin;
        handle.observers().end(&report, margin, orders).await;
        report
    }

    fn tell(&self, phase: Phase) {
        for server in self.handle.servers() {
            server.phase_moved();
        }
        self.handle.tell(|| Event::Phase(phase));
    }
}

/// What is in flight first, then what is idle.
pub(super) async fn drained(servers: impl Fn() -> Vec<Arc<dyn Drains>>) {
    for server in servers() {
        server.busy().idle().await;
    }
    for server in servers() {
        server.close_idle();
    }
    for server in servers() {
        server.all().idle().await;
    }
}

/// Whether `future` was ready before `deadline`.
pub(super) async fn before(deadline: Instant, future: impl Future<Output = ()>) -> bool {
    tokio::time::timeout_at(deadline, future).await.is_ok()
}
