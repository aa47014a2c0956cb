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
        loop {
            let signal = self.next().await;
            let orders = handle.orders();
            let order = match (orders.current(), signal) {
                (Order::Serve, Cause::Sigint) => Order::LeaveNow,
                (Order::Serve, _) => Order::Leave,
                _ => Order::Cut,
            };
            orders.give(order, signal);
        }
    }
}
