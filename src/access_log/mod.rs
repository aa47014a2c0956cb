//! An access log: one line per request, written at the end of the response body (feature `tracing`).
//!
//! ```
//! use lameduck::{AccessLogLayer, Lifecycle, RequestIdLayer, real_ip::Resolver};
//! use tower::ServiceBuilder;
//!
//! let lifecycle = Lifecycle::new(); // with `serve`: shutdown.handle().lifecycle()
//! let resolver = Resolver::new("10.0.0.0/8".parse()?); // the proxies
//! let stack = lameduck::stack(&lifecycle).real_ip(resolver.clone().into());
//! let access_log = AccessLogLayer::new()
//!     .client(move |peer, headers| resolver.resolve(peer, headers).ip);
//!
//! let app: axum::Router = axum::Router::new()
//!     .route("/", axum::routing::get(|| async { "hello" }))
//!     .layer(
//!         ServiceBuilder::new()
//!             .layer(RequestIdLayer::new()) // outermost: the line has its id
//!             .layer(access_log) // then this: what the stack refuses has a line too
//!             .layer(stack),
//!     );
//! # Ok::<_, lameduck::real_ip::InvalidTrustedProxies>(())
//! ```
//!
//! # The line
//!
//! Each line is a `tracing` event of level info with the target `lameduck::access`. The names and values of its fields
//! are a stable API; its message, `request`, is not. Unknown fields are omitted.
//!
//! | field | type | content |
//! |---|---|---|
//! | `method` | text | at most 32 bytes |
//! | `path` | text | without the query; at most 256 bytes, a longer one is truncated and ends in `…` |
//! | `route` | text | the matched route, `/users/{id}`; with feature `axum`, when the layer was added by `Router::layer`. For a gRPC call its method, `/package.Service/Method`, unless that is unimplemented |
//! | `status` | number | HTTP's; missing if the request ended before its response began |
//! | `grpc_status` | number | of a gRPC call, 0 to 16, from its trailers or its head; missing if it ended before |
//! | `version` | text | `0.9`, `1.0`, `1.1`, `2`, `3` |
//! | `bytes_out` | number | the bytes of the response body that were handed to the server |
//! | `duration_ms` | number | from the request's head, as `serve` saw it (on another server: from the call of this layer), to the end of the body; three decimals |
//! | `head_ms` | number | the same, to the response's head |
//! | `client` | address | see below |
//! | `peer` | address and port | the other end of the connection; missing on a Unix socket |
//! | `request_id` | text | the id from a [`RequestIdLayer`](crate::RequestIdLayer) further out |
//! | `end` | text | `complete`; `error`: the service or the body failed; `panic`; `timeout`: a deadline of the server or of the body passed; `client_gone`: the client left (nginx's 499); `cut`: aborted at the end of the drain; `cancelled`: dropped by a layer further out, or by another server, which gives no reason. See [`BodyEnd`](crate::track::BodyEnd) |
//!
//! Each request is logged exactly once, even when its handler or body is dropped or panics. The line is written at the
//! end of the body, not of the socket: the last bytes may still wait to be sent. An upgraded connection is logged at
//! its 101.
//!
//! Nothing else is logged: no query, no headers. Paths are written as visible ASCII with everything else
//! percent-encoded, so that they cannot forge a line in any format the subscriber writes.
//!
//! # Position and client address
//!
//! The layer belongs directly inside [`RequestIdLayer`](crate::RequestIdLayer) and outside the [stack](crate::stack()),
//! so that requests that the stack refuses are logged too. At that point the client's address is not known yet: the
//! stack's [`RealIpLayer`](crate::RealIpLayer) writes it into the request that it passes on. Use
//! [`AccessLogLayer::client`] to look it up with the same resolver as the stack, as above. `client` is, in this order:
//!
//! 1. the address found by a `RealIpLayer` further out;
//! 2. the address returned by the function of [`AccessLogLayer::client`];
//! 3. without such a function, the peer's address: behind a proxy, the proxy's.
//!
//! Inside the stack (`.layer(stack).layer(access_log)`) no function is needed, but refusals have no line: they are only
//! emitted as [events](crate::events).
//!
//! # Cost
//!
//! The layer costs one comparison when the subscriber's maximum level is below info. Otherwise it costs a few reference
//! counts and two clock readings (three on a server other than `serve`). It allocates only for a path that is truncated
//! or encoded, and takes no lock; the subscriber's own cost comes on top.
//!
//! The line is written by the task that ends the body. A subscriber that writes to standard output blocks the runtime's
//! workers for as long as the reader of a pipe does not read. Use a writer that does not block and drops lines that do
//! not fit (`log_writer.rs` of the full service, or tracing-appender's `NonBlockingBuilder::lossy(true)`). The number
//! of lines is not bounded: there is one per request.

mod future;
mod layer;
mod line;
mod line_guard;
mod service;
mod shared;
#[cfg(test)]
mod tests;

pub use future::AccessLogFuture;
pub use layer::AccessLogLayer;
pub use service::AccessLog;

pub(crate) use line::Line;
pub(crate) use line_guard::LineGuard;

/// The response body of an [`AccessLog`] service. Its end writes the line.
pub type AccessLogBody<B> = crate::track::TrackedBody<B, line_guard::LineGuard>;
