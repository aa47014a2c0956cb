use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tower_service::Service;

use super::classic::classic;
use crate::accept::{Accept, Specific};
use crate::allowed_hosts::AllowedHosts;
use crate::reply::get_or_head_only;
use crate::single_flight::SingleFlight;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

type Encode = dyn Fn(&mut String) -> fmt::Result + Send + Sync;

/// A service that responds to a scrape, whatever its path: in the OpenMetrics format if that is accepted (as by
/// Prometheus), else in the classic text format. HEAD works as GET; other methods get 405.
///
/// It responds to requests for [allowed hosts](MetricsEndpoint::allowed_hosts) only: by default addresses and names that
/// a Prometheus in the same network uses, but no public names. Concurrent scrapes share one text, which is encoded
/// after they have arrived.
///
/// It belongs on an admin port, or outside the layers that refuse requests: a scrape matters most when a process is in
/// trouble.
#[derive(Clone)]
pub struct MetricsEndpoint {
    encode: Arc<Encode>,
    /// The length of the last scrape, used as the capacity of the next.
    length: Arc<AtomicUsize>,
    scrapes: Arc<Scrapes>,
    hosts: AllowedHosts,
    open_metrics: Arc<SingleFlight<Option<Bytes>>>,
    classic: Arc<SingleFlight<Option<Bytes>>>,
}

/// The numbers of scrapes: of the last one begun and of the last one sent.
struct Scrapes {
    begun: AtomicU64,
    sent: watch::Sender<u64>,
}

impl MetricsEndpoint {
    /// Creates an endpoint for all metrics of a registry.
    ///
    /// ```
    /// use lameduck::metrics::{Metrics, MetricsEndpoint};
    /// use prometheus_client::{metrics::counter::Counter, registry::Registry};
    ///
    /// let mut registry = Registry::default();
    /// let metrics = Metrics::register(&mut registry);
    /// let orders: Counter = Counter::default();
    /// registry.register("orders", "Orders taken", orders.clone());
    ///
    /// let endpoint = MetricsEndpoint::of(registry); // or of an Arc of it
    /// # let app: axum::Router = axum::Router::new().route_service("/metrics", endpoint).layer(metrics.layer());
    /// ```
    pub fn of(registry: impl Into<Arc<Registry>>) -> Self {
        let registry = registry.into();
        Self::with(move |text| text::encode(text, &registry))
    }

    /// Creates an endpoint for the text that `encode` writes in the OpenMetrics format, for a registry behind a lock,
    /// or for several. `encode` is called at each scrape, once for concurrent scrapes; if it fails, the response is a
    /// 500.
    ///
    /// ```
    /// use lameduck::metrics::MetricsEndpoint;
    /// use prometheus_client::{encoding::text, registry::Registry};
    /// use std::{fmt, sync::{Arc, Mutex}};
    ///
    /// let registry = Arc::new(Mutex::new(Registry::default()));
    /// let endpoint = MetricsEndpoint::with(move |out| {
    ///     let registry = registry.lock().map_err(|_| fmt::Error)?;
    ///     text::encode(out, &registry)
    /// });
    /// ```
    pub fn with(encode: impl Fn(&mut String) -> fmt::Result + Send + Sync + 'static) -> Self {
        MetricsEndpoint {
            encode: Arc::new(encode),
            length: Arc::default(),
            scrapes: Arc::new(Scrapes {
                begun: AtomicU64::new(0),
                sent: watch::Sender::new(0),
            }),
            hosts: AllowedHosts::private(),
            open_metrics: Arc::new(SingleFlight::new()),
            classic: Arc::new(SingleFlight::new()),
        }
    }

    /// Sets the host names for which metrics are served; see [`AllowedHosts`]. A scrape by a public name, or by
    /// `service.namespace` in Kubernetes, needs that name. Default: [`AllowedHosts::private`].
    #[must_use]
    pub fn allowed_hosts(mut self, hosts: AllowedHosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Waits until a scrape (a GET) that began after this future was first polled has been answered. As the last flush
    /// of a shutdown it lets Prometheus see the drain and the cut requests. Give it a budget somewhat longer than the
    /// scrape interval; if no scrape comes, that step times out and the shutdown is not clean:
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
            let mut sent = scrapes.sent.subscribe();
            // It fails only if the sender is dropped, and `scrapes` holds the sender.
            let _ = sent.wait_for(|sent| *sent > seen).await;
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> ScrapeFuture {
        let method = request.method();
        if let Err(foreign) = self.hosts.check(request) {
            let refusal = respond(foreign.status(), PLAIN, foreign.text().into());
            return ScrapeFuture(Answer::Now(Some(refusal)));
        }
        if method != Method::GET && method != Method::HEAD {
            return ScrapeFuture(Answer::Now(Some(get_or_head_only().map(Full::new))));
        }
        let number = self.scrapes.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let open_metrics = accepts_open_metrics(request.headers());
        let is_get = method == Method::GET;
        let service = self.clone();
        ScrapeFuture(Answer::Later(Box::pin(async move {
            let text = match open_metrics {
                true => {
                    let make = || service.encode().map(Bytes::from);
                    service.open_metrics.get(|_| false, make).await
                }
                false => {
                    let make = || Some(Bytes::from(classic(&service.encode()?)));
                    service.classic.get(|_| false, make).await
                }
            };
            let Some(text) = text else {
                let text = "no metrics\n".into();
                return respond(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, text);
            };
            // A HEAD transmits no metrics.
            if is_get {
                service.scrapes.sent.send_if_modified(|sent| {
                    let later = number > *sent;
                    *sent = number.max(*sent);
                    later
                });
            }
            let content_type = if open_metrics { OPEN_METRICS } else { CLASSIC };
            respond(StatusCode::OK, content_type, text)
        })))
    }

    fn encode(&self) -> Option<String> {
        let mut text = String::with_capacity(self.length.load(Ordering::Relaxed));
        (self.encode)(&mut text).ok()?;
        self.length.store(text.len(), Ordering::Relaxed);
        Some(text)
    }
}

fn respond(status: StatusCode, kind: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// Returns `true` if the client names the format (RFC 9110, 12.5.1) and does not prefer the classic one. `*/*` does not
/// name it: plain text serves a person with curl better.
fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let accept = Accept::of(headers);
    let open = match accept.weight("application", "openmetrics-text") {
        Some((Specific::Exact, weight)) => weight,
        _ => 0,
    };
    let classic = match accept.weight("text", "plain") {
        Some((Specific::Exact, weight)) => weight,
        _ => 0,
    };
    open > 0 && open >= classic
}

impl<B> Service<Request<B>> for MetricsEndpoint {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = ScrapeFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.answer(&request)
    }
}

/// The response future of a [`MetricsEndpoint`].
pub struct ScrapeFuture(Answer);

enum Answer {
    /// `None` once the response has been returned.
    Now(Option<Response<Full<Bytes>>>),
    Later(Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>),
}

impl Future for ScrapeFuture {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match &mut self.0 {
            Answer::Now(response) => {
                Poll::Ready(response.take().expect("polled after it was ready"))
            }
            Answer::Later(response) => response.as_mut().poll(cx),
        };
        response.map(Ok)
    }
}

impl fmt::Debug for ScrapeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScrapeFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for MetricsEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsEndpoint").finish_non_exhaustive()
    }
}
