use std::sync::Arc;

use tower_layer::Layer;

use super::Measured;
use super::shared::Shared;

/// Measures requests; made by [`Metrics::layer`](super::Metrics::layer), see the [module](super). Clones
/// measure together.
#[derive(Clone, Debug)]
pub struct MetricsLayer {
    /// `None`: off.
    pub(super) shared: Option<Arc<Shared>>,
}

impl MetricsLayer {
    /// A layer of the same type that does nothing.
    pub const fn off() -> Self {
        MetricsLayer { shared: None }
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured {
            inner,
            shared: self.shared.clone(),
        }
    }
}
