use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use prometheus_client::registry::Registry;

use super::collect::Collected;
use super::histogram::Bounds;
use super::series::Series;
use super::shared::{RouteOf, Shared};
use super::told::Told;
use super::{MetricsLayer, MetricsService};
use crate::events::Events;
use crate::in_flight::InFlightHandle;
use crate::phase::Lifecycle;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitHandle;
#[cfg(feature = "serve")]
use crate::shutdown::Handle;

/// What OpenTelemetry advises for `http.server.request.duration`, in seconds.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// OpenTelemetry advises none for sizes.
const BYTES: [f64; 7] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];

/// What is measured of a process; see the [module](super). Clones share it.
#[derive(Clone)]
pub struct Metrics {
    pub(super) shared: Arc<Shared>,
}

impl Metrics {
    /// With the defaults of [`MetricsBuilder`], on their own: [`service`](Self::service) tells them.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// With the defaults of [`MetricsBuilder`], beside the service's own metrics in its registry.
    pub fn register(registry: &mut Registry) -> Self {
        Self::builder().register(registry)
    }

    /// Where routes come from, how many series there may be, which buckets.
    pub fn builder() -> MetricsBuilder {
        MetricsBuilder {
            route_of: None,
            max_series: 2_000,
            seconds: SECONDS.into(),
            bytes: BYTES.into(),
        }
    }

    /// The layer that measures requests.
    pub fn layer(&self) -> MetricsLayer {
        MetricsLayer {
            shared: Some(self.shared.clone()),
        }
    }

    /// Returns the listener that counts what the rest of the library emits, always the same one. It is needed where
    /// there is no lifecycle to [follow](Self::lifecycle).
    pub fn events(&self) -> Events {
        self.shared.told.set_wired();
        self.shared.listener.clone()
    }

    /// Reads the phase and the drain's duration there, and counts what is emitted at its
    /// [hub](Lifecycle::listen).
    pub fn lifecycle(&self, lifecycle: &Lifecycle) -> &Self {
        lifecycle.listen(self.events());
        self.shared.sources.lifecycle(lifecycle);
        self
    }

    /// Reads the phase, the drain's duration and the connections by state there, and counts what is emitted at its
    /// hub; another call replaces what is read.
    #[cfg(feature = "serve")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serve")))]
    pub fn shutdown(&self, handle: &Handle) -> &Self {
        handle.listen(self.events());
        self.shared.sources.shutdown(handle);
        self
    }

    /// Reads how many requests are in flight there. Several handles are added up (their peaks too, which
    /// need not have been at the same time).
    pub fn in_flight(&self, handle: InFlightHandle) -> &Self {
        self.shared.sources.in_flight(handle);
        self
    }

    /// Reads how many keys are kept there; several handles are added up.
    #[cfg(feature = "rate-limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rate-limit")))]
    pub fn rate_limit(&self, handle: RateLimitHandle) -> &Self {
        self.shared.sources.rate_limit(handle);
        self
    }

    /// The service that tells them, and nothing else. Those in a registry of the service's own are told
    /// with the rest of it by [`MetricsService::of`].
    pub fn service(&self) -> MetricsService {
        let mut registry = Registry::default();
        self.collect_in(&mut registry);
        MetricsService::of(registry)
    }

    fn collect_in(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Collected(self.shared.clone())));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes [`Metrics`].
#[must_use = "build or register it"]
pub struct MetricsBuilder {
    route_of: Option<Box<RouteOf>>,
    max_series: usize,
    seconds: Vec<f64>,
    bytes: Vec<f64>,
}

impl MetricsBuilder {
    /// The route of a request, by its head; asked once for each. `None`: the one that the router matched
    /// (feature `axum`), or `unmatched`. Answer with names of a fixed list, never with what the client
    /// sent: each is a series that is kept for ever. A route of more than 512 bytes is told as `_other`.
    ///
    /// ```
    /// use lameduck::Metrics;
    ///
    /// let metrics = Metrics::builder()
    ///     .route(|head| match head.uri.path() {
    ///         "/" => Some("/"),
    ///         path if path.starts_with("/assets/") => Some("/assets/{file}"),
    ///         _ => None,
    ///     })
    ///     .build();
    /// ```
    pub fn route<F>(mut self, route: F) -> Self
    where
        F: for<'a> Fn(&'a Parts) -> Option<&'a str> + Send + Sync + 'static,
    {
        self.route_of = Some(Box::new(route));
        self
    }

    /// How many series `http_server_request_duration_seconds` may have, from 1 to 1,048,576; what comes
    /// beyond is folded into the route `_other`. As many methods with their routes are kept for the other
    /// histograms. Default: 2,000, which take 1.3 MB, 0.2 MB of it from the start.
    pub fn max_series(mut self, most: usize) -> Self {
        self.max_series = most;
        self
    }

    /// The upper bounds of the buckets of durations, in seconds. Sorted; what is not above 0 or not finite
    /// is left out. Default: the 14 that OpenTelemetry advises, from 5 ms to 10 s.
    pub fn duration_buckets(mut self, seconds: &[f64]) -> Self {
        self.seconds = seconds.into();
        self
    }

    /// The upper bounds of the buckets of body sizes, in bytes, likewise. Default: the powers of ten from
    /// 100 to 100,000,000.
    pub fn size_buckets(mut self, bytes: &[f64]) -> Self {
        self.bytes = bytes.into();
        self
    }

    /// Metrics on their own.
    #[must_use]
    pub fn build(self) -> Metrics {
        let duration = Bounds::seconds(&self.seconds);
        let size = Bounds::bytes(&self.bytes);
        let told = Arc::<Told>::default();
        let listener = told.clone();
        Metrics {
            shared: Arc::new(Shared {
                series: Series::new(self.max_series, duration, size),
                route_of: self.route_of,
                told,
                listener: Events::to(move |event| listener.hear(event)),
                sources: Default::default(),
            }),
        }
    }

    /// Metrics beside the service's own in its registry. Register them once: two would have the same names.
    pub fn register(self, registry: &mut Registry) -> Metrics {
        let metrics = self.build();
        metrics.collect_in(registry);
        metrics
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("series", &self.shared.series.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MetricsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsBuilder")
            .field("max_series", &self.max_series)
            .field("duration_buckets", &self.seconds)
            .field("size_buckets", &self.bytes)
            .finish_non_exhaustive()
    }
}
