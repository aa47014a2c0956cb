use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::conn_info::Verdict;
use crate::events::{Closed, Event, Timeout};
use crate::phase::Phase;
use crate::reply::Reason;

/// What the rest of the library told, counted.
#[derive(Debug, Default)]
pub(super) struct Told {
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
    pub cut: AtomicU64,
    pub readiness_changes: AtomicU64,
    drained: OnceLock<Duration>,
    phase: AtomicU8,
    draining: OnceLock<Instant>,
    over: OnceLock<Instant>,
}

/// One counter for each value of a label.
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

    /// Each name with its count.
    pub fn named(&self, names: [&'static str; N]) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        names.into_iter().zip(counts)
    }
}

/// A label's values, from the first scrape on, and the place of each. The match has no other arm, so that a
/// value that is new must be told here.
macro_rules! values {
    ($type:ident, $index:ident, $all:ident: $count:literal = [$($value:ident),+ $(,)?]) => {
        pub(super) const $all: [&str; $count] = [$($type::$value.as_str()),+];

        fn $index(value: $type) -> usize {
            // As many as there are constants, in their order.
            enum At { $($value),+ }
            match value { $($type::$value => At::$value as usize),+ }
        }
    };
}

values!(Timeout, timeout, TIMEOUTS: 6 = [ReadHeader, Read, Write, Idle, ReadStall, WriteStall]);
values!(Reason, reason, REASONS: 11 = [
    Draining, HandlerTimeout, BodyTooSlow, HeadTooSlow, NoHost, Internal, RequestTimeout, GatewayTimeout,
    BodyTooLarge, RateLimited, ClientUnknown,
]);
values!(Verdict, verdict, VERDICTS: 8 = [
    Peer, NoHeader, Forwarded, AllTrusted, Unreadable, TooMany, TooFew, Unknown,
]);
values!(Phase, phase, PHASES: 5 = [Starting, Ready, LameDuck, Draining, Closed]);

/// Why connections ended: the four that are no deadline, then the deadlines.
pub(super) const CLOSED: [&str; 4 + TIMEOUTS.len()] = {
    let mut names = [""; 4 + TIMEOUTS.len()];
    names[0] = Closed::Ended.as_str();
    names[1] = Closed::Error.as_str();
    names[2] = Closed::Drained.as_str();
    names[3] = Closed::Cut.as_str();
    let mut at = 0;
    while at < TIMEOUTS.len() {
        names[4 + at] = TIMEOUTS[at];
        at += 1;
    }
    names
};

fn closed(why: Closed) -> usize {
    match why {
        Closed::Ended => 0,
        Closed::Error => 1,
        Closed::Drained => 2,
        Closed::Cut => 3,
        Closed::Timeout(kind) => 4 + timeout(kind),
    }
}

fn add(counter: &AtomicU64) {
    // Relaxed: a count publishes nothing.
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Told {
    pub fn hear(&self, event: &Event<'_>) {
        match event {
            Event::Phase(phase) => self.moved(*phase),
            Event::Drained { took, .. } => {
                self.drained.get_or_init(|| *took);
            }
            Event::Readiness { .. } => add(&self.readiness_changes),
            Event::Opened { .. } => add(&self.accepted),
            Event::Closed { why, .. } => self.closed.count(closed(*why)),
            Event::Timeout { kind, .. } => self.timeouts.count(timeout(*kind)),
            Event::Refused { reason: why } => self.refusals.count(reason(*why)),
            Event::ClientAddress { verdict: found } => self.addresses.count(verdict(*found)),
            Event::MalformedGrpcTimeout => add(&self.malformed_grpc_timeouts),
            Event::RateLimitFull => add(&self.rate_limit_full),
            Event::RateLimitFallback { .. } => add(&self.rate_limit_fallbacks),
            Event::RateLimitRestored => add(&self.rate_limit_restored),
            Event::ServiceError { .. } => add(&self.service_errors),
            Event::AcceptError { .. } => add(&self.accept_errors),
            Event::Cut { .. } => add(&self.cut),
        }
    }

    fn moved(&self, to: Phase) {
        if to >= Phase::Draining {
            self.draining.get_or_init(Instant::now);
        }
        if to == Phase::Closed {
            self.over.get_or_init(Instant::now);
        }
        self.phase.fetch_max(to as u8, Ordering::Relaxed);
    }

    /// The place of the phase that was told last.
    pub fn phase(&self) -> usize {
        usize::from(self.phase.load(Ordering::Relaxed))
    }

    /// How long the drain took, when it is over.
    pub fn drained(&self) -> Option<Duration> {
        self.drained.get().copied()
    }

    /// When the drain began, and when it was over.
    pub fn drain(&self) -> (Option<Instant>, Option<Instant>) {
        (self.draining.get().copied(), self.over.get().copied())
    }
}

/// The place of a phase in [`PHASES`].
pub(super) fn phase_index(now: Phase) -> usize {
    phase(now)
}
