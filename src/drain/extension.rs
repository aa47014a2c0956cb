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
///
/// In a handler of tonic: `request.extensions().get::<Draining>().cloned().unwrap_or_default()`.
#[derive(Clone, Debug)]
pub struct Draining {
    pub(super) lifecycle: Lifecycle,
}

impl Draining {
    /// Waits until the process begins to leave, which is the start of the lame-duck phase.
    pub async fn draining(&self) {
        self.lifecycle.draining().await;
    }

    /// As [`draining`](Self::draining), for a place that keeps the future: `stream.take_until(draining.draining_owned())`
    /// of the futures crate ends a stream.
    pub async fn draining_owned(self) {
        self.lifecycle.draining().await;
    }

    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
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

impl Default for Draining {
    /// Returns the handle of a process that never leaves.
    fn default() -> Self {
        Lifecycle::new().into()
    }
}

/// The request's, by a [`DrainLayer`](crate::DrainLayer) or, on [`serve`](mod@crate::serve), without one. On another
/// server, and in a test that calls the service by `oneshot`, it is of a process that never leaves.
#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for Draining {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        let extensions = &parts.extensions;
        let served = crate::served::lifecycle(extensions).map(Draining::from);
        let draining = || extensions.get::<Draining>().cloned();
        Ok(served.or_else(draining).unwrap_or_default())
    }
}
