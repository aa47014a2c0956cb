//! Measures requests, counts what the rest of the library tells, and answers Prometheus.
//!
//! [`Metrics`] is what is measured. It gives out a [`layer`](Metrics::layer) for the service, a
//! [listener](Metrics::events) for what servers and layers tell, and a [`service`](Metrics::service) for
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
//! # What is told
//!
//! | name | labels | what |
//! |---|---|---|
//! | `http_server_request_duration_seconds` | method, route, status, version, `error_type` | histogram: from the head of the request to the end of the response's body |
//! | `http_server_active_requests` | method | gauge |
//! | `http_server_request_body_size_bytes` | method, route | histogram: as the request declares it |
//! | `http_server_response_body_size_bytes` | method, route | histogram: what was sent, whole or not |
//! | `lameduck_http_time_to_head_seconds` | method, route | histogram: to the head of the response |
//! | `lameduck_metrics_series_folded_total` | | requests that are told under the route `_other` |
//! | `lameduck_phase` | `phase` | 1 for the present one, 0 for the others |
//! | `lameduck_drain_duration_seconds` | | so far, then in the end; 0 before |
//! | `lameduck_connections` | `state` | gauge, from [`Metrics::shutdown`] |
//! | `lameduck_in_flight_requests`, `…_peak` | | gauges, from [`Metrics::in_flight`] |
//! | `lameduck_rate_limit_keys` | | gauge, from [`Metrics::rate_limit`] |
//! | `lameduck_connections_accepted_total` | | [`Opened`](crate::events::Event::Opened) |
//! | `lameduck_connections_closed_total` | `reason` | [`Closed`](crate::events::Event::Closed) |
//! | `lameduck_timeouts_total` | `kind` | [`Timeout`](crate::events::Event::Timeout) |
//! | `lameduck_refusals_total` | `reason` | [`Refused`](crate::events::Event::Refused), by layers and server |
//! | `lameduck_client_address_total` | `verdict` | [`ClientAddress`](crate::events::Event::ClientAddress) |
//! | `lameduck_requests_cut_total` | | [`Cut`](crate::events::Event::Cut), [`MoreCut`](crate::events::Event::MoreCut) |
//! | `lameduck_clients_gone_total` | | [`ClientGone`](crate::events::Event::ClientGone) |
//! | `lameduck_readiness_changes_total` | | [`Readiness`](crate::events::Event::Readiness) |
//! | `lameduck_service_errors_total` | | [`ServiceError`](crate::events::Event::ServiceError) |
//! | `lameduck_accept_errors_total` | | [`AcceptError`](crate::events::Event::AcceptError) |
//! | `lameduck_grpc_timeout_malformed_total` | | [`MalformedGrpcTimeout`](crate::events::Event::MalformedGrpcTimeout) |
//! | `lameduck_rate_limit_full_total` | | [`RateLimitFull`](crate::events::Event::RateLimitFull) |
//! | `lameduck_rate_limit_fallbacks_total`, `…_restored_total` | | [`RateLimitFallback`](crate::events::Event::RateLimitFallback), [`RateLimitRestored`](crate::events::Event::RateLimitRestored) |
//!
//! The first four are OpenTelemetry's HTTP server metrics in Prometheus's spelling, with its labels
//! (`http_request_method`, `http_route`, `http_response_status_code`, `network_protocol_version`,
//! `error_type`); the sizes have only two of them, because they have no need of more. Counters of events, and the
//! phases, are there with all their labels from the first scrape on, once the metrics follow a
//! [lifecycle](Metrics::lifecycle) or a [shutdown](Metrics::shutdown), or their [listener](Metrics::events) has been
//! given away; what is read from a handle is there once the handle is given. What nothing is wired to is absent.
//!
//! # Labels are bounded
//!
//! * A method that is not of RFC 9110, PATCH or QUERY is `_OTHER`.
//! * The route is what [`MetricsBuilder::route`] says, else the route that axum's router matched (feature
//!   `axum`, and a layer added by `Router::layer` or `route_layer`: one around the whole router is asked
//!   before it has matched), else `unmatched`. Never the path.
//! * There are at most [`max_series`](MetricsBuilder::max_series); a request that would make one more is
//!   told with the route `_other`, the class of its status (`5xx`) and no version, and is counted.
//!
//! # How a request ended
//!
//! | `error_type` | status | |
//! |---|---|---|
//! | empty | as sent | answered to the end |
//! | `500` and so on | as sent | the same, by a server error |
//! | `499` | as sent; empty before the head | given up before its end: the client went away, or a deadline or the drain cut it |
//! | `body_error` | as sent | the response's body failed half-way |
//! | `service_error` | empty | the service failed instead of answering |
//! | `panic` | empty; as sent, if its body did | the service panicked |
//!
//! For gRPC the status is HTTP's, so mostly 200: refusals of this library are in `lameduck_refusals_total`.
//! An upgraded connection's request ends with its 101. A request is measured by each layer that it passes:
//! around a router and around one nested in it are two.
//!
//! # What it costs
//!
//! A request is looked up twice, by its route and by its end, in tables that are read without a lock;
//! counts are atomic. It allocates when a series is new, and never again. Request bodies are not touched;
//! their size is the `Content-Length`, or 0 where there is no body: an upload in chunks, or a gRPC call, is
//! not in that histogram.
//!
//! A scrape is written at once, in the service's call: about 10 ms and 8 MB with 1,000 routes, a tenth of
//! it with 100. Each answer that is under way holds its own text: the port is for who may scrape. Bytes are
//! sent, and a request has ended, when the server has them to send. A client of HTTP/1 that goes away before its answer is seen to be gone when the answer is
//! written, one of HTTP/2 at once.

mod classic;
mod collect;
mod endpoint;
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
mod told;

pub use endpoint::{MetricsService, ScrapeFuture};
pub use future::MetricsFuture;
pub use guard::MetricsBody;
pub use handle::{Metrics, MetricsBuilder};
pub use layer::MetricsLayer;
pub use service::Measured;
