use std::io;

use super::order::Order;
use super::{Cause, Handle};

/// SIGTERM and SIGINT (Ctrl-C).
pub(super) struct Signals {
    #[cfg(unix)]
    term: tokio::signal::unix::Signal,
    #[cfg(unix)]
    int: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    pub fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    pub fn listen() -> io::Result<Self> {
        Ok(Signals {})
    }

    #[cfg(unix)]
    async fn next(&mut self) -> Cause {
        tokio::select! {
            _ = self.term.recv() => Cause::Sigterm,
            _ = self.int.recv() => Cause::Sigint,
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> Cause {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Cause::Sigint
    }

    /// Turns signals into orders, for as long as it is polled: the first leaves, a second cuts.
    pub async fn obey(mut self, handle: Handle) -> std::convert::Infallible {
        let mut first = true;
        loop {
            let signal = self.next().await;
            // Signals are counted, not orders: a preStop hook that began the drain by a call is followed by
            // the orchestrator's SIGTERM, and that is no second signal.
            let order = match (first, signal) {
                (true, Cause::Sigint) => Order::LeaveNow,
                (true, _) => Order::Leave,
                (false, _) => Order::Cut,
            };
            first = false;
            handle.orders().give(order, signal);
        }
    }
}
