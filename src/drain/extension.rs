use crate::phase::{Lifecycle, Phase};

/// The request extension by which a handler learns that the process is leaving.
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
    /// Waits until the process has begun to leave: from the first moment of the lame-duck phase.
    pub async fn draining(&self) {
        self.lifecycle.draining().await;
    }

    /// The process's phase now.
    pub fn phase(&self) -> Phase {
        self.lifecycle.phase()
    }
}

impl From<Lifecycle> for Draining {
    fn from(lifecycle: Lifecycle) -> Self {
        Draining { lifecycle }
    }
}
