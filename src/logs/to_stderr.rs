//! Warnings and errors on standard error, for a process without a `tracing` subscriber.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use super::ignored::advice;
use super::meter::Meter;
use crate::conn_info::ClientIpSource;
use crate::events::{Event, EventSink};
use crate::stderr;

/// The maximum number of lines per second.
const LINES: u32 = 10;

/// Returns the listener that writes warnings and errors to standard error while no `tracing` subscriber is set.
///
/// Cut requests and misused shutdowns are not among them: the report names the ones, and the others are written there
/// already.
pub(crate) fn without_subscriber() -> EventSink {
    let (meter, began, ignored) = (Meter::default(), Instant::now(), AtomicBool::new(false));
    EventSink::to(move |event| {
        if !is_warning(event) || tracing::dispatcher::has_been_set() {
            return;
        }
        let mut text = format!("lameduck: {event}");
        if let Event::ClientAddress { peer, header, .. } = *event {
            // Relaxed: the flag publishes nothing but itself.
            let Some(peer) = peer.filter(|_| !ignored.swap(true, Relaxed)) else {
                return;
            };
            text = format!("lameduck: {}", advice(peer, header));
        }
        // A `u32` holds 136 years of seconds.
        let measured = meter.count(began.elapsed().as_secs() as u32, LINES);
        if measured.left_out > 0 {
            stderr::line(&format!(
                "lameduck: {} lines were omitted",
                measured.left_out
            ));
        }
        if measured.write {
            stderr::line(&text);
        }
    })
}

fn is_warning(event: &Event<'_>) -> bool {
    match event {
        Event::Readiness { failed, .. } => !failed.is_empty(),
        Event::ClientAddress { source, .. } => *source == ClientIpSource::Ignored,
        Event::ServiceError { .. }
        | Event::Panicked { .. }
        | Event::WorkerEnded { .. }
        | Event::AcceptError { .. }
        | Event::RateLimitFallback { .. }
        | Event::RateLimitFull => true,
        _ => false,
    }
}
