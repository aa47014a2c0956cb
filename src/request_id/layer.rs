use std::sync::Arc;

use http::{HeaderName, Request};
use tower_layer::Layer;

use super::RequestIdService;
use super::shared::{ResponseId, Shared};

/// A layer that gives each request an id; see the [module](super).
#[doc(alias("SetRequestIdLayer", "PropagateRequestIdLayer", "x-request-id"))]
#[derive(Clone, Debug)]
pub struct RequestIdLayer {
    /// `None` if the layer is off.
    shared: Option<Arc<Shared>>,
}

impl RequestIdLayer {
    /// Creates a layer that uses the header `x-request-id` and keeps valid incoming ids.
    pub fn new() -> Self {
        RequestIdLayer {
            shared: Some(Arc::new(Shared {
                header: HeaderName::from_static("x-request-id"),
                trust: true,
            })),
        }
    }

    /// Creates a layer of the same type that does nothing, whatever is set on it afterwards.
    pub const fn off() -> Self {
        RequestIdLayer { shared: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// Sets the header of requests and responses. Default: `x-request-id`.
    #[must_use]
    pub fn header(self, name: HeaderName) -> Self {
        self.with(|shared| shared.header = name)
    }

    /// Sets whether incoming ids are kept. Default: `true`. With `false` every request gets a new id.
    #[must_use]
    pub fn trust(self, trust: bool) -> Self {
        self.with(|shared| shared.trust = trust)
    }
}

impl RequestIdLayer {
    pub(crate) fn identify<B>(&self, request: &mut Request<B>) -> Option<ResponseId> {
        let shared = self.shared.as_ref()?;
        Some(shared.identify(request))
    }
}

impl Default for RequestIdLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestIdService<S>;

    fn layer(&self, inner: S) -> RequestIdService<S> {
        RequestIdService {
            inner,
            shared: self.shared.clone(),
        }
    }
}
