use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::conn_info::ClientIpSource;
use crate::events::{CloseReason, Event, TimeoutKind, WorkerEnd};
use crate::phase::Phase;
use crate::reply::RefusalReason;

/// Counters of the library's events.
#[derive(Debug, Default)]
pub(super) struct EventCounters {
    pub accepted: AtomicU64,
    pub closed: Counts<{ CLOSED.len() }>,
    pub timeouts: Counts<{ TIMEOUTS.len() }>,
    pub refusals: Counts<{ REASONS.len() }>,
    pub addresses: Counts<{ VERDICTS.len() }>,
    pub malformed_grpc_timeouts: AtomicU64,
    pub rate_limit_full: AtomicU64,
    pub rate_limit_fallbacks: AtomicU64,
    pub rate_limit_restored: AtomicU64,
    pub service_errors: AtomicU64,
    pub accept_errors: AtomicU64,
    pub panics: AtomicU64,
    pub workers_ended: Counts<{ WORKER_ENDS.len() }>,
    pub clients_gone: AtomicU64,
    pub cut: AtomicU64,
    pub readiness_changes: AtomicU64,
    drained: OnceLock<Duration>,
    phase: AtomicU8,
    draining: OnceLock<Instant>,
    over: OnceLock<Instant>,
    wired: AtomicBool,
}

/// A set of counters, one per value of a label.
#[derive(Debug)]
pub(super) struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Counts([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Counts<N> {
    fn count(&self, index: usize) {
        if let Some(counter) = self.0.get(index) {
            add(counter);
        }
    }

    /// Returns each name with its count.
    pub(crate) fn named(
        &self,
        names: [&'static str; N],
    ) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        names.into_iter().zip(counts)
    }
}

/// Lists a label's values, so that they are exported from the first scrape on.
macro_rules! values {
    ($all:ident of $type:ident) => {
        pub(super) const $all: [&str; $type::ALL.len()] = {
            let mut names = [""; $type::ALL.len()];
            let mut at = 0;
            while at < names.len() {
                names[at] = $type::ALL[at].as_str();
                at += 1;
            }
            names
        };
    };
}

values!(TIMEOUTS of TimeoutKind);
values!(REASONS of RefusalReason);
values!(VERDICTS of ClientIpSource);
values!(PHASES of Phase);
values!(CLOSED of CloseReason);
pub(super) const WORKER_ENDS: [&str; 3] = ["done", "failed", "panicked"];

fn add(counter: &AtomicU64) {
    // Relaxed: a count publishes no other data.
    counter.fetch_add(1, Ordering::Relaxed);
}

impl EventCounters {
    /// Records that the listener has been taken or follows a hub: from now on a zero means that no event has occurred.
    pub(crate) fn set_wired(&self) {
        self.wired.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_wired(&self) -> bool {
        self.wired.load(Ordering::Relaxed)
    }

    pub(crate) fn record(&self, event: &Event<'_>) {
        match event {
            Event::Phase(phase) => self.moved(*phase),
            Event::Drained { took, .. } => {
                self.drained.get_or_init(|| *took);
            }
            Event::Readiness { .. } => add(&self.readiness_changes),
            Event::Opened { .. } => add(&self.accepted),
            Event::Closed { why, .. } => self.closed.count(why.place()),
            Event::Timeout { kind, .. } => self.timeouts.count(*kind as usize),
            Event::Refused { reason, .. } => self.refusals.count(*reason as usize),
            Event::ClientAddress { source, .. } => self.addresses.count(*source as usize),
            Event::MalformedGrpcTimeout => add(&self.malformed_grpc_timeouts),
            Event::RateLimitFull => add(&self.rate_limit_full),
            Event::RateLimitFallback { .. } => add(&self.rate_limit_fallbacks),
            Event::RateLimitRestored => add(&self.rate_limit_restored),
            Event::ServiceError { .. } => add(&self.service_errors),
            Event::AcceptError { .. } => add(&self.accept_errors),
            Event::Panicked { .. } => add(&self.panics),
            Event::WorkerEnded { end, .. } => self.workers_ended.count(match end {
                WorkerEnd::Done => 0,
                WorkerEnd::Failed(_) => 1,
                WorkerEnd::Panicked => 2,
            }),
            Event::Misconfigured { .. } | Event::Signal { .. } => {}
            Event::ClientGone { .. } => add(&self.clients_gone),
            Event::Cut { .. } => add(&self.cut),
            Event::MoreCut { count } => {
                self.cut.fetch_add(*count as u64, Ordering::Relaxed);
            }
        }
    }

    #[allow(clippy::disallowed_methods)] // once a phase
    fn moved(&self, to: Phase) {
        if to >= Phase::Draining {
            self.draining.get_or_init(Instant::now);
        }
        if to == Phase::Closed {
            self.over.get_or_init(Instant::now);
        }
        self.phase.fetch_max(to as u8, Ordering::Relaxed);
    }

    /// Returns the index of the last phase.
    pub(crate) fn phase(&self) -> usize {
        usize::from(self.phase.load(Ordering::Relaxed))
    }

    /// Returns the duration of the drain once it is over.
    pub(crate) fn drained(&self) -> Option<Duration> {
        self.drained.get().copied()
    }

    /// Returns the instants at which the drain began and ended.
    pub(crate) fn drain(&self) -> (Option<Instant>, Option<Instant>) {
        (self.draining.get().copied(), self.over.get().copied())
    }
}

/// Returns the index of a phase in [`PHASES`].
pub(super) fn phase_index(now: Phase) -> usize {
    now as usize
}
