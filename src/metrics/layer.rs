use std::sync::Arc;

use http::Request;
use tower_layer::Layer;

use super::MetricsService;
use super::guard::Running;
use super::shared::Shared;

/// A layer that measures requests, created by [`Metrics::layer`](super::Metrics::layer); see the [module](super).
/// Clones share the metrics.
#[derive(Clone, Debug)]
pub struct MetricsLayer {
    /// `None` if the layer is off.
    pub(super) shared: Option<Arc<Shared>>,
}

impl MetricsLayer {
    /// Creates a layer of the same type that does nothing.
    pub const fn off() -> Self {
        MetricsLayer { shared: None }
    }
}

impl MetricsLayer {
    pub(crate) fn begin<B>(&self, request: &mut Request<B>, is_grpc: bool) -> Option<Running> {
        let shared = self.shared.as_ref()?;
        Some(Running::begin(shared, request, is_grpc))
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = MetricsService<S>;

    fn layer(&self, inner: S) -> MetricsService<S> {
        MetricsService {
            inner,
            shared: self.shared.clone(),
        }
    }
}
