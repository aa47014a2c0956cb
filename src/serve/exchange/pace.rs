//! The pace at which a peer moves bytes while the server waits for it: stalls and minimum rates.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::min_rate::MinRate;
use crate::serve::config::fixed::{FIRST_KERNEL_LOOK, LATE_TIMER};
use crate::serve::time::Tick;

/// The steps in which a full receive buffer opens its window again: a 16th of it on Linux (of 128 KiB), half of a small
/// one, at least a segment.
const STEP: u64 = 8 * 1024;

/// One direction of one request or connection: its bytes, and the server's wait for more.
///
/// The words are `Relaxed`. The mover of the bytes writes the first four, the holder of the timer the last two. Each is
/// valid by itself whatever the others hold, and an old value delays a verdict by one look.
pub(crate) struct Pace {
    /// The number of bytes that have moved.
    moved: AtomicU64,
    /// The part of them that the kernel still holds: the peer has not received it yet. Updated when the server waits.
    held: AtomicU64,
    /// `true` if [`look_deadline`](Self::look_deadline) has something to look at.
    looks: AtomicBool,
    /// The time since when the server has been waiting for the next byte; `NEVER` while it is not waiting.
    since: AtomicU64,
    /// The time waited so far, without the wait under way.
    waited: AtomicU64,
    /// Now less the time waited, during a wait: this plus `x` is the moment at which `x` has been waited in all.
    origin: AtomicU64,
    /// The time waited at which the window under way ends; 0 before the first one.
    window_end: AtomicU64,
    /// The number of bytes that had moved when the window began.
    window_base: AtomicU64,
    /// The part of the previous window's surplus that this one may use.
    window_lent: AtomicU64,
}

/// The verdict on a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The window goes on, or another has begun.
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

    /// Begins another request, with its own grace. A wait that is under way goes on as before.
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

    /// Counts bytes that have moved. One task at a time calls this.
    pub(crate) fn count(&self, bytes: usize) {
        let moved = self.moved.load(Relaxed).wrapping_add(bytes as u64);
        self.moved.store(moved, Relaxed);
    }

    /// Records that the kernel holds `bytes` of them. Returns `true` if the peer has received some since the last call
    /// in the same wait.
    pub(crate) fn hold(&self, bytes: u64) -> bool {
        let before = self.held.swap(bytes, Relaxed);
        self.waits() && bytes < before
    }

    /// Returns the time of the first look, in a wait, at the bytes that the kernel holds. The peer's kernel takes what
    /// it has room for at once: seen later, that would look like a peer that had gone on reading until then.
    pub(crate) fn look_deadline(&self) -> Tick {
        match self.looks.load(Relaxed) {
            true => self.since().after(Some(FIRST_KERNEL_LOOK)),
            false => Tick::NEVER,
        }
    }

    /// Records that the look has been taken, if it was due.
    pub(crate) fn look(&self, now: Tick) {
        if self.look_deadline() <= now {
            self.looks.store(false, Relaxed);
        }
    }

    /// Returns the number of bytes that the peer has received.
    fn arrived(&self) -> u64 {
        self.moved().wrapping_sub(self.held.load(Relaxed))
    }

    /// Returns the part of a window's surplus that the next one may use. A kernel announces in steps that its peer has
    /// read, so that one window may lack what the previous one has in excess.
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

    /// Begins a wait for the peer at `now`. Must not be called during a wait.
    pub(crate) fn begin_wait(&self, now: Tick) {
        let origin = now.0.saturating_sub(self.waited.load(Relaxed));
        self.origin.store(origin, Relaxed);
        self.since.store(now.0, Relaxed);
        self.looks.store(self.held.load(Relaxed) > 0, Relaxed);
    }

    /// Records progress; the server goes on waiting.
    pub(crate) fn progress(&self, now: Tick) {
        self.since.store(now.0, Relaxed);
    }

    /// Ends the wait.
    pub(crate) fn end_wait(&self, now: Tick) {
        let waited = now.0.saturating_sub(self.origin.load(Relaxed));
        self.since.store(Tick::NEVER.0, Relaxed);
        self.waited.store(waited, Relaxed);
    }

    /// Ends the wait as [`end_wait`](Self::end_wait) does, where the time is not known: the time waited is not charged.
    pub(crate) fn forget_wait(&self) {
        self.since.store(Tick::NEVER.0, Relaxed);
    }

    /// Returns the time at which the wait for one byte becomes a stall.
    pub(crate) fn stall_deadline(&self, stall: Option<Duration>) -> Tick {
        match self.since() {
            Tick::NEVER => Tick::NEVER,
            since => since.after(stall),
        }
    }

    /// Returns the time at which the window under way ends, if the wait goes on.
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

    /// Judges a window whose deadline has passed, and begins the next one.
    ///
    /// If `stalls`, a window in which nothing moved is left to the stall deadline. The first window counts as `first`
    /// windows.
    pub(crate) fn judge(&self, now: Tick, rate: MinRate, stalls: bool, first: u32) -> Verdict {
        let due = self.window_deadline(Some(rate));
        let before = self.window_end.load(Relaxed);
        let moved = self.arrived();
        let brought = moved.wrapping_sub(self.window_base.load(Relaxed));
        let lent = self.window_lent.load(Relaxed);
        let slow = before != 0
            && now.since(due) <= LATE_TIMER
            && brought.saturating_add(lent) < rate.bytes_per_window()
            && !(stalls && brought == 0);
        if slow {
            return Verdict::TooSlow;
        }
        let windows = if before == 0 { first } else { 1 };
        let length = rate.window_length().saturating_mul(windows);
        let waited = Tick(now.0.saturating_sub(self.origin.load(Relaxed)));
        // Never 0, which stands for "not begun".
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

    /// Returns `true` if a window is under way, rather than the grace.
    pub(crate) fn in_window(&self) -> bool {
        self.window_end.load(Relaxed) != 0
    }

    /// Returns `true` if the peer is, or has been, waited for.
    pub(crate) fn has_waited(&self) -> bool {
        self.waits() || self.waited.load(Relaxed) != 0
    }

    /// Extends the window under way, which could not be judged fairly.
    pub(crate) fn extend(&self, now: Tick, rate: MinRate) {
        let waited = Tick(now.0.saturating_sub(self.origin.load(Relaxed)));
        let end = waited.after(Some(rate.window_length())).0.max(1);
        self.window_end.store(end, Relaxed);
    }
}
