use tokio::sync::watch;

use super::Cause;
use crate::sync::Lock;

/// The order to the process. It only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// No order: serve.
    Serve,
    /// Leave, by the whole sequence.
    Leave,
    /// Leave, without the lame-duck wait.
    LeaveNow,
    /// End at once.
    Cut,
}

/// The order in force, and the source of the first one.
pub(super) struct Orders {
    current: watch::Sender<Order>,
    cause: Lock<Option<Cause>>,
}

impl Orders {
    pub(crate) fn new() -> Self {
        Orders {
            current: watch::Sender::new(Order::Serve),
            cause: Lock::new(None),
        }
    }

    pub(crate) fn give(&self, order: Order, cause: Cause) {
        let mut first = self.cause.lock();
        first.get_or_insert(cause);
        drop(first);
        self.current.send_if_modified(|current| {
            let grows = order > *current;
            *current = order.max(*current);
            grows
        });
    }

    pub(crate) fn current(&self) -> Order {
        *self.current.borrow()
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        *self.cause.lock()
    }

    /// Waits until the order is at least this.
    pub(crate) async fn at_least(&self, order: Order) {
        let mut receiver = self.current.subscribe();
        // It fails only when the sender is gone, and `self` holds it.
        let _ = receiver.wait_for(|current| *current >= order).await;
    }
}
