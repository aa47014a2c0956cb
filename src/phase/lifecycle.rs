use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::Phase;
use crate::events::{EventSink, Hub};
use crate::sync::{AtomicU8, AtomicU64, AtomicUsize, Notify, Ordering};

/// A handle to the process's phase. Clones share it.
///
/// Reading it is one atomic load; waiting for it is by notification, never by polling.
#[derive(Clone)]
pub struct Lifecycle {
    shared: Arc<Shared>,
}

struct Shared {
    /// The phase. Only [`Lifecycle::advance`] writes it, and only upwards.
    word: AtomicU8,
    moved: Notify,
    /// The origin of times, which are kept as nanoseconds since then so that they fit a word.
    created: Instant,
    /// The lame-duck window: both words are written before the phase becomes `LameDuck`, and read only after a reader
    /// has seen that phase.
    window_start: AtomicU64,
    window_length: AtomicU64,
    /// The instant at which each phase was entered, set by the thread that moved there.
    entered: [OnceLock<Instant>; 5],
    /// The number of those that answer for the process's health.
    healths: AtomicUsize,
    hub: Arc<Hub>,
    /// The sink of the process's hub.
    sink: EventSink,
}

impl Lifecycle {
    /// Creates a process in [`Phase::Starting`].
    pub fn new() -> Self {
        let created = Instant::now();
        let hub = Arc::<Hub>::default();
        Lifecycle {
            shared: Arc::new(Shared {
                word: AtomicU8::new(Phase::Starting as u8),
                moved: Notify::new(),
                created,
                window_start: AtomicU64::new(0),
                window_length: AtomicU64::new(0),
                entered: std::array::from_fn(|phase| match phase {
                    0 => OnceLock::from(created),
                    _ => OnceLock::new(),
                }),
                healths: AtomicUsize::new(0),
                sink: EventSink::to_hub(hub.clone()),
                hub,
            }),
        }
    }

    /// The number of those that answer for the process's health: one, or their answers differ.
    pub(crate) fn healths(&self) -> &AtomicUsize {
        &self.shared.healths
    }

    /// Returns the current phase.
    #[inline]
    pub fn phase(&self) -> Phase {
        // Acquire: pairs with the Release in `advance`, so that a reader of a phase also sees what was written before
        // it (the lame-duck window).
        Phase::from_word(self.shared.word.load(Ordering::Acquire))
    }

    /// Returns `true` if the process is in service: readiness is 200.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Ready
    }

    /// Moves to `phase` and wakes all waiters. Returns `false` if the process is already there or further on: a phase
    /// never goes back.
    ///
    /// A [`Phase::LameDuck`] entered this way has an empty window; [`lame_duck`](Self::lame_duck) sets its length.
    ///
    /// The shutdown of a served process obeys: it goes on from there to its report, as if called from code.
    /// [`Phase::Closed`] ends everything at once, as a second signal does.
    pub fn advance(&self, phase: Phase) -> bool {
        // AcqRel: Release publishes the window to readers of the word; Acquire orders this move after the one before
        // it. `fetch_max` makes "never back" a property of the word itself, so that two concurrent moves need no lock.
        let before = self.shared.word.fetch_max(phase as u8, Ordering::AcqRel);
        let moved = before < phase as u8;
        if moved {
            // Only the thread that made the move comes here, so the cell is empty.
            let _ = self.shared.entered[phase as usize].set(Instant::now());
            self.shared.moved.notify_waiters();
        }
        moved
    }

    /// Returns the instant at which the process entered `phase`; `None` if it has not, or has skipped it. (And for the
    /// instant between the move and the reading of the clock.)
    ///
    /// ```
    /// use lameduck::{Lifecycle, Phase};
    ///
    /// let lifecycle = Lifecycle::new();
    /// lifecycle.advance(Phase::Draining);
    /// assert!(lifecycle.entered(Phase::Draining) >= lifecycle.entered(Phase::Starting));
    /// assert_eq!(lifecycle.entered(Phase::Ready), None, "skipped");
    /// ```
    pub fn entered(&self, phase: Phase) -> Option<Instant> {
        self.shared.entered[phase as usize].get().copied()
    }

    /// Enters [`Phase::LameDuck`] for a window of this length. The caller ends the window by advancing to
    /// [`Phase::Draining`]; the length sets the pace of [`departure`](Self::departure).
    pub fn lame_duck(&self, window: Duration) -> bool {
        if self.phase() >= Phase::LameDuck {
            return false;
        }
        // Relaxed: `advance` publishes them. Two racing callers may mix their windows; both windows were requested, and
        // only the pace of departures depends on them.
        let now = nanos(self.shared.created.elapsed());
        self.shared.window_start.store(now, Ordering::Relaxed);
        self.shared
            .window_length
            .store(nanos(window), Ordering::Relaxed);
        self.advance(Phase::LameDuck)
    }

    /// Returns the share of responses that should now ask their connection to leave, from 0.0 to 1.0.
    ///
    /// It rises evenly over the first three quarters of the lame-duck window, so that clients do not all reconnect at
    /// once. It stays at 1.0 for the last quarter, so that every active client is notified before the drain begins.
    pub fn departure(&self) -> f64 {
        match self.phase() {
            Phase::Starting | Phase::Ready => 0.0,
            Phase::Draining | Phase::Closed => 1.0,
            Phase::LameDuck => {
                let length = self.shared.window_length.load(Ordering::Relaxed);
                let ramp = length as f64 * 0.75;
                if ramp <= 0.0 {
                    return 1.0;
                }
                let start = self.shared.window_start.load(Ordering::Relaxed);
                let since = nanos(self.shared.created.elapsed()).saturating_sub(start);
                (since as f64 / ramp).min(1.0)
            }
        }
    }

    /// Returns the rest of the lame-duck window; zero outside of it.
    pub fn lame_duck_left(&self) -> Duration {
        if self.phase() != Phase::LameDuck {
            return Duration::ZERO;
        }
        let start = self.shared.window_start.load(Ordering::Relaxed);
        let end = start.saturating_add(self.shared.window_length.load(Ordering::Relaxed));
        Duration::from_nanos(end.saturating_sub(nanos(self.shared.created.elapsed())))
    }

    /// Waits until the phase is at least `phase`, and returns the current phase.
    pub async fn reached(&self, phase: Phase) -> Phase {
        loop {
            let moved = self.shared.moved.notified();
            let mut moved = std::pin::pin!(moved);
            // Enable the waiter first, then read: a move between a read and a later registration would be missed.
            moved.as_mut().enable();
            let now = self.phase();
            if now >= phase {
                return now;
            }
            moved.await;
        }
    }

    /// Adds listeners to the process's hub of [events](crate::events). They receive the events of everything created
    /// from this lifecycle (layers, health, and with `serve` servers and the shutdown), before and after this call. A
    /// listener is added only once, and never removed.
    pub fn listen(&self, events: EventSink) {
        events.add_to(&self.shared.hub);
    }

    /// Returns a sink to the process's hub, for components that are not created from the lifecycle.
    pub fn event_sink(&self) -> EventSink {
        self.shared.sink.clone()
    }

    /// Waits until the process begins to leave ([`Phase::LameDuck`] or later): the moment for an endless stream
    /// (server-sent events, a websocket) to say good-bye.
    pub async fn draining(&self) {
        self.reached(Phase::LameDuck).await;
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lifecycle").field(&self.phase()).finish()
    }
}
