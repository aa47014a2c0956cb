use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use super::SetRequestId;
use super::shared::Shared;

/// Gives each request an id; see the [module](super).
#[derive(Clone, Debug)]
pub struct RequestIdLayer {
    /// `None`: off.
    shared: Option<Arc<Shared>>,
}

impl RequestIdLayer {
    /// In the header `x-request-id`; what comes in is kept, if it is an id.
    pub fn new() -> Self {
        RequestIdLayer {
            shared: Some(Arc::new(Shared {
                header: HeaderName::from_static("x-request-id"),
                trust: true,
            })),
        }
    }

    /// A layer of the same type that does nothing, whatever is set on it afterwards.
    pub const fn off() -> Self {
        RequestIdLayer { shared: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// The header, of requests and responses. Default: `x-request-id`.
    #[must_use]
    pub fn header(self, name: HeaderName) -> Self {
        self.with(|shared| shared.header = name)
    }

    /// Whether ids that come in are kept. Default: `true`. With `false` every request gets a new one.
    #[must_use]
    pub fn trust(self, trust: bool) -> Self {
        self.with(|shared| shared.trust = trust)
    }
}

impl Default for RequestIdLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = SetRequestId<S>;

    fn layer(&self, inner: S) -> SetRequestId<S> {
        SetRequestId {
            inner,
            shared: self.shared.clone(),
        }
    }
}
