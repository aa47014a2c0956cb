//! Metrics of requests and of the library's events, for Prometheus.
//!
//! [`Metrics`] holds the measurements. It provides a [`layer`](Metrics::layer) for the service, a
//! [listener](Metrics::event_sink) for the events of servers and layers, and a [`service`](Metrics::service) for
//! `/metrics`.
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::Request;
//! use http_body_util::BodyExt;
//! use lameduck::{Lifecycle, Metrics};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let metrics = Metrics::new();
//! let lifecycle = Lifecycle::new(); // with `serve`: metrics.shutdown(&shutdown.handle())
//! let stack = lameduck::stack(&lifecycle);
//! metrics.lifecycle(&lifecycle).in_flight(stack.in_flight_handle());
//!
//! let app = Router::new()
//!     .route("/users/{id}", get(|| async { "Ada" }))
//!     .layer(stack)
//!     .layer(metrics.layer()) // outside of the stack, inside of the router: it sees the matched route
//!     .route_service("/metrics", metrics.service()); // neither refused nor measured; better on an admin port
//!
//! let ask = |path: &str| app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
//! ask("/users/7").await.unwrap().into_body().collect().await.unwrap();
//! let scrape = ask("/metrics").await.unwrap().into_body().collect().await.unwrap().to_bytes();
//! let scrape = String::from_utf8(scrape.to_vec()).unwrap();
//! # #[cfg(feature = "axum")]
//! assert!(scrape.contains(
//!     "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/users/{id}\",\
//!      http_response_status_code=\"200\",network_protocol_version=\"1.1\",error_type=\"\"} 1\n"
//! ));
//! assert!(scrape.contains("lameduck_refusals_total{reason=\"draining\"} 0\n"));
//! # }
//! ```
//!
//! # Metrics
//!
//! | name | labels | meaning |
//! |---|---|---|
//! | `http_server_request_duration_seconds` | method, route, status, version, `error_type` | histogram: from the head of the request to the end of the response's body; for gRPC calls with `rpc_grpc_status_code` |
//! | `http_server_active_requests` | method | gauge |
//! | `http_server_request_body_size_bytes` | method, route | histogram: the length declared by the request |
//! | `http_server_response_body_size_bytes` | method, route | histogram: the bytes sent, complete or not |
//! | `lameduck_http_time_to_head_seconds` | method, route | histogram: to the head of the response |
//! | `lameduck_metrics_series_folded_total` | | requests recorded under the route `_other` |
//! | `lameduck_phase` | `phase` | 1 for the current phase, 0 for the others |
//! | `lameduck_drain_duration_seconds` | | the duration so far, then in total; 0 before the drain |
//! | `lameduck_connections` | `state` | gauge, from [`Metrics::shutdown`] |
//! | `lameduck_in_flight_requests`, `…_peak` | | gauges, from [`Metrics::in_flight`] |
//! | `lameduck_rate_limit_keys` | | gauge, from [`Metrics::rate_limit`] |
//! | `lameduck_connections_accepted_total` | | [`Opened`](crate::events::Event::Opened) |
//! | `lameduck_connections_closed_total` | `reason` | [`Closed`](crate::events::Event::Closed) |
//! | `lameduck_timeouts_total` | `kind` | [`Timeout`](crate::events::Event::Timeout) |
//! | `lameduck_refusals_total` | `reason` | [`Refused`](crate::events::Event::Refused), by layers and server |
//! | `lameduck_client_address_total` | `source` | [`ClientAddress`](crate::events::Event::ClientAddress) |
//! | `lameduck_requests_cut_total` | | [`Cut`](crate::events::Event::Cut), [`MoreCut`](crate::events::Event::MoreCut) |
//! | `lameduck_clients_gone_total` | | [`ClientGone`](crate::events::Event::ClientGone) |
//! | `lameduck_readiness_changes_total` | | [`Readiness`](crate::events::Event::Readiness) |
//! | `lameduck_service_errors_total` | | [`ServiceError`](crate::events::Event::ServiceError) |
//! | `lameduck_panics_total` | | [`Panicked`](crate::events::Event::Panicked) |
//! | `lameduck_workers_ended_total` | `end` | [`WorkerEnded`](crate::events::Event::WorkerEnded) |
//! | `lameduck_accept_errors_total` | | [`AcceptError`](crate::events::Event::AcceptError) |
//! | `lameduck_grpc_timeout_malformed_total` | | [`MalformedGrpcTimeout`](crate::events::Event::MalformedGrpcTimeout) |
//! | `lameduck_rate_limit_full_total` | | [`RateLimitFull`](crate::events::Event::RateLimitFull) |
//! | `lameduck_rate_limit_fallbacks_total`, `…_restored_total` | | [`RateLimitFallback`](crate::events::Event::RateLimitFallback), [`RateLimitRestored`](crate::events::Event::RateLimitRestored) |
//!
//! The first four are OpenTelemetry's HTTP server metrics in Prometheus's spelling, with its labels
//! (`http_request_method`, `http_route`, `http_response_status_code`, `network_protocol_version`, `error_type`); the
//! sizes carry only two of them, which suffice. Event counters and phases appear with all their labels from the first
//! scrape on, once the metrics follow a [lifecycle](Metrics::lifecycle) or a [shutdown](Metrics::shutdown), or their
//! [listener](Metrics::event_sink) has been taken. Values read from a handle appear once the handle is set. Metrics without
//! a source are absent.
//!
//! # Bounded labels
//!
//! * A method outside RFC 9110 other than PATCH and QUERY is `_OTHER`.
//! * The route is the result of [`MetricsBuilder::route`], else the route matched by axum's router (feature `axum`, and
//!   a layer added by `Router::layer` or `route_layer`: a layer around the whole router runs before the match), else
//!   `unmatched`. It is never the path.
//! * A gRPC call's route is its method, `/package.Service/Method`, once a response has come from it: a method that does
//!   not exist, and a refusal before the first response, are recorded as any other request is. There are at most 500 of
//!   them.
//! * There are at most [`max_series`](MetricsBuilder::max_series) series. A request beyond that is recorded with the
//!   route `_other`, the class of its status (`5xx`) and no version, and is counted as folded.
//!
//! # Outcomes
//!
//! | `error_type` | status | |
//! |---|---|---|
//! | empty | as sent | the response was sent to its end |
//! | `500` and so on | as sent | the same, by a server error |
//! | `INTERNAL` and so on | as sent | a gRPC call that failed by the server: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS |
//! | `499` | as sent; empty before the head | cancelled before its end: the client left, or a deadline or the drain cut it |
//! | `body_error` | as sent | the response's body failed half-way |
//! | `service_error` | empty | the service failed instead of responding |
//! | `panic` | empty; as sent if the body panicked | the service panicked |
//!
//! For gRPC the status is HTTP's, so mostly 200; `rpc_grpc_status_code` is the call's, `0` to `16`, from its trailers or
//! from a head without messages. Other requests, and gRPC-Web, which has its trailers in the body, have no such label.
//! An upgraded connection's request ends with its 101. A request is measured by each layer that it passes: a layer around a router
//! and another around a nested router measure it twice.
//!
//! # Cost
//!
//! A request takes two look-ups, by its route and by its outcome, in tables that are read without a lock; counts are
//! atomic. A new series allocates; later requests do not. Request bodies are not touched: their size is the
//! `Content-Length`, or 0 without a body. A chunked upload or a gRPC call does not appear in that histogram.
//!
//! A scrape is encoded synchronously in the service's call: about 10 ms and 8 MB with 1,000 routes, a tenth of that
//! with 100. Each response in progress holds its own text, so restrict access to the port. Bytes count as sent, and a
//! request as ended, when they are handed to the server. An HTTP/1 client that leaves before its response is noticed
//! when the response is written, an HTTP/2 client at once.

mod classic;
mod collect;
mod endpoint;
mod event_counters;
mod families;
mod future;
mod guard;
mod handle;
mod histogram;
mod labels;
mod layer;
mod series;
mod service;
mod shared;
mod sources;
mod table;
#[cfg(test)]
mod tests;

pub use endpoint::{MetricsEndpoint, ScrapeFuture};
pub use future::MetricsFuture;
pub use guard::MetricsBody;
pub use handle::{Metrics, MetricsBuilder};
pub use layer::MetricsLayer;
pub use service::MetricsService;

pub(crate) use guard::{Measure, Running};
