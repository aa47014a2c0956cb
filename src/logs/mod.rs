//! A listener that writes the library's events as [`tracing`](https://docs.rs/tracing) events (feature `tracing`).
//!
//! ```
//! use lameduck::{Lifecycle, logs};
//!
//! let lifecycle = Lifecycle::new(); // with `serve`: shutdown.handle().lifecycle()
//! let stack = lameduck::stack(&lifecycle).events(logs::event_sink());
//! ```
//!
//! Create one listener and pass clones of it to the stack and to the server, so that they share its bounds
//! (`lameduck::serve(listener, app).events(events.clone())`).
//!
//! The lines go to the process's `tracing` subscriber: set one before all else (`tracing_subscriber::fmt().init()`, of the
//! crate `tracing-subscriber`). Without one there are none, except that [`Server`](crate::Server) writes warnings and
//! errors to standard error.
//!
//! # The lines
//!
//! Targets, levels, and the names, fields and values below are a stable API, versioned like types. The target is
//! `lameduck`. Each line has the field `event`, and a message for people that is not part of the API.
//!
//! | `event` | level | further fields | bound |
//! |---|---|---|---|
//! | `started` | info | (of [`Server`](crate::Server): its message is the start line) | |
//! | `report` | info; warn if it is not clean | `clean`, `cut` (the number of requests), `total_ms` (of `Server`: its message is the report in one line) | |
//! | `signal` | info | `signal` (`SIGTERM`), `effect` (`shutdown`, `drain`, `cut`, or `repeated`: no effect), `in_flight` | |
//! | `phase` | info | `phase` | |
//! | `drained` | info | `took_ms`, `cut` (the number of requests) | |
//! | `readiness` | info; warn if a check failed | `ready`, `failed` (the failed checks, each with its error) | for each level |
//! | `cut` | warn | `state`, `age_ms`, those of the request | |
//! | `more_cut` | warn | `count` (the number of cut requests beyond the oldest 100, which have a line each) | |
//! | `service_error` | error | `error`, those of the request | yes |
//! | `panicked` | error | `panic` (its message), those of the request | yes |
//! | `worker_ended` | error | `name`, `end` (`done`, `failed`, `panicked`), `essential`, `error` (of a failed one) | yes |
//! | `misconfigured` | warn | `advice` (what is wrong, and the mend) | yes |
//! | `accept_error` | warn | `error`, `pause_ms` (only if the listener pauses) | yes |
//! | `rate_limit_fallback` | warn | `error` | yes |
//! | `rate_limit_restored` | info | | yes |
//! | `rate_limit_full` | warn | | yes |
//! | `refused` | info: `draining`, `handler_timeout`, `request_timeout`, `gateway_timeout`; else debug | `reason` ([`RefusalReason`](crate::reply::RefusalReason)), `status`, `grpc_status` (of a gRPC call, whose `status` is 200), those of the request | for each reason |
//! | `timeout` | debug | `kind` ([`Timeout`](crate::events::TimeoutKind)), those of the request | for each kind |
//! | `client_address` | debug, flagged ones only | `source` ([`ClientIpSource`](crate::ClientIpSource)) | for each source |
//! | `client_address` | warn: an ignored header | `source` (`ignored`), `header`, `peer`, `network` (to trust, if the peer is your proxy) | once |
//! | `grpc_timeout_malformed` | debug | | yes |
//! | `opened` | trace | `peer` | |
//! | `closed` | trace | `why` ([`CloseReason`](crate::events::CloseReason)), `peer` | |
//! | `left_out` | as the omitted lines | `of` (their `event`), `name` (their reason, kind or source), `lines` | |
//!
//! The fields of a request are `method`, `path` (without the query), `route`, `client`, `peer` and `request_id`;
//! unknown fields are omitted ([`RequestInfo`](crate::events::RequestInfo)). `peer` is missing on a Unix socket.
//! Durations are in whole milliseconds. An `error` is followed by its sources.
//!
//! The level separates the service's actions from its clients'. INFO, the default, shows what the service does to its
//! clients: it changes its phase, it is too slow, it turns them away because it drains. DEBUG shows what clients bring
//! upon themselves, and what anyone on the internet can cause (a slow head, an oversized body, more requests than the
//! quota); the metrics count these. One warning is an exception: the first header that is
//! [`Ignored`](crate::ClientIpSource::Ignored), because it may be that of a proxy that is missing from the
//! configuration, and all clients behind it would share one rate limit. A line per request is the job of the [access log](crate::access_log).
//!
//! # Lines of h2
//!
//! h2, the HTTP/2 library of the server, logs on its own and without a bound. For example, it writes a WARN for each
//! acknowledgement of a PING that was never sent, and any client can send some 100,000 of these per second. Add
//! `h2=error` to the subscriber's filter, as `examples/full_service` does.
//!
//! # Bounds
//!
//! At most 10 lines per second of each kind are written ([`Logs::lines_per_second`]), so that no client can flood the
//! log. A kind is an `event` with its reason, kind or source. One line `left_out` reports the number of omitted lines,
//! before the first line of that kind in a later second or before the next change of phase. There is no timer, so the
//! number may come late. Seconds are those of the listener's clock, so around their boundary there may be twice as many
//! lines.
//!
//! These lines have no bound: signals, which only an operator sends; the start and the report, changes of phase, of which
//! there are four, and the end of the drain; cut requests, which
//! occur once in a process and take at most 101 lines; `opened` and `closed`, whose level is for readers who want them
//! all.
//!
//! A line above the subscriber's maximum level costs a comparison. An omitted line costs a clock reading and an atomic
//! addition. Only lines with an error allocate, and nothing takes a lock; the subscriber's own cost comes on top.
//!
//! # Blocking writers
//!
//! Lines are written where events occur: on the runtime's workers, in the accept loop, in the shutdown. A subscriber
//! that writes to standard output, which is a pipe in a container, blocks all of them when the reader of the pipe stops
//! reading. Use a writer that does not block and drops lines that do not fit: `log_writer.rs` of the full service, or
//! tracing-appender's `NonBlockingBuilder::lossy(true)`.
//!
//! # Omitted and sanitised data
//!
//! Lines contain no query, no header value and no body. Control characters in foreign text (paths, errors) are replaced
//! and long text is truncated, so that it cannot forge another line in any format the subscriber writes.

mod ignored;
mod kinds;
mod listener;
mod meter;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
#[cfg(feature = "serve")]
mod to_stderr;
#[cfg(test)]
pub(crate) mod written;

use listener::Listener;
pub(crate) use listener::wanted;
#[cfg(feature = "serve")]
pub(crate) use to_stderr::without_subscriber;

use crate::events::EventSink;

/// Returns the listener that writes `tracing` events, with default settings; see the [module](self).
pub fn event_sink() -> EventSink {
    Logs::new().event_sink()
}

/// The settings of the listener that writes `tracing` events; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Logs {
    lines_per_second: u32,
}

impl Logs {
    /// Creates the default settings: at most 10 lines per second of each kind.
    pub const fn new() -> Self {
        Logs {
            lines_per_second: 10,
        }
    }

    /// Sets the maximum number of lines of each kind per second. With 0 only the lines `left_out` are written. Default:
    /// 10.
    #[must_use]
    pub const fn lines_per_second(mut self, lines: u32) -> Self {
        self.lines_per_second = lines;
        self
    }

    /// Returns the listener. Its clones share its bounds; a second call creates another listener.
    pub fn event_sink(self) -> EventSink {
        let listener = Listener::new(self.lines_per_second);
        let began = std::time::Instant::now();
        EventSink::to(move |event| {
            // A `u32` holds 136 years of seconds.
            listener.write(event, || began.elapsed().as_secs() as u32);
        })
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self::new()
    }
}
