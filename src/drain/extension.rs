use crate::phase::{Lifecycle, Phase};

/// A request extension that notifies a handler when the process begins to leave.
///
/// ```
/// use lameduck::drain::Draining;
/// # async fn next_event() -> u32 { 1 }
/// # async fn send(_: u32) {}
/// async fn events(draining: Draining) {
///     loop {
///         tokio::select! {
///             event = next_event() => send(event).await,
///             () = draining.draining() => break, // say good-bye, the client reconnects elsewhere
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Draining {
    pub(super) lifecycle: Lifecycle,
}

impl Draining {
    /// Waits until the process begins to leave, which is the start of the lame-duck phase.
    pub async fn draining(&self) {
        self.lifecycle.draining().await;
    }

    /// Returns the process's current phase.
    pub fn phase(&self) -> Phase {
        self.lifecycle.phase()
    }
}

impl From<Lifecycle> for Draining {
    fn from(lifecycle: Lifecycle) -> Self {
        Draining { lifecycle }
    }
}
