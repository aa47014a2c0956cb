//! Recent events, and counters of each kind.

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::events::{CloseReason, Event, RequestInfo};
use crate::sync::Lock;
use crate::text;

/// The maximum length of the list.
pub(super) const CAPACITY: usize = 100;

/// The time within which a repetition is counted in its entry instead of listed again.
const COALESCE_WINDOW: Duration = Duration::from_secs(1);

/// The maximum length of an error's or a request's text, in bytes.
const MAX_LEN: usize = 200;

/// The listener behind [`StatusPage::events`](super::StatusPage::events).
///
/// Connections come and go at any rate and cost one relaxed increment each. All other events are rare, or an attack:
/// they take a lock for as long as it takes to find the entry in a list of at most [`CAPACITY`].
pub(super) struct RecentEvents {
    opened: AtomicU64,
    closed: [AtomicU64; CLOSED.len()],
    version: AtomicU64,
    changed: Notify,
    log: Lock<EventLog>,
}

/// The reasons in `closed`; a passed deadline is listed by name in the log.
const CLOSED: [&str; 7] = [
    "ended",
    "timeout",
    "error",
    "drained",
    "cut",
    "client_gone",
    "panicked",
];

/// The state behind the lock.
#[derive(Default)]
pub(super) struct EventLog {
    /// The entries, ordered by their last time, the latest last.
    pub list: VecDeque<Entry>,
    /// The counters, of which there are few.
    pub counters: Vec<Counter>,
}

/// A counter of one kind of event.
pub(super) struct Counter {
    pub kind: &'static str,
    pub what: &'static str,
    pub count: u64,
    /// The number of its entries in the list.
    listed: usize,
}

/// An event, or a run of the same event.
pub(super) struct Entry {
    pub kind: &'static str,
    pub what: &'static str,
    /// The detail of the last occurrence.
    pub detail: String,
    /// The peer of the last occurrence.
    pub peer: Option<SocketAddr>,
    pub count: u64,
    pub first: Instant,
    pub last: Instant,
}

impl RecentEvents {
    pub(crate) fn new() -> Self {
        RecentEvents {
            opened: AtomicU64::new(0),
            closed: Default::default(),
            version: AtomicU64::new(0),
            changed: Notify::new(),
            log: Lock::default(),
        }
    }

    pub(crate) fn record(&self, event: &Event<'_>) {
        match event {
            // Relaxed: gauges that order nothing.
            Event::Opened { .. } => {
                self.opened.fetch_add(1, Ordering::Relaxed);
            }
            Event::Closed { why, .. } => {
                let index = match why {
                    CloseReason::Ended => 0,
                    CloseReason::Timeout(_) => 1,
                    CloseReason::Error => 2,
                    CloseReason::Drained => 3,
                    CloseReason::Cut => 4,
                    CloseReason::ClientGone => 5,
                    CloseReason::Panicked => 6,
                };
                self.closed[index].fetch_add(1, Ordering::Relaxed);
            }
            Event::ClientAddress { .. } => {}
            Event::Phase(phase) => self.note("phase", phase.as_str(), &"", None),
            Event::Drained { took, .. } => {
                self.note("phase", "drained", &format_args!("in {took:.1?}"), None);
            }
            Event::Signal { signal, effect, .. } => self.note("signal", effect, signal, None),
            Event::Readiness { ready, failed } => {
                let what = if *ready { "ready" } else { "not_ready" };
                self.note("readiness", what, failed, None);
            }
            Event::Timeout { kind, request } => {
                self.note("timeout", kind.as_str(), &named(request), request.peer);
            }
            Event::ClientGone { request, .. } => {
                self.note("client_gone", "request", &named(request), request.peer);
            }
            Event::Refused { reason, request } => {
                self.note("refused", reason.as_str(), &named(request), request.peer);
            }
            Event::MoreCut { count } => {
                let (detail, count) = (format!("and {count} more"), *count as u64);
                self.note_counted("cut", "request", &detail, None, count);
            }
            Event::Cut { request, state, .. } => match request.method {
                Some(_) => self.note("cut", "request", &named(request), request.peer),
                None => self.note("cut", "request", state, request.peer),
            },
            Event::MalformedGrpcTimeout => self.note("ignored", "grpc_timeout", &"", None),
            Event::RateLimitFull => self.note("rate_limit", "full", &"", None),
            Event::RateLimitFallback { error } => self.note("rate_limit", "fallback", error, None),
            Event::RateLimitRestored => self.note("rate_limit", "restored", &"", None),
            Event::ServiceError { error, request } => {
                let detail = format!("{error} {}", named(request));
                self.note("error", "service", &detail, request.peer);
            }
            Event::Panicked { message, request } => {
                let detail = format!("{message} {}", named(request));
                self.note("error", "panic", &detail, request.peer);
            }
            Event::WorkerEnded { name, end, .. } => {
                let detail = format!("{name}: {}", end.as_str());
                self.note("error", "worker", &detail, None);
            }
            Event::Misconfigured { advice } => self.note("error", "misconfigured", advice, None),
            Event::AcceptError { error, pause: None } => self.note("error", "accept", error, None),
            Event::AcceptError {
                error,
                pause: Some(pause),
            } => {
                let detail = format!("{error}; pausing for {pause:?}");
                self.note("error", "accept", &detail, None);
            }
        }
    }

    fn note(
        &self,
        kind: &'static str,
        what: &'static str,
        detail: &dyn Display,
        peer: Option<SocketAddr>,
    ) {
        self.note_counted(kind, what, detail, peer, 1);
    }

    /// Adds an entry that counts as `count` occurrences.
    fn note_counted(
        &self,
        kind: &'static str,
        what: &'static str,
        detail: &dyn Display,
        peer: Option<SocketAddr>,
        count: u64,
    ) {
        // Formatted before the lock is taken: an error is foreign code, which may take its time, panic, or emit an
        // event itself.
        let text = text::line(detail, MAX_LEN);
        let now = Instant::now();
        self.log().note(kind, what, text, peer, count, now);
        // Release: a reader of the version sees the list, through its lock anyway.
        self.version.fetch_add(1, Ordering::Release);
        // Without a watcher it costs one increment.
        self.changed.notify_waiters();
    }

    /// Locks the log. No partial update in it matters to a page.
    pub(crate) fn log(&self) -> MutexGuard<'_, EventLog> {
        self.log.lock()
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self
            .closed
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        CLOSED.into_iter().zip(counts)
    }

    /// Returns the version, which increases after each entry.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Waits until the version differs from `seen`.
    pub(crate) async fn since(&self, seen: u64) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Enable the waiter first, then read.
            changed.as_mut().enable();
            if self.version() != seen {
                return;
            }
            changed.await;
        }
    }
}

impl EventLog {
    fn note(
        &mut self,
        kind: &'static str,
        what: &'static str,
        text: String,
        peer: Option<SocketAddr>,
        count: u64,
        now: Instant,
    ) {
        let counter = |one: &Counter| one.kind == kind && one.what == what;
        let counter = match self.counters.iter().position(counter) {
            Some(at) => at,
            None => {
                self.counters.push(Counter {
                    kind,
                    what,
                    count: 0,
                    listed: 0,
                });
                self.counters.len() - 1
            }
        };
        self.counters[counter].count += count;
        // Details are not compared: a peer that causes a different error each time must not flush the list. Only cut
        // requests, which no client can cause, are listed one by one.
        let same = |one: &Entry| {
            one.kind == kind && one.what == what && (kind != "cut" || one.detail == text)
        };
        let recent = self.list.iter().rev();
        let recent =
            recent.take_while(|one| now.saturating_duration_since(one.last) <= COALESCE_WINDOW);
        let again = recent.enumerate().find(|(_, one)| same(one));
        let again = again.map(|(back, _)| self.list.len() - 1 - back);
        let mut entry = match again.and_then(|at| self.list.remove(at)) {
            Some(one) => one,
            None => {
                self.make_room();
                self.counters[counter].listed += 1;
                Entry {
                    kind,
                    what,
                    detail: String::new(),
                    peer,
                    count: 0,
                    first: now,
                    last: now,
                }
            }
        };
        entry.count += 1;
        entry.last = now;
        entry.peer = peer;
        entry.detail = text;
        self.list.push_back(entry);
    }

    /// Drops the oldest entry of the most frequent kind, so that an event that occurs every few seconds does not flush
    /// one that occurred once.
    fn make_room(&mut self) {
        if self.list.len() < CAPACITY {
            return;
        }
        let most = self.counters.iter().map(|one| one.listed).max();
        let counters = &self.counters;
        let counter = |of: &Entry| {
            let same = |one: &Counter| one.kind == of.kind && one.what == of.what;
            counters.iter().position(same)
        };
        let of_most = |&at: &usize| Some(counters[at].listed) == most;
        let found = self.list.iter().enumerate().find_map(|(at, one)| {
            let counter = counter(one).filter(of_most)?;
            Some((at, counter))
        });
        if let Some((at, counter)) = found {
            self.list.remove(at);
            self.counters[counter].listed -= 1;
        }
    }
}

/// Returns the request without its peer, which has a column of its own.
fn named<'a>(request: &RequestInfo<'a>) -> RequestInfo<'a> {
    RequestInfo {
        peer: None,
        ..*request
    }
}
