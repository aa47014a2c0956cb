use std::sync::{Arc, MutexGuard};

use tokio::sync::watch;
use tokio::time::Instant;

use super::Report;
use super::drained::{ABORT_GRACE, before, drained};
use super::order::{Order, Orders};
use super::server::DrainServer;
use crate::phase::{Lifecycle, Phase};
use crate::sync::Lock;

/// The servers that observe the shutdown, and end after it.
pub(super) struct Observers {
    list: Lock<List>,
    report: watch::Sender<Option<Arc<Report>>>,
}

#[derive(Default)]
struct List {
    observers: Vec<(Lifecycle, Arc<dyn DrainServer>)>,
    over: bool,
}

impl Observers {
    pub(crate) fn new() -> Self {
        Observers {
            list: Lock::default(),
            report: watch::Sender::new(None),
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock()
    }

    /// Registers an observer. `lifecycle` is the observer's own, and ends with the shutdown.
    pub(crate) fn register(&self, lifecycle: Lifecycle, server: Arc<dyn DrainServer>) {
        let mut list = self.list();
        if list.over {
            // It came too late to see the report.
            drop(list);
            lifecycle.advance(Phase::Closed);
            server.phase_moved();
            server.close_idle();
        } else {
            list.observers.push((lifecycle, server));
        }
    }

    pub(crate) fn report(&self) -> Option<Arc<Report>> {
        self.report.borrow().clone()
    }

    pub(crate) async fn reported(&self) -> Arc<Report> {
        let mut receiver = self.report.subscribe();
        loop {
            if let Some(report) = receiver.borrow_and_update().clone() {
                return report;
            }
            if receiver.changed().await.is_err() {
                // The sender is in `self`, and lives as long.
                std::future::pending::<()>().await;
            }
        }
    }

    fn publish(&self, report: &Report) -> Vec<(Lifecycle, Arc<dyn DrainServer>)> {
        self.report.send_replace(Some(Arc::new(report.clone())));
        let mut list = self.list();
        list.over = true;
        std::mem::take(&mut list.observers)
    }

    /// Ends the observers at once.
    pub(crate) fn abandon(&self, report: &Report) {
        for (lifecycle, server) in self.publish(report) {
            drop(server.cut());
            lifecycle.advance(Phase::Closed);
            server.phase_moved();
        }
    }

    /// Publishes the report to the observers and lets them end: they have responses to give and a moment to give them,
    /// unless the end is to be at once.
    pub(crate) async fn end(&self, report: &Report, until: Instant, orders: &Orders) {
        let observers = self.publish(report);
        let mut servers = Vec::with_capacity(observers.len());
        for (lifecycle, server) in &observers {
            lifecycle.advance(Phase::Draining);
            server.phase_moved();
            servers.push(server.clone());
        }
        let at_once = async {
            orders.at_least(Order::Cut).await;
            tokio::time::sleep(ABORT_GRACE).await;
        };
        let ended = tokio::select! {
            biased;
            ended = before(until, drained(|| servers.clone())) => ended,
            () = at_once => false,
        };
        if !ended {
            for server in &servers {
                // A client that still watches has seen the report; no one waits for its request.
                drop(server.cut());
            }
            let ended = async {
                for server in &servers {
                    server.all().idle().await;
                }
            };
            before(Instant::now() + ABORT_GRACE, ended).await;
        }
        for (lifecycle, _) in &observers {
            lifecycle.advance(Phase::Closed);
        }
    }
}
