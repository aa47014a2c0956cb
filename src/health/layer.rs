use std::sync::Arc;

use http::Request;
use tower_layer::Layer;

use super::answer::Pending;
use super::shared::Shared;
use super::{Health, HealthService};

/// A layer that answers probes by their path and passes everything else; see the [module](super).
///
/// It belongs outermost: a probe is then neither counted, nor limited, nor refused by the drain. A service that is not
/// ready (`poll_ready`) delays probes too, because a layer cannot know the request before it is ready: around a service
/// with a concurrency limit, route the probes to [`liveness`](Health::liveness) and [`readiness`](Health::readiness)
/// instead.
#[derive(Clone, Debug)]
pub struct HealthLayer {
    /// `None` if the layer is off.
    shared: Option<Arc<Shared>>,
}

impl Health {
    /// Returns a layer that answers `/healthz`, `/readyz` and `/startupz` in front of a service.
    pub fn layer(&self) -> HealthLayer {
        HealthLayer::new(self.clone())
    }
}

impl HealthLayer {
    pub(super) fn new(health: Health) -> Self {
        HealthLayer {
            shared: Some(Arc::new(Shared {
                health,
                live: "/healthz".into(),
                ready: "/readyz".into(),
                startup: "/startupz".into(),
            })),
        }
    }

    /// Creates a layer of the same type that does nothing, whatever is set on it afterwards.
    pub const fn off() -> Self {
        HealthLayer { shared: None }
    }

    pub(crate) fn answer<B>(&self, request: &mut Request<B>) -> Option<Pending> {
        Shared::answer(self.shared.as_deref(), request)
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// Sets the path of the liveness probe, compared literally. Default: `/healthz`. An empty path switches the probe
    /// off.
    #[must_use]
    pub fn liveness_at(self, path: &str) -> Self {
        self.with(|shared| shared.live = path.into())
    }

    /// Sets the path of the readiness probe. Default: `/readyz`.
    #[must_use]
    pub fn readiness_at(self, path: &str) -> Self {
        self.with(|shared| shared.ready = path.into())
    }

    /// Sets the path of the start-up probe. Default: `/startupz`.
    #[must_use]
    pub fn startup_at(self, path: &str) -> Self {
        self.with(|shared| shared.startup = path.into())
    }
}

impl<S> Layer<S> for HealthLayer {
    type Service = HealthService<S>;

    fn layer(&self, inner: S) -> HealthService<S> {
        HealthService {
            inner,
            shared: self.shared.clone(),
        }
    }
}
