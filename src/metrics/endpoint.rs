use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tower_service::Service;

use super::classic::classic;
use crate::reply::get_or_head_only;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

type Encode = dyn Fn(&mut String) -> fmt::Result + Send + Sync;

/// Answers a scrape, whatever its path: in the OpenMetrics format if that is accepted (as Prometheus does),
/// else in the classic text format. HEAD as GET; other methods get a 405.
///
/// It belongs on an admin port, or outside of the layers that refuse: a scrape is wanted most of all when a
/// process is in trouble.
#[derive(Clone)]
pub struct MetricsService {
    encode: Arc<Encode>,
    /// How long the last scrape was: the next one allocates that at once.
    length: Arc<AtomicUsize>,
    scrapes: Arc<Scrapes>,
}

/// Numbers of scrapes, the last that has begun and the last that was told.
struct Scrapes {
    begun: AtomicU64,
    told: watch::Sender<u64>,
}

impl MetricsService {
    /// Tells all of a registry.
    ///
    /// ```
    /// use lameduck::metrics::{Metrics, MetricsService};
    /// use prometheus_client::{metrics::counter::Counter, registry::Registry};
    ///
    /// let mut registry = Registry::default();
    /// let metrics = Metrics::register(&mut registry);
    /// let orders: Counter = Counter::default();
    /// registry.register("orders", "Orders taken", orders.clone());
    ///
    /// let endpoint = MetricsService::of(registry); // or of an Arc of it
    /// # let app: axum::Router = axum::Router::new().route_service("/metrics", endpoint).layer(metrics.layer());
    /// ```
    pub fn of(registry: impl Into<Arc<Registry>>) -> Self {
        let registry = registry.into();
        Self::with(move |text| text::encode(text, &registry))
    }

    /// Tells what `encode` writes, in the OpenMetrics format: a registry behind a lock, or several. It is
    /// called at each scrape, within the service's call; a failure is answered with a 500.
    ///
    /// ```
    /// use lameduck::metrics::MetricsService;
    /// use prometheus_client::{encoding::text, registry::Registry};
    /// use std::{fmt, sync::{Arc, Mutex}};
    ///
    /// let registry = Arc::new(Mutex::new(Registry::default()));
    /// let endpoint = MetricsService::with(move |out| {
    ///     let registry = registry.lock().map_err(|_| fmt::Error)?;
    ///     text::encode(out, &registry)
    /// });
    /// ```
    pub fn with(encode: impl Fn(&mut String) -> fmt::Result + Send + Sync + 'static) -> Self {
        MetricsService {
            encode: Arc::new(encode),
            length: Arc::default(),
            scrapes: Arc::new(Scrapes {
                begun: AtomicU64::new(0),
                told: watch::Sender::new(0),
            }),
        }
    }

    /// Waits until a scrape (a GET) has been answered that began after this future was first polled. As the last flush
    /// of a shutdown it lets Prometheus see the drain, and what was cut; with a budget somewhat longer than the
    /// scrape interval. If none comes, that step has timed out, and the shutdown was not clean:
    ///
    /// ```
    /// use lameduck::{Metrics, Shutdown};
    /// use std::time::Duration;
    ///
    /// let metrics = Metrics::new();
    /// let endpoint = metrics.service(); // on a port that observes the shutdown
    /// let scraped = endpoint.scraped();
    /// let shutdown = Shutdown::new().flush("metrics", Duration::from_secs(6), || scraped);
    /// # drop(shutdown);
    /// ```
    pub fn scraped(&self) -> impl Future<Output = ()> + Send + use<> {
        let scrapes = self.scrapes.clone();
        async move {
            let seen = scrapes.begun.load(Ordering::Relaxed);
            let mut told = scrapes.told.subscribe();
            // It fails only when the sender is gone, and `scrapes` holds it.
            let _ = told.wait_for(|told| *told > seen).await;
        }
    }

    fn answer(&self, method: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            return get_or_head_only().map(Full::new);
        }
        let number = self.scrapes.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let mut text = String::with_capacity(self.length.load(Ordering::Relaxed));
        if (self.encode)(&mut text).is_err() {
            let mut failure = Response::new(Full::from("no metrics\n"));
            *failure.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
            failure
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
            return failure;
        }
        self.length.store(text.len(), Ordering::Relaxed);
        // The head alone tells nobody anything.
        if method == Method::GET {
            let told = &self.scrapes.told;
            told.send_if_modified(|told| {
                let later = number > *told;
                *told = number.max(*told);
                later
            });
        }
        let (content_type, text) = match accepts_open_metrics(headers) {
            true => (OPEN_METRICS, text),
            false => (CLASSIC, classic(&text)),
        };
        let mut response = Response::new(Full::from(text));
        let content_type = HeaderValue::from_static(content_type);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        response
    }
}

/// Whether the client asks for the format by its name (RFC 9110, 12.5.1), with a weight that is not 0.
/// `*/*` does not: a person with curl is better served with plain text.
fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).into_iter();
    let ranges = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut open = ranges.filter(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        named && !parts.any(is_weight_zero)
    });
    open.next().is_some()
}

fn is_weight_zero(parameter: &str) -> bool {
    let weight = parameter
        .split_once('=')
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, weight)| weight.trim().parse::<f32>().ok());
    weight == Some(0.0)
}

impl<B> Service<Request<B>> for MetricsService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.headers())))
    }
}

impl fmt::Debug for MetricsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsService").finish_non_exhaustive()
    }
}
