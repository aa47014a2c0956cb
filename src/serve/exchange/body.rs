//! What is known of a request's body: whether it is over, who waits for it, and what is left of it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::Waker;
use std::time::Duration;

use super::discard::Discard;
use crate::events::Timeout;
use crate::serve::time::Tick;
use crate::sync::set_waker;

/// A reader that is asked whether it still waits, and does not answer for so long, does not.
const ASKED: Duration = Duration::from_secs(1);

/// A request's body, as the owner of the exchange and its reader share it.
pub(crate) struct RequestBodyState {
    /// It is not over: not read to its end, not given up.
    open: AtomicBool,
    /// A leftover has been looked at once.
    looked: AtomicBool,
    /// HTTP/2: the reader waits for the client to hear `100 Continue`.
    continue_asked: AtomicBool,
    /// [`HeldCall`]
    held_call: AtomicU8,
}

/// A call of hyper's that has to wait.
///
/// hyper goes on to the next request when it has handed over the last of a body and has written the answer.
/// How that body ended is known when it has been read: until then the next call is held, and if the body did
/// not end exactly it is never made.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum HeldCall {
    None = 0,
    Held = 1,
    /// All that was written before it is with the socket: hyper polls its answer in its next turn.
    Pollable = 2,
}

impl RequestBodyState {
    pub(crate) fn new() -> Self {
        RequestBodyState {
            open: AtomicBool::new(false),
            looked: AtomicBool::new(false),
            continue_asked: AtomicBool::new(false),
            held_call: AtomicU8::new(HeldCall::None as u8),
        }
    }

    /// Another request begins.
    pub(crate) fn begin(&self, has_body: bool) {
        self.open.store(has_body, Relaxed);
        self.looked.store(false, Relaxed);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// It was read to its end.
    pub(crate) fn end(&self) {
        self.open.store(false, Relaxed);
    }

    /// `true` the first time it is asked for a request.
    pub(crate) fn first_look(&self) -> bool {
        !self.looked.swap(true, Relaxed)
    }

    pub(crate) fn ask_to_continue(&self) {
        self.continue_asked.store(true, Relaxed);
    }

    pub(crate) fn takes_continue(&self) -> bool {
        self.continue_asked.swap(false, Relaxed)
    }

    pub(crate) fn hold_call(&self) {
        self.held_call.store(HeldCall::Held as u8, Relaxed);
    }

    pub(crate) fn call_begins(&self) {
        self.held_call.store(HeldCall::None as u8, Relaxed);
    }

    pub(crate) fn holds_call(&self) -> bool {
        self.held_call.load(Relaxed) != HeldCall::None as u8
    }

    pub(crate) fn call_is_pollable(&self) -> bool {
        self.held_call.load(Relaxed) == HeldCall::Pollable as u8
    }

    pub(crate) fn written_before_call(&self) {
        if self.holds_call() {
            self.held_call.store(HeldCall::Pollable as u8, Relaxed);
        }
    }
}

/// The body has stalled, and its reader was woken to be asked for it again.
pub(crate) struct Suspect {
    pub kind: Timeout,
    pub at: Tick,
    /// How much of the body had come.
    pub moved: u64,
}

/// The part of a body's state that needs the exchange's lock.
#[derive(Default)]
pub(crate) struct Reading {
    reader: Option<Waker>,
    /// A stall that is one if the reader still waits.
    suspect: Option<Suspect>,
    /// A body that was dropped unread.
    leftover: Option<Discard>,
}

impl Reading {
    /// Another request begins.
    pub(crate) fn begin(&mut self) {
        self.reader = None;
        self.suspect = None;
        self.leftover = None;
    }

    /// Keeps who waits for the body.
    pub(crate) fn wait(&mut self, reader: &Waker) {
        set_waker(&mut self.reader, reader);
    }

    pub(crate) fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    pub(crate) fn suspect(&mut self, suspect: Suspect) {
        self.suspect = Some(suspect);
    }

    /// The reader waits, at `now` and with so much of the body there: returns the deadline that has passed if it was
    /// suspected, and asked in time.
    pub(crate) fn confirm(&mut self, now: impl FnOnce() -> Tick, moved: u64) -> Option<Timeout> {
        let suspect = self.suspect.take()?;
        let asked = now().since(suspect.at) <= ASKED;
        (asked && moved == suspect.moved).then_some(suspect.kind)
    }

    pub(crate) fn leave(&mut self, leftover: Discard) {
        self.leftover = Some(leftover);
    }

    /// Whether there is a leftover that has not been polled, and so wakes nothing.
    pub(crate) fn has_new_leftover(&self) -> bool {
        self.leftover.as_ref().is_some_and(Discard::is_new)
    }

    pub(crate) fn take_leftover(&mut self) -> Option<Discard> {
        self.leftover.take()
    }
}
