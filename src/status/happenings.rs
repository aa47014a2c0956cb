//! What happened lately, and how often each thing did.

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::events::{Closed, Event, RequestInfo};
use crate::sync::Lock;
use crate::text;

/// The length of the list.
pub(super) const KEPT: usize = 100;

/// What happens again within this time is counted instead of listed again.
const FOLD: Duration = Duration::from_secs(1);

/// The longest text of an error or a request, in bytes.
const LONGEST: usize = 200;

/// The listener behind [`StatusPage::events`](super::StatusPage::events).
///
/// Connections come and go at any rate: one relaxed increment each. Everything else is rare, or an
/// attack: a lock for as long as it takes to find the same in a list of at most [`KEPT`].
pub(super) struct Happenings {
    opened: AtomicU64,
    closed: [AtomicU64; CLOSED.len()],
    version: AtomicU64,
    happened: Notify,
    rare: Lock<Rare>,
}

/// The names of `closed`; a deadline that passed is told by name among the rare things.
const CLOSED: [&str; 7] = [
    "ended",
    "timeout",
    "error",
    "drained",
    "cut",
    "client_gone",
    "panicked",
];

/// What the lock is for.
#[derive(Default)]
pub(super) struct Rare {
    /// By the last time, the latest last.
    pub list: VecDeque<Happening>,
    /// There are few.
    pub counters: Vec<Counter>,
}

/// How often something happened.
pub(super) struct Counter {
    pub kind: &'static str,
    pub what: &'static str,
    pub count: u64,
    /// How many entries of the list are of it.
    listed: usize,
}

/// One thing, or the same thing in a row.
pub(super) struct Happening {
    pub kind: &'static str,
    pub what: &'static str,
    /// Of the last time.
    pub detail: String,
    /// Of the last time.
    pub peer: Option<SocketAddr>,
    pub count: u64,
    pub first: Instant,
    pub last: Instant,
}

impl Happenings {
    pub fn new() -> Self {
        Happenings {
            opened: AtomicU64::new(0),
            closed: Default::default(),
            version: AtomicU64::new(0),
            happened: Notify::new(),
            rare: Lock::default(),
        }
    }

    pub fn tell(&self, event: &Event<'_>) {
        match event {
            // Relaxed: gauges that order nothing.
            Event::Opened { .. } => {
                self.opened.fetch_add(1, Ordering::Relaxed);
            }
            Event::Closed { why, .. } => {
                let index = match why {
                    Closed::Ended => 0,
                    Closed::Timeout(_) => 1,
                    Closed::Error => 2,
                    Closed::Drained => 3,
                    Closed::Cut => 4,
                    Closed::ClientGone => 5,
                    Closed::Panicked => 6,
                };
                self.closed[index].fetch_add(1, Ordering::Relaxed);
            }
            Event::ClientAddress { .. } => {}
            Event::Phase(phase) => self.note("phase", phase.as_str(), &"", None),
            Event::Drained { took, .. } => {
                self.note("phase", "drained", &format_args!("in {took:.1?}"), None);
            }
            Event::Readiness { ready } => {
                let what = if *ready { "ready" } else { "not_ready" };
                self.note("readiness", what, &"", None);
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

    /// One entry of the list that counts as so many.
    fn note_counted(
        &self,
        kind: &'static str,
        what: &'static str,
        detail: &dyn Display,
        peer: Option<SocketAddr>,
        count: u64,
    ) {
        // Before the lock is taken: an error is foreign code, which may take its time, panic, or emit an event
        // itself.
        let text = text::line(detail, LONGEST);
        let now = Instant::now();
        self.rare().note(kind, what, text, peer, count, now);
        // Release: who sees the number sees the list, through its lock anyway.
        self.version.fetch_add(1, Ordering::Release);
        // Without a watcher: one more increment.
        self.happened.notify_waiters();
    }

    /// Nothing in it can be half done that matters to a page.
    pub fn rare(&self) -> MutexGuard<'_, Rare> {
        self.rare.lock()
    }

    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self
            .closed
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        CLOSED.into_iter().zip(counts)
    }

    /// Another number after everything that was listed.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Waits until the version is another than `seen`.
    pub async fn since(&self, seen: u64) {
        loop {
            let mut happened = pin!(self.happened.notified());
            // Enrol first, look afterwards.
            happened.as_mut().enable();
            if self.version() != seen {
                return;
            }
            happened.await;
        }
    }
}

impl Rare {
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
        // Details are no part of what is the same: a peer that causes another error each time must not
        // flush the list. Only the requests that were cut, which nobody outside can cause, are told apart.
        let same = |one: &Happening| {
            one.kind == kind && one.what == what && (kind != "cut" || one.detail == text)
        };
        let recent = self.list.iter().rev();
        let recent = recent.take_while(|one| now.saturating_duration_since(one.last) <= FOLD);
        let again = recent.enumerate().find(|(_, one)| same(one));
        let again = again.map(|(back, _)| self.list.len() - 1 - back);
        let mut happening = match again.and_then(|at| self.list.remove(at)) {
            Some(one) => one,
            None => {
                self.make_room();
                self.counters[counter].listed += 1;
                Happening {
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
        happening.count += 1;
        happening.last = now;
        happening.peer = peer;
        happening.detail = text;
        self.list.push_back(happening);
    }

    /// Forgets the oldest of what there is most of: what comes every few seconds does not flush what came
    /// once.
    fn make_room(&mut self) {
        if self.list.len() < KEPT {
            return;
        }
        let most = self.counters.iter().map(|one| one.listed).max();
        let counters = &self.counters;
        let counter = |of: &Happening| {
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

/// The request; its peer stands in a column of its own.
fn named<'a>(request: &RequestInfo<'a>) -> RequestInfo<'a> {
    RequestInfo {
        peer: None,
        ..*request
    }
}
