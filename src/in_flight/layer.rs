use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::registry::Registry;
use super::{InFlight, InFlightHandle};

/// Counts the requests that are running; see the [module](super). Clones count together.
#[derive(Clone)]
pub struct InFlightLayer {
    registry: Arc<Registry>,
    /// Not when it is off.
    counts: bool,
}

impl InFlightLayer {
    /// A count of its own.
    pub fn new() -> Self {
        InFlightLayer {
            registry: Arc::new(Registry::new()),
            counts: true,
        }
    }

    /// A layer of the same type that does nothing: its handle reads 0.
    pub fn off() -> Self {
        InFlightLayer {
            counts: false,
            ..Self::new()
        }
    }

    /// Reads the count.
    pub fn handle(&self) -> InFlightHandle {
        InFlightHandle {
            registry: self.registry.clone(),
        }
    }
}

impl Default for InFlightLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlight<S>;

    fn layer(&self, inner: S) -> InFlight<S> {
        InFlight {
            inner,
            registry: self.counts.then(|| self.registry.clone()),
        }
    }
}

impl fmt::Debug for InFlightLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InFlightLayer")
            .field(&self.handle())
            .finish()
    }
}
