use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::Phase;
use crate::events::{Events, Hub};
use crate::sync::{AtomicU8, AtomicU64, Notify, Ordering};

/// A handle to the process's one phase. Clones share it.
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
    /// Times are kept as nanoseconds since here, so that they fit a word.
    created: Instant,
    /// The lame-duck window: both are written before the word says `LameDuck`, and read only after a
    /// reader has seen it say so.
    window_start: AtomicU64,
    window_length: AtomicU64,
    /// When each phase was entered, by whoever moved there.
    entered: [OnceLock<Instant>; 5],
    hub: Arc<Hub>,
    /// Emits to the hub.
    sink: Events,
}

impl Lifecycle {
    /// A process that is [`Phase::Starting`].
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
                sink: Events::to_hub(hub.clone()),
                hub,
            }),
        }
    }

    /// The phase now.
    #[inline]
    pub fn phase(&self) -> Phase {
        // Acquire: pairs with the Release in `advance`, so that whoever sees a phase also sees what
        // was written before it (the lame-duck window).
        Phase::from_word(self.shared.word.load(Ordering::Acquire))
    }

    /// Whether the process is in service: readiness says 200.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Ready
    }

    /// Moves to `phase` and wakes everyone who waits. Says whether it moved: `false` when the process
    /// is there already or further on, because a phase never goes back.
    ///
    /// A [`Phase::LameDuck`] entered this way has a window of no length; [`lame_duck`](Self::lame_duck)
    /// gives it one.
    pub fn advance(&self, phase: Phase) -> bool {
        // AcqRel: Release publishes the window to readers of the word; Acquire orders this mover
        // after the one before it. `fetch_max` makes "never back" a property of the word itself, so
        // two movers need no lock.
        let before = self.shared.word.fetch_max(phase as u8, Ordering::AcqRel);
        let moved = before < phase as u8;
        if moved {
            // Only the one who moved there comes here, so nobody has set it.
            let _ = self.shared.entered[phase as usize].set(Instant::now());
            self.shared.moved.notify_waiters();
        }
        moved
    }

    /// When the process came to `phase`: `None` if it has not, or has skipped it. (And for the instant
    /// between the move and the reading of the clock.)
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

    /// Enters [`Phase::LameDuck`] for a window of this length. The caller ends the window by
    /// advancing to [`Phase::Draining`]; the length is what [`departure`](Self::departure) goes by.
    pub fn lame_duck(&self, window: Duration) -> bool {
        if self.phase() >= Phase::LameDuck {
            return false;
        }
        // Relaxed: `advance` publishes them. Two racing callers may mix their windows; both are
        // windows that somebody asked for, and only the pace of departures depends on them.
        let now = nanos(self.shared.created.elapsed());
        self.shared.window_start.store(now, Ordering::Relaxed);
        self.shared
            .window_length
            .store(nanos(window), Ordering::Relaxed);
        self.advance(Phase::LameDuck)
    }

    /// How many of the responses given now should ask their connection to leave, from 0.0 to 1.0.
    ///
    /// It rises evenly over the first three quarters of the lame-duck window, so that clients do not
    /// all reconnect at once, and stays at 1.0 for the last quarter, so that a client that is active
    /// has been told before the drain begins.
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

    /// What is left of the lame-duck window; zero outside of it.
    pub fn lame_duck_left(&self) -> Duration {
        if self.phase() != Phase::LameDuck {
            return Duration::ZERO;
        }
        let start = self.shared.window_start.load(Ordering::Relaxed);
        let end = start.saturating_add(self.shared.window_length.load(Ordering::Relaxed));
        Duration::from_nanos(end.saturating_sub(nanos(self.shared.created.elapsed())))
    }

    /// Waits until the phase is at least `phase`, and says which it is then.
    pub async fn reached(&self, phase: Phase) -> Phase {
        loop {
            let moved = self.shared.moved.notified();
            let mut moved = std::pin::pin!(moved);
            // Enrol first, look afterwards: a move between the look and the enrolment would be missed.
            moved.as_mut().enable();
            let now = self.phase();
            if now >= phase {
                return now;
            }
            moved.await;
        }
    }

    /// Adds listeners to the process's hub of [events](crate::events): they hear whatever is made from this lifecycle
    /// (layers, health, and with `serve` servers and the shutdown), before and after this call. A listener that is
    /// there already is not added again; none is ever taken out.
    pub fn listen(&self, events: Events) {
        self.shared.hub.add(&events);
    }

    /// Returns what emits to the process's hub, for what is not made from the lifecycle.
    pub fn event_sink(&self) -> Events {
        self.shared.sink.clone()
    }

    /// Waits until the process has begun to leave ([`Phase::LameDuck`] or later): the moment for a
    /// stream that has no end of its own (server-sent events, a websocket) to say good-bye.
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
