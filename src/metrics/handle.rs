use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use prometheus_client::registry::Registry;

use super::collect::Collected;
use super::event_counters::EventCounters;
use super::histogram::Bounds;
use super::series::Series;
use super::shared::{RouteOf, Shared};
use super::{MetricsEndpoint, MetricsLayer};
use crate::events::EventSink;
use crate::in_flight::InFlightHandle;
use crate::phase::Lifecycle;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitHandle;
#[cfg(feature = "serve")]
use crate::shutdown::ShutdownHandle;

/// The buckets that OpenTelemetry recommends for `http.server.request.duration`, in seconds.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// The buckets of sizes, for which OpenTelemetry recommends none.
const BYTES: [f64; 7] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];

/// The metrics of a process; see the [module](super). Clones share them.
#[derive(Clone)]
pub struct Metrics {
    pub(super) shared: Arc<Shared>,
}

impl Metrics {
    /// Creates metrics with the defaults of [`MetricsBuilder`] in a registry of their own, exported by
    /// [`service`](Self::service).
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Creates metrics with the defaults of [`MetricsBuilder`] in the application's registry.
    pub fn register(registry: &mut Registry) -> Self {
        Self::builder().register(registry)
    }

    /// Returns a builder for the source of routes, the limit of series and the buckets.
    pub fn builder() -> MetricsBuilder {
        MetricsBuilder {
            route_of: None,
            max_series: 2_000,
            seconds: SECONDS.into(),
            bytes: BYTES.into(),
        }
    }

    /// Returns the layer that measures requests.
    pub fn layer(&self) -> MetricsLayer {
        MetricsLayer {
            shared: Some(self.shared.clone()),
        }
    }

    /// Returns the listener that counts the library's events, always the same one. It is needed only if there is no
    /// lifecycle to [follow](Self::lifecycle).
    pub fn event_sink(&self) -> EventSink {
        self.shared.counters.set_wired();
        self.shared.listener.clone()
    }

    /// Sets the source of the phase and the drain's duration, and counts the events of its [hub](Lifecycle::listen).
    pub fn lifecycle(&self, lifecycle: &Lifecycle) -> &Self {
        lifecycle.listen(self.event_sink());
        self.shared.sources.lifecycle(lifecycle);
        self
    }

    /// Sets the source of the phase, the drain's duration and the connections by state, and counts the events of its
    /// hub. Another call replaces the source.
    #[cfg(feature = "serve")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serve")))]
    pub fn shutdown(&self, handle: &ShutdownHandle) -> &Self {
        handle.listen(self.event_sink());
        self.shared.sources.shutdown(handle);
        self
    }

    /// Adds a source of the requests in flight. Several handles are summed (and so are their peaks, which need not have
    /// been simultaneous).
    pub fn in_flight(&self, handle: InFlightHandle) -> &Self {
        self.shared.sources.in_flight(handle);
        self
    }

    /// Adds a source of the number of tracked keys; several handles are summed.
    #[cfg(feature = "rate-limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rate-limit")))]
    pub fn rate_limit(&self, handle: RateLimitHandle) -> &Self {
        self.shared.sources.rate_limit(handle);
        self
    }

    /// Returns a `/metrics` endpoint for these metrics only. To export the application's own registry as well, use
    /// [`MetricsEndpoint::of`].
    pub fn service(&self) -> MetricsEndpoint {
        let mut registry = Registry::default();
        self.collect_in(&mut registry);
        MetricsEndpoint::of(registry)
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

/// A builder for [`Metrics`].
#[must_use = "build or register it"]
pub struct MetricsBuilder {
    route_of: Option<Box<RouteOf>>,
    max_series: usize,
    seconds: Vec<f64>,
    bytes: Vec<f64>,
}

impl MetricsBuilder {
    /// Sets the function that derives a request's route from its head; it is called once per request. `None` stands for
    /// the route matched by the router (feature `axum`), or `unmatched`. Return names from a fixed list, never text
    /// that the client sent: each name is a series that is kept for ever. A route of more than 512 bytes is recorded as
    /// `_other`.
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

    /// Sets the maximum number of series of `http_server_request_duration_seconds`, from 1 to 1,048,576; further ones
    /// are folded into the route `_other`. The other histograms keep the same number of methods with their routes.
    /// Default: 2,000, which take 1.3 MB, 0.2 MB of it from the start.
    pub fn max_series(mut self, max: usize) -> Self {
        self.max_series = max;
        self
    }

    /// Sets the upper bounds of the duration buckets, in seconds. They are sorted; values that are not finite or not
    /// above 0 are dropped. Default: the 14 that OpenTelemetry recommends, from 5 ms to 10 s.
    pub fn duration_buckets(mut self, seconds: &[f64]) -> Self {
        self.seconds = seconds.into();
        self
    }

    /// Sets the upper bounds of the body-size buckets, in bytes, by the same rules. Default: the powers of ten from 100
    /// to 100,000,000.
    pub fn size_buckets(mut self, bytes: &[f64]) -> Self {
        self.bytes = bytes.into();
        self
    }

    /// Creates metrics in a registry of their own.
    #[must_use]
    pub fn build(self) -> Metrics {
        let duration = Bounds::seconds(&self.seconds);
        let size = Bounds::bytes(&self.bytes);
        let counters = Arc::<EventCounters>::default();
        let listener = counters.clone();
        Metrics {
            shared: Arc::new(Shared {
                series: Series::new(self.max_series, duration, size),
                route_of: self.route_of,
                counters,
                listener: EventSink::to(move |event| listener.record(event)),
                sources: Default::default(),
            }),
        }
    }

    /// Creates metrics in the application's registry. Register them once: a second set would have the same names.
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
