use std::fmt::Display;
use std::time::Duration;

use http::Extensions;

use super::{Bind, Server};
use crate::allowed_hosts::AllowedHosts;
use crate::conn_info::ConnInfo;
use crate::events::EventSink;
use crate::real_ip::TrustedProxies;
use crate::serve::{Limits, Protocols, Timeouts};
use crate::stack::Stack;

impl Server {
    /// Takes the word of these proxies for the client's address: networks as text (`"10.0.0.0/8, loopback"`), or
    /// [`TrustedProxies`]. The rate limit, the log and events go by that address. Default: no proxy.
    pub fn trusted_proxies<T>(mut self, proxies: T) -> Self
    where
        T: TryInto<TrustedProxies, Error: Display>,
    {
        match proxies.try_into() {
            Ok(proxies) => self.proxies = proxies,
            Err(error) => self.problems.push(format!("trusted_proxies: {error}")),
        }
        self
    }

    /// Limits each client to these quotas; see [`RateLimitLayer::new`](crate::RateLimitLayer::new). None (`None`, `[]`)
    /// switch it off. Default: off.
    #[cfg(feature = "rate-limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rate-limit")))]
    pub fn rate_limit(
        mut self,
        quotas: impl IntoIterator<Item = crate::rate_limit::Quota>,
    ) -> Self {
        let quotas: Vec<_> = quotas.into_iter().collect();
        if quotas.is_empty() {
            (self.rate_limit, self.quotas) = (None, None);
            return self;
        }
        let shown: Vec<_> = quotas.iter().map(ToString::to_string).collect();
        match crate::RateLimitLayer::new(quotas) {
            Ok(layer) => {
                self.rate_limit = Some(layer);
                self.quotas = Some(shown.join(","));
            }
            Err(error) => self.problems.push(format!("rate_limit: {error}")),
        }
        self
    }

    /// Changes the layer of the [rate limit](Self::rate_limit), if there is one: what counts as a client, what is
    /// exempt, the header fields, a Redis that instances share. Probes are exempt without it.
    ///
    /// ```
    /// use lameduck::{Server, rate_limit::Quota};
    ///
    /// let server = Server::new("shop")
    ///     .rate_limit(Quota::per_second(100))
    ///     .rate_limit_layer(|layer| layer.exempt(|head| head.uri.path().starts_with("/assets/")));
    /// # drop(server);
    /// ```
    #[cfg(feature = "rate-limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rate-limit")))]
    pub fn rate_limit_layer(
        mut self,
        change: impl FnOnce(crate::RateLimitLayer) -> crate::RateLimitLayer + Send + 'static,
    ) -> Self {
        self.rate_limit_layers.push(Box::new(change));
        self
    }

    /// Sets how long a request may take to the head of its answer; `None` switches it off, and the server does not start
    /// with zero. Default: 10 s.
    pub fn timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.timeout = Some(time.into());
        self
    }

    /// Sets how many bytes a request's body may have, for gRPC calls all messages together; `None` switches it off.
    /// Default: 2 MiB, and for gRPC calls no limit but their library's for each message.
    pub fn body_limit(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.body_limit = Some(bytes.into());
        self
    }

    /// Sets the deadlines of connections. Default: [`Timeouts::default`].
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets how much a connection may take. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets which versions of HTTP are spoken. Default: [`Protocols::Both`].
    pub fn protocols(mut self, protocols: Protocols) -> Self {
        self.protocols = protocols;
        self
    }

    /// Adds to what every request of a connection carries in its extensions; see
    /// [`Serve::on_connection`](crate::serve::Serve::on_connection).
    pub fn on_connection(
        mut self,
        add: impl Fn(&ConnInfo, &mut Extensions) + Send + Sync + 'static,
    ) -> Self {
        self.on_connection.push(Box::new(add));
        self
    }

    /// Opens the admin port: metrics, health with its details, and the page to watch a drain, to the very end of the
    /// shutdown. Keep it where only operators reach. Default: none, and nothing is measured.
    pub fn admin(mut self, address: impl Into<Bind>) -> Self {
        self.admin = Some(address.into());
        self
    }

    /// Sets the host names under which the admin port answers; see [`AllowedHosts`]. A request for another name gets 421.
    /// Default: addresses and names that are not publicly registrable ([`AllowedHosts::private`]).
    ///
    /// ```
    /// use lameduck::{AllowedHosts, Server};
    ///
    /// let server = Server::new("shop")
    ///     .admin("0.0.0.0:8081")
    ///     .admin_hosts(AllowedHosts::private().and("shop-admin.example.com"));
    /// # drop(server);
    /// ```
    pub fn admin_hosts(mut self, hosts: AllowedHosts) -> Self {
        self.admin_hosts = hosts;
        self
    }

    /// Adds routes to the admin port: what operators may read or change. They come before its own pages, and answer
    /// under the same [host names](Self::admin_hosts); who may use them is theirs to check.
    ///
    /// ```
    /// use axum::{Router, routing::post};
    ///
    /// let routes = Router::new().route("/cache/clear", post(|| async { "cleared\n" }));
    /// let server = lameduck::Server::new("shop").admin("127.0.0.1:8081").admin_routes(routes);
    /// # drop(server);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if a route of an earlier call is there again, as [`Router::merge`](axum::Router::merge) does.
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn admin_routes(mut self, routes: axum::Router) -> Self {
        self.admin_routes = self.admin_routes.merge(routes);
        self
    }

    /// Waits at the end, for at most this time, until Prometheus has scraped the [admin port](Self::admin) once more: it
    /// sees the drain and the cut requests. A little more than the scrape interval; see
    /// [`MetricsEndpoint::scraped`](crate::metrics::MetricsEndpoint::scraped). It is the last flush, and its time a part
    /// of the orchestrator's grace. Default: no wait.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn last_scrape(mut self, most: impl Into<Option<Duration>>) -> Self {
        self.last_scrape = most.into();
        self
    }

    /// Sets whether the start line and the report are written, and warnings and errors where there is no `tracing`
    /// subscriber. Default: `true`; `false` for [`for_tests`](Self::for_tests).
    pub fn announce(mut self, on: bool) -> Self {
        self.announces = on;
        self
    }

    /// Changes the metrics: the function that names routes, buckets, the number of series.
    ///
    /// ```
    /// let server = lameduck::Server::new("shop")
    ///     .metrics(|metrics| metrics.route(|head| head.uri.path().starts_with("/assets/").then_some("/assets")));
    /// # drop(server);
    /// ```
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn metrics(
        mut self,
        change: impl FnOnce(crate::metrics::MetricsBuilder) -> crate::metrics::MetricsBuilder,
    ) -> Self {
        self.metrics = change(self.metrics);
        self
    }

    /// Shows the service's own metrics beside those of the library.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn registry(mut self, registry: prometheus_client::registry::Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Adds listeners to the hub of events; see [`ShutdownHandle::listen`](crate::shutdown::ShutdownHandle::listen).
    pub fn events(self, events: EventSink) -> Self {
        self.handle().listen(events);
        self
    }

    /// Writes a line for each request to the `tracing` subscriber, and gives each an id; see
    /// [`access_log`](crate::access_log). Default: off.
    #[cfg(feature = "tracing")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
    pub fn access_log(mut self) -> Self {
        self.access_log = true;
        self
    }

    /// Writes no events to the `tracing` subscriber: for a listener with settings of its own
    /// ([`Logs`](crate::logs::Logs)), given to [`events`](Self::events).
    #[cfg(feature = "tracing")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
    pub fn without_logs(mut self) -> Self {
        self.logs = false;
        self
    }

    /// Changes the stack, for what has no setting here: last, whatever the order of the calls.
    ///
    /// ```
    /// use lameduck::{Server, TimeoutLayer};
    /// use std::time::Duration;
    ///
    /// let server = Server::new("shop")
    ///     .layers(|stack| stack.timeout(TimeoutLayer::new(Duration::from_secs(3)).gateway()));
    /// # drop(server);
    /// ```
    pub fn layers(mut self, change: impl FnOnce(Stack) -> Stack + Send + 'static) -> Self {
        self.layers.push(Box::new(change));
        self
    }

    /// Adds layers around the stack: CORS, so that a preflight is answered before it counts against the rate limit and a
    /// refusal has the headers without which a page may not read it; or one that translates refusals. They see probes
    /// too. Those of a later call are further out. The service must be an `axum::Router`;
    /// [`fallback_service`](axum::Router::fallback_service) makes one of another.
    ///
    /// ```
    /// # let cors = tower::layer::util::Identity::new();
    /// let server = lameduck::Server::new("shop").outer_layers(|app| app.layer(cors));
    /// # drop(server);
    /// ```
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn outer_layers(
        mut self,
        change: impl FnOnce(axum::Router) -> axum::Router + Send + 'static,
    ) -> Self {
        self.outer_layers.push(Box::new(change));
        self
    }
}
