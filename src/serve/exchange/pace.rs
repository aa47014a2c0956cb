//! How fast a peer moves bytes while the server waits for it: the stalls and the minimum rates.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::min_rate::MinRate;
use crate::serve::time::Tick;

/// A timer that fires later than this was not the peer's fault: the runtime was starved, or the process
/// was stopped.
const LATE: Duration = Duration::from_secs(1);

/// The steps in which a receive buffer that is full opens its window again: a 16th of it on Linux (of 128 KiB), half of
/// a small one, a segment at least.
const STEP: u64 = 8 * 1024;

/// How soon after a write is blocked the kernel is asked again.
const FIRST_LOOK: Duration = Duration::from_millis(200);

/// One direction of one request or connection: what moved, and since when the server waits for more.
///
/// The words are `Relaxed`. Who moves the bytes writes the first four, who holds the timer the last two;
/// each is right by itself whatever the other is at, and an old value delays a verdict by one look.
pub(crate) struct Pace {
    /// Bytes that have moved.
    moved: AtomicU64,
    /// How many of them the kernel still holds: the peer has not had them yet. Looked at where the server waits.
    held: AtomicU64,
    /// There is something to see for [`look_deadline`](Self::look_deadline).
    looks: AtomicBool,
    /// Since when the server has been waiting for the next byte; `NEVER` when it is not.
    since: AtomicU64,
    /// The time waited so far, without the wait under way.
    waited: AtomicU64,
    /// Now less the time waited, while waiting: what is `x` after it has been waited for `x`.
    origin: AtomicU64,
    /// The time waited at which the window under way ends; 0 before the first one.
    window_end: AtomicU64,
    /// What had moved when it began.
    window_base: AtomicU64,
    /// What it has of the surplus of the one before.
    window_lent: AtomicU64,
}

/// What became of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on, or another has begun.
    Goes,
    TooSlow,
}

impl Pace {
    pub(crate) const fn new() -> Self {
        Pace {
            moved: AtomicU64::new(0),
            held: AtomicU64::new(0),
            looks: AtomicBool::new(false),
            since: AtomicU64::new(Tick::NEVER.0),
            waited: AtomicU64::new(0),
            origin: AtomicU64::new(0),
            window_end: AtomicU64::new(0),
            window_base: AtomicU64::new(0),
            window_lent: AtomicU64::new(0),
        }
    }

    /// Another request begins: it has its own grace. A wait that is under way goes on as the one before.
    pub(crate) fn reset(&self) {
        if self.waits() {
            return;
        }
        if self.waited.load(Relaxed) != 0 {
            self.waited.store(0, Relaxed);
        }
        if self.window_end.load(Relaxed) != 0 {
            self.window_end.store(0, Relaxed);
        }
    }

    /// Begins anew with the grace.
    pub(crate) fn restart(&self, now: Tick) {
        self.waited.store(0, Relaxed);
        self.origin.store(now.0, Relaxed);
        self.window_end.store(0, Relaxed);
    }

    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Relaxed)
    }

    /// So many bytes have moved. One task at a time calls this.
    pub(crate) fn count(&self, bytes: usize) {
        let moved = self.moved.load(Relaxed).wrapping_add(bytes as u64);
        self.moved.store(moved, Relaxed);
    }

    /// The kernel holds so many of the bytes. Returns whether the peer has had some since this was last called in
    /// the same wait.
    pub(crate) fn hold(&self, bytes: u64) -> bool {
        let before = self.held.swap(bytes, Relaxed);
        self.waits() && bytes < before
    }

    /// When to look at what the kernel holds for the first time in a wait. The peer's kernel takes what it has room for
    /// at once: seen later, that would look like a peer that had gone on reading until then.
    pub(crate) fn look_deadline(&self) -> Tick {
        match self.looks.load(Relaxed) {
            true => self.since().after(Some(FIRST_LOOK)),
            false => Tick::NEVER,
        }
    }

    /// The look has been taken, if it was due.
    pub(crate) fn look(&self, now: Tick) {
        if self.look_deadline() <= now {
            self.looks.store(false, Relaxed);
        }
    }

    /// What the peer has had.
    fn arrived(&self) -> u64 {
        self.moved().wrapping_sub(self.held.load(Relaxed))
    }

    /// How much of a window's surplus the next one may have. A kernel tells its peer that it has read something in
    /// steps, so that a window may lack what the one before it has too much.
    fn step(&self) -> u64 {
        match self.held.load(Relaxed) {
            0 => 0,
            _ => STEP,
        }
    }

    pub(crate) fn since(&self) -> Tick {
        Tick(self.since.load(Relaxed))
    }

    pub(crate) fn waits(&self) -> bool {
        self.since() != Tick::NEVER
    }

    /// The server waits for the peer from `now` on. Not to be called while it waits already.
    pub(crate) fn begin_wait(&self, now: Tick) {
        let origin = now.0.saturating_sub(self.waited.load(Relaxed));
        self.origin.store(origin, Relaxed);
        self.since.store(now.0, Relaxed);
        self.looks.store(self.held.load(Relaxed) > 0, Relaxed);
    }

    /// Something has moved, and the server goes on waiting.
    pub(crate) fn progress(&self, now: Tick) {
        self.since.store(now.0, Relaxed);
    }

    /// The server does not wait any more.
    pub(crate) fn end_wait(&self, now: Tick) {
        let waited = now.0.saturating_sub(self.origin.load(Relaxed));
        self.since.store(Tick::NEVER.0, Relaxed);
        self.waited.store(waited, Relaxed);
    }

    /// As [`end_wait`](Self::end_wait), where the time is not known: what was waited is not charged.
    pub(crate) fn forget_wait(&self) {
        self.since.store(Tick::NEVER.0, Relaxed);
    }

    /// When it will have been waited for too long for one byte.
    pub(crate) fn stall_deadline(&self, stall: Option<Duration>) -> Tick {
        match self.since() {
            Tick::NEVER => Tick::NEVER,
            since => since.after(stall),
        }
    }

    /// When the window under way ends, if the wait goes on.
    pub(crate) fn window_deadline(&self, rate: Option<MinRate>) -> Tick {
        let (true, Some(rate)) = (self.waits(), rate) else {
            return Tick::NEVER;
        };
        let end = match self.window_end.load(Relaxed) {
            0 => rate.grace_length(),
            end => Duration::from_nanos(end),
        };
        Tick(self.origin.load(Relaxed)).after(Some(end))
    }

    /// Looks at a window whose deadline has come, and begins the next one.
    ///
    /// `stalls`: a window in which nothing moved is the stall deadline's to judge. `first`: how many
    /// windows the first one counts for.
    pub(crate) fn judge(&self, now: Tick, rate: MinRate, stalls: bool, first: u32) -> Verdict {
        let due = self.window_deadline(Some(rate));
        let before = self.window_end.load(Relaxed);
        let moved = self.arrived();
        let brought = moved.wrapping_sub(self.window_base.load(Relaxed));
        let lent = self.window_lent.load(Relaxed);
        let slow = before != 0
            && now.since(due) <= LATE
            && brought.saturating_add(lent) < rate.bytes_per_window()
            && !(stalls && brought == 0);
        if slow {
            return Verdict::TooSlow;
        }
        let windows = if before == 0 { first } else { 1 };
        let length = rate.window_length().saturating_mul(windows);
        let waited = Tick(now.0.saturating_sub(self.origin.load(Relaxed)));
        // Never 0, which is what stands for "not begun".
        let end = waited.after(Some(length)).0.max(1);
        self.window_end.store(end, Relaxed);
        self.window_base.store(moved, Relaxed);
        let surplus = match before {
            0 => 0,
            _ => brought
                .saturating_add(lent)
                .saturating_sub(rate.bytes_per_window()),
        };
        self.window_lent.store(self.step().min(surplus), Relaxed);
        Verdict::Goes
    }

    /// Whether a window is under way, rather than the grace.
    pub(crate) fn in_window(&self) -> bool {
        self.window_end.load(Relaxed) != 0
    }

    /// Whether the peer is, or has been, waited for.
    pub(crate) fn has_waited(&self) -> bool {
        self.waits() || self.waited.load(Relaxed) != 0
    }

    /// Lets the window under way run on: it could not be judged fairly.
    pub(crate) fn extend(&self, now: Tick, rate: MinRate) {
        let waited = Tick(now.0.saturating_sub(self.origin.load(Relaxed)));
        let end = waited.after(Some(rate.window_length())).0.max(1);
        self.window_end.store(end, Relaxed);
    }
}
