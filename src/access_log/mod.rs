//! One line for each request, at the end of its response's body (feature `tracing`).
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
//! A `tracing` event of level info with the target `lameduck::access`. The names and values of its fields are
//! an API; its message, `request`, is none. What is not known is missing.
//!
//! | field | type | what it is |
//! |---|---|---|
//! | `method` | text | at most 32 bytes |
//! | `path` | text | without the query; at most 256 bytes, of a longer one the beginning and `…` |
//! | `route` | text | the matched route, `/users/{id}`; with feature `axum`, when the layer was added by `Router::layer` |
//! | `status` | number | missing if the request ended before there was an answer |
//! | `version` | text | `0.9`, `1.0`, `1.1`, `2`, `3` |
//! | `bytes_out` | number | of the response's body, as it was handed to the server |
//! | `duration_ms` | number | from the head of the request, as `serve` saw it (on another server from the call of this layer), to the end of the body, in thousandths |
//! | `head_ms` | number | the same, to the head of the answer |
//! | `client` | address | see below |
//! | `peer` | address and port | the other end of the connection; missing on a Unix socket |
//! | `request_id` | text | what a [`RequestIdLayer`](crate::RequestIdLayer) further out gave |
//! | `end` | text | `complete`; `error`: the service or the body failed; `panic`; `timeout`: a deadline of the server passed, or that of the body; `client_gone`: the client left (nginx's 499); `cut`: at the end of the drain; `cancelled`: given up by a layer further out, or by another server, which does not say why. See [`End`](crate::track::End) |
//!
//! A request is told exactly once, also when its handler or its body is dropped or panics. The end is that of
//! the body, not of the socket: the last bytes may still wait to be written. An upgraded connection is told
//! at its 101.
//!
//! Nothing else is told: no query, no header. Paths are written as visible ASCII, everything else in them
//! percent-encoded, so that they cannot forge a line, whatever format the subscriber writes.
//!
//! # Where it stands, and who is the client
//!
//! Right inside of [`RequestIdLayer`](crate::RequestIdLayer) and outside of the [stack](crate::stack()), so that
//! what the stack refuses is told too. There the client's address has not been found yet: the stack's
//! [`RealIpLayer`](crate::RealIpLayer) writes it into the request that it passes on. So this layer is told how
//! to find it, [`AccessLogLayer::client`]: with the resolver that the stack has, as above. The order in which
//! `client` is looked for:
//!
//! 1. what a `RealIpLayer` further out has found;
//! 2. what the function of [`AccessLogLayer::client`] says;
//! 3. without a function, the peer's address: behind a proxy the proxy's.
//!
//! Inside of the stack (`.layer(stack).layer(access_log)`) no function is needed, but refusals have no line:
//! they are told as [events](crate::events).
//!
//! # Cost
//!
//! Nothing but a comparison when the subscriber's maximum level is below info. Else a few reference counts and
//! two clock readings (three on another server than `serve`); an allocation only for a path that has to be cut or encoded, and for whatever the
//! subscriber does. No lock of its own. The line is written by the task that ends the body: a subscriber that
//! writes to standard output blocks the runtime's workers for as long as the reader of a pipe does not read.
//! Give it a writer that does not block and drops what does not fit (`log_writer.rs` of the full service, or
//! tracing-appender's `NonBlockingBuilder::lossy(true)`). Lines are not bounded in number: there are as many as requests.

mod future;
mod layer;
mod line;
mod service;
mod shared;
#[cfg(test)]
mod tests;
mod told;

pub use future::AccessLogFuture;
pub use layer::AccessLogLayer;
pub use service::AccessLog;

/// The response body of an [`AccessLog`] service: its end writes the line.
pub type AccessLogBody<B> = crate::track::TrackedBody<B, told::Told>;
