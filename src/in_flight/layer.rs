use std::fmt;
use std::sync::Arc;

use http::Request;
use tower_layer::Layer;

use super::registry::{InFlightGuard, Registry};
use super::{InFlight, InFlightHandle};

/// A layer that counts the requests in flight; see the [module](super). Clones share the count.
#[doc(alias("InFlightRequestsLayer"))]
#[derive(Clone)]
pub struct InFlightLayer {
    registry: Arc<Registry>,
    /// `false` if the layer is off.
    counts: bool,
}

impl InFlightLayer {
    /// Creates a layer with its own count.
    pub fn new() -> Self {
        InFlightLayer {
            registry: Arc::new(Registry::new()),
            counts: true,
        }
    }

    /// Creates a layer of the same type that does nothing; its handle reads 0.
    pub fn off() -> Self {
        InFlightLayer {
            counts: false,
            ..Self::new()
        }
    }

    /// Returns a handle that reads the count.
    pub fn handle(&self) -> InFlightHandle {
        InFlightHandle {
            registry: self.registry.clone(),
        }
    }
}

impl InFlightLayer {
    pub(crate) fn enter<B>(&self, request: &Request<B>, is_grpc: bool) -> Option<InFlightGuard> {
        self.counts
            .then(|| Registry::enter(&self.registry, request, is_grpc))
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
