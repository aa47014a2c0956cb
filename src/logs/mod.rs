//! Writes what the library tells as [`tracing`](https://docs.rs/tracing) events (feature `tracing`).
//!
//! ```
//! use lameduck::{Lifecycle, logs};
//!
//! let lifecycle = Lifecycle::new(); // with `serve`: shutdown.handle().lifecycle()
//! let stack = lameduck::stack(&lifecycle).events(logs::events());
//! ```
//!
//! One listener serves all: give clones of it to the stack and to the server, so that they share its bounds
//! (`lameduck::serve(listener, app).events(events.clone())`).
//!
//! # The lines
//!
//! Targets, levels, and the names, fields and values below are an API: they change as types do. The target is
//! `lameduck`; each line has the field `event`, and a message for people, which is none of the API.
//!
//! | `event` | level | further fields | bound |
//! |---|---|---|---|
//! | `phase` | info | `phase` | |
//! | `drained` | info | `took_ms`, `cut` (how many requests) | |
//! | `readiness` | info | `ready` | yes |
//! | `cut` | warn | `state`, `age_ms`, those of the request | |
//! | `more_cut` | warn | `count` (how many requests were cut beside the oldest 100, which have a line each) | |
//! | `service_error` | error | `error`, those of the request | yes |
//! | `accept_error` | warn | `error`, `pause_ms` (only if it pauses) | yes |
//! | `rate_limit_fallback` | warn | `error` | yes |
//! | `rate_limit_restored` | info | | yes |
//! | `rate_limit_full` | warn | | yes |
//! | `refused` | info: `draining`, `handler_timeout`, `request_timeout`, `gateway_timeout`; else debug | `reason` ([`Reason`](crate::reply::Reason)), `status`, those of the request | for each reason |
//! | `timeout` | debug | `kind` ([`Timeout`](crate::events::Timeout)), those of the request | for each kind |
//! | `client_address` | debug, flagged ones only | `verdict` ([`Verdict`](crate::Verdict)) | for each verdict |
//! | `grpc_timeout_malformed` | debug | | yes |
//! | `opened` | trace | `peer` | |
//! | `closed` | trace | `why` ([`Closed`](crate::events::Closed)), `peer` | |
//! | `left_out` | as the lines that it stands for | `of` (their `event`), `name` (their reason, kind or verdict), `lines` | |
//!
//! The fields of a request are `method`, `path` (without the query), `route`, `client`, `peer` and `request_id`; what
//! is not known of it is missing ([`RequestInfo`](crate::events::RequestInfo)). `peer` is missing on a Unix socket. Durations are whole milliseconds. An `error` is followed by its sources.
//!
//! The level says who has to look. What the service does to its clients is seen at the default INFO: it moves
//! on, it is too slow, it turns them away because it leaves. What clients bring upon themselves, and what
//! anybody on the internet can bring about (a slow head, a body that is too large, more requests than the
//! quota has) is for whoever asks for it; it is counted by the metrics. There is no line for each request: that
//! is the [access log](crate::access_log).
//!
//! # Lines of others
//!
//! The HTTP/2 library that the server stands on, h2, logs by itself, without a bound: a WARN for each acknowledgement of
//! a PING that was never sent, for one, and any client can send some 100,000 of these a second. A filter should have
//! `h2=error`, as that of `examples/full_service` has.
//!
//! # The bound
//!
//! Of each kind of line at most 10 a second are written ([`Logs::lines_per_second`]), whoever hammers: a kind is
//! an `event` with its reason, kind or verdict. How many were left out is told by one line `left_out`, before
//! the first line of that kind in a later second, or before the next change of phase: there is no timer,
//! so the number may come late. Seconds are those of the listener's clock, so around the turn of
//! one there may be twice as many.
//!
//! Unbounded are: changes of phase, of which there are four, and the end of the drain; what is cut, once in a process and at most 101
//! lines; and `opened` and `closed`, whose level is for those
//! who want them all.
//!
//! A line that nobody wants, by the subscriber's maximum level, costs a comparison. One that is left out costs
//! a clock reading and an atomic addition. Nothing is locked or allocated, but by a line that has an error, or
//! by the subscriber.
//!
//! # A reader that does not read
//!
//! Lines are written where things happen: on the runtime's workers, in the accept loop, in the shutdown. A
//! subscriber that writes to standard output, which is a pipe in a container, stops all of them when the reader of
//! the pipe stops to read. Give it a writer that does not block and drops what does not fit: `log_writer.rs` of
//! the full service, or tracing-appender's `NonBlockingBuilder::lossy(true)`.
//!
//! # What is not in them
//!
//! No query, no header's value and no body. Control characters in what others wrote (paths, errors) are
//! replaced and long ones are cut, so that nothing in a line can pretend to be another one, whatever
//! format the subscriber writes.

mod kinds;
mod listener;
mod meter;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
#[cfg(test)]
pub(crate) mod written;

use listener::Listener;
pub(crate) use listener::wanted;

use crate::events::Events;

/// The listener that writes `tracing` events, with its defaults; see the [module](self).
pub fn events() -> Events {
    Logs::new().events()
}

/// The settings of the listener that writes `tracing` events; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Logs {
    lines_per_second: u32,
}

impl Logs {
    /// At most 10 lines a second of each kind.
    pub const fn new() -> Self {
        Logs {
            lines_per_second: 10,
        }
    }

    /// How many lines of each kind are written in a second. With 0 there are only those that say how many were
    /// left out. Default: 10.
    #[must_use]
    pub const fn lines_per_second(mut self, lines: u32) -> Self {
        self.lines_per_second = lines;
        self
    }

    /// The listener. Its clones share its bounds; a second call makes another one.
    pub fn events(self) -> Events {
        let listener = Listener::new(self.lines_per_second);
        let began = std::time::Instant::now();
        Events::to(move |event| {
            // 136 years of seconds.
            listener.hear(event, || began.elapsed().as_secs() as u32);
        })
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self::new()
    }
}
