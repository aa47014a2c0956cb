use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use crate::serve::time::Tick;

/// HTTP/2: the part of a response that h2 holds because the client's window is shut, or because the stream's turn has
/// not come.
#[derive(Default)]
pub(crate) struct Untaken {
    bytes: AtomicUsize,
    /// `true` if the response's end waits for the bytes to be taken; its waker is with the exchange.
    awaited: AtomicBool,
    /// The connection's progress when the stream last moved.
    stall_turn: AtomicU64,
    /// The connection's progress when the stream's window of time began, and the time of that.
    window_turn: AtomicU64,
    window_at: AtomicU64,
}

impl Untaken {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }

    /// Adds bytes. Returns `true` if there were none before.
    pub(crate) fn add(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, SeqCst) == 0
    }

    /// Removes bytes. Returns `true` if none are left and a task waits for that.
    pub(crate) fn remove(&self, bytes: usize) -> bool {
        bytes > 0
            && self.bytes.fetch_sub(bytes, SeqCst) == bytes
            && self.awaited.swap(false, SeqCst)
    }

    pub(crate) fn set_awaited(&self) {
        self.awaited.store(true, SeqCst);
    }

    pub(crate) fn stream_moved(&self, turn: u64) {
        self.stall_turn.store(turn, Relaxed);
    }

    /// Returns `true` if the stream has had its turn since it last moved, at `at`.
    pub(crate) fn had_turn(&self, at: Tick, turn: &Turn) -> bool {
        turn.was_had(at, self.stall_turn.load(Relaxed))
    }

    pub(crate) fn window_begins(&self, now: Tick, turn: &Turn) {
        self.window_at.store(now.0, Relaxed);
        self.window_turn.store(turn.moved, Relaxed);
    }

    /// Returns `true` if the stream has had its turn since its window of time began.
    pub(crate) fn had_turn_in_window(&self, turn: &Turn) -> bool {
        let began = Tick(self.window_at.load(Relaxed));
        turn.was_had(began, self.window_turn.load(Relaxed))
    }
}

/// HTTP/2: the connection's progress, which distinguishes a stream whose window is shut from one that waits for its
/// turn on a slow connection.
pub(crate) struct Turn {
    /// The number of bytes that the transport has taken.
    pub moved: u64,
    /// The number of bytes after which each stream has had a turn.
    pub round: u64,
    /// The time since when the transport takes everything at once; `NEVER` while it does not.
    pub free_since: Tick,
}

impl Turn {
    /// Returns `true` if a stream that has been waiting since `at`, when the transport had moved `moved`, must have had
    /// its turn.
    fn was_had(&self, at: Tick, moved: u64) -> bool {
        self.free_since <= at || self.moved.wrapping_sub(moved) > self.round
    }
}
