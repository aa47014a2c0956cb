use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use crate::serve::time::Tick;

/// HTTP/2: what h2 holds of a response because the client's window is shut, or because it is not its turn.
#[derive(Default)]
pub(crate) struct Untaken {
    bytes: AtomicUsize,
    /// The response's end waits for the bytes to be taken; its waker is with the exchange.
    awaited: AtomicBool,
    /// What the connection had moved when the stream last did.
    stall_turn: AtomicU64,
    /// What the connection had moved when the stream's window of time began, and when that was.
    window_turn: AtomicU64,
    window_at: AtomicU64,
}

impl Untaken {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }

    /// So many bytes more. Returns whether there were none.
    pub(crate) fn add(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, SeqCst) == 0
    }

    /// So many bytes less. Returns whether there are none any more, and that is waited for.
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

    /// Whether the stream has had its turn since it last moved, at `at`.
    pub(crate) fn had_turn(&self, at: Tick, turn: &Turn) -> bool {
        turn.was_had(at, self.stall_turn.load(Relaxed))
    }

    pub(crate) fn window_begins(&self, now: Tick, turn: &Turn) {
        self.window_at.store(now.0, Relaxed);
        self.window_turn.store(turn.moved, Relaxed);
    }

    /// Whether the stream has had its turn since its window of time began.
    pub(crate) fn had_turn_in_window(&self, turn: &Turn) -> bool {
        let began = Tick(self.window_at.load(Relaxed));
        turn.was_had(began, self.window_turn.load(Relaxed))
    }
}

/// HTTP/2: how far the connection has come, to tell a stream whose window is shut from one that waits for its
/// turn on a slow connection.
pub(crate) struct Turn {
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
