use std::fmt;

use tokio::sync::watch;

/// A stream of SIGHUPs, which ask a service to read its files again: certificates, configuration. Created by
/// [`ShutdownHandle::reloads`](super::ShutdownHandle::reloads).
#[derive(Clone)]
pub struct Reloads {
    receiver: watch::Receiver<u64>,
}

impl Reloads {
    pub(super) fn new(receiver: watch::Receiver<u64>) -> Self {
        Reloads { receiver }
    }

    /// Waits for the next SIGHUP since the creation or the last return. Several that came meanwhile count as one.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The shutdown is gone with all of its handles, and no signal will come.
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads").finish_non_exhaustive()
    }
}
