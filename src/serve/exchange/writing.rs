//! The response on its way out: what the peer has taken of it, and how fast.

use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::task::Waker;

use super::Exchange;
use crate::events::Timeout;
use crate::serve::clock::Tick;
use crate::serve::pace::Verdict;
use crate::serve::timeouts::Timeouts;

/// How many windows of a minimum rate the first one of a response counts for: the kernel's buffers hide
/// about one.
pub(in crate::serve) const FIRST_WINDOW: u32 = 2;

/// HTTP/2: what h2 holds of a response because the client's window is shut, or because it is not its turn.
#[derive(Default)]
pub(super) struct Untaken {
    bytes: AtomicUsize,
    /// The response's end waits for the bytes to be taken; its waker is with `cross`.
    awaited: AtomicBool,
    /// What the connection had moved when the stream last did.
    stall_turn: AtomicU64,
    /// What the connection had moved when the stream's window of time began, and when that was.
    window_turn: AtomicU64,
    window_at: AtomicU64,
}

/// HTTP/2: how far the connection has come, to tell a stream whose window is shut from one that waits for its
/// turn on a slow connection.
pub(in crate::serve) struct Turn {
    /// What the transport has taken.
    pub moved: u64,
    /// How much it takes for each stream to have had a turn.
    pub round: u64,
    /// Since when the transport takes everything at once; `NEVER` when it does not.
    pub free_since: Tick,
}

impl Turn {
    /// Whether a stream that has been waiting since `at`, when the transport had moved `moved`, must have had
    /// its turn.
    fn was_had(&self, at: Tick, moved: u64) -> bool {
        self.free_since <= at || self.moved.wrapping_sub(moved) > self.round
    }
}

impl Exchange {
    pub(super) fn write_pace_deadline(&self) -> Tick {
        if !self.write.waits() {
            return Tick::NEVER;
        }
        self.terms(|terms| {
            let stall = self.write.stall_deadline(terms.effective_write_stall());
            let window = self.write.window_deadline(terms.effective_min_write_rate());
            stall.min(window).min(self.write.look_deadline())
        })
    }

    /// Whether the peer takes the response too slowly.
    pub(super) fn write_pace_expired(&self, now: Tick, turn: Option<&Turn>) -> Option<Timeout> {
        if !self.write.waits() {
            return None;
        }
        self.write.look(now);
        if self.http2 && !self.holds_data() {
            // It was taken on another thread just when the wait began.
            self.write.forget_wait();
            return None;
        }
        let of = |terms: &Timeouts| {
            (
                terms.effective_write_stall(),
                terms.effective_min_write_rate(),
            )
        };
        let (stall, rate) = self.terms(of);
        if self.write.stall_deadline(stall) <= now {
            let moved = self.untaken.stall_turn.load(Relaxed);
            if turn.is_none_or(|turn| turn.was_had(self.write.since(), moved)) {
                return Some(Timeout::WriteStall);
            }
            // What the connection has moved goes on counting: the stream's turn comes, or it is passed over.
            self.write.progress(now);
        }
        let rate = rate.filter(|_| self.write.window_deadline(rate) <= now)?;
        if let Some(turn) = turn {
            let (at, moved) = (&self.untaken.window_at, &self.untaken.window_turn);
            if self.write.in_window() && !turn.was_had(Tick(at.load(Relaxed)), moved.load(Relaxed))
            {
                self.write.extend(now, rate);
                return None;
            }
            at.store(now.0, Relaxed);
            moved.store(turn.moved, Relaxed);
        }
        match self.write.judge(now, rate, stall.is_some(), FIRST_WINDOW) {
            Verdict::TooSlow => Some(Timeout::MinWriteRate),
            Verdict::Goes => None,
        }
    }

    // === HTTP/2 ===

    /// h2 is being given so many bytes.
    pub fn give(&self, bytes: usize) {
        if self.untaken.bytes.fetch_add(bytes, SeqCst) == 0 && self.write.waits() {
            self.write.forget_wait();
        }
    }

    /// h2 holds something of the response.
    pub fn holds_data(&self) -> bool {
        self.untaken.bytes.load(SeqCst) > 0
    }

    /// The peer is waited for, to take what h2 holds. `moved`: by the connection.
    pub fn peer_is_to_take(&self, now: impl FnOnce() -> Tick, moved: u64) {
        if self.holds_data() && !self.write.waits() {
            self.untaken.stall_turn.store(moved, Relaxed);
            self.write.begin_wait(now());
        }
    }

    /// The connection has taken so many bytes of the stream. Called by the connection's task.
    pub fn taken(&self, bytes: usize, now: impl FnOnce() -> Tick, moved: u64) {
        self.write.count(bytes);
        let was = self.untaken.bytes.load(Relaxed);
        if self.write.waits() {
            if was > bytes {
                self.untaken.stall_turn.store(moved, Relaxed);
                self.write.progress(now());
            } else {
                self.write.end_wait(now());
            }
        }
        self.release(bytes);
    }

    /// h2 does not hold these bytes any more: taken, or given up with their stream.
    pub fn release(&self, bytes: usize) {
        if bytes > 0
            && self.untaken.bytes.fetch_sub(bytes, SeqCst) == bytes
            && self.untaken.awaited.swap(false, SeqCst)
        {
            let taker = self.cross().taker.take();
            if let Some(taker) = taker {
                taker.wake();
            }
        }
    }

    /// Whether h2 holds nothing more; else the task is woken when that is so.
    pub fn poll_taken(&self, waker: &Waker) -> bool {
        if !self.holds_data() {
            return true;
        }
        self.cross().taker = Some(waker.clone());
        self.untaken.awaited.store(true, SeqCst);
        // Looked at again behind the flag: either the release above has seen it, or it is seen here.
        !self.holds_data()
    }

    /// Whether the peer has been waited for in this response, or its answer is one for want of time.
    pub fn is_slow(&self) -> bool {
        self.write.has_waited() || self.write_expired()
    }
}
