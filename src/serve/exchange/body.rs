//! The state of a request's body: its progress, its reader and its unread rest.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::Waker;

use super::discard::Discard;
use crate::events::TimeoutKind;
use crate::serve::config::fixed::READER_RETURNS;
use crate::serve::time::Tick;
use crate::sync::set_waker;

/// A request's body, as the owner of the exchange and its reader share it.
pub(crate) struct RequestBodyState {
    /// `true` until the body is read to its end or given up.
    open: AtomicBool,
    /// `true` once a leftover has been inspected.
    inspected: AtomicBool,
    /// HTTP/2: `true` while the reader waits for the client to receive `100 Continue`.
    continue_asked: AtomicBool,
    /// The held call, as a [`HeldCall`].
    held_call: AtomicU8,
}

/// A call of hyper's that has to wait.
///
/// hyper goes on to the next request once it has handed over the last of a body and has written the response. How that
/// body ended is known only when it has been read: until then the next call is held, and if the body did not end
/// exactly, the call is never made.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum HeldCall {
    None = 0,
    Held = 1,
    /// The socket has taken all earlier output: hyper polls this call's response in its next turn.
    Pollable = 2,
}

impl RequestBodyState {
    pub(crate) fn new() -> Self {
        RequestBodyState {
            open: AtomicBool::new(false),
            inspected: AtomicBool::new(false),
            continue_asked: AtomicBool::new(false),
            held_call: AtomicU8::new(HeldCall::None as u8),
        }
    }

    /// Begins another request.
    pub(crate) fn begin(&self, has_body: bool) {
        self.open.store(has_body, Relaxed);
        self.inspected.store(false, Relaxed);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// Records that the body was read to its end.
    pub(crate) fn end(&self) {
        self.open.store(false, Relaxed);
    }

    /// Returns `true` the first time it is called for a request.
    pub(crate) fn first_inspection(&self) -> bool {
        !self.inspected.swap(true, Relaxed)
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

/// A stall to be confirmed: the reader was woken so that it asks for the body again.
pub(crate) struct Suspect {
    pub kind: TimeoutKind,
    pub at: Tick,
    /// The number of body bytes that had come.
    pub moved: u64,
}

/// The part of a body's state that needs the exchange's lock.
#[derive(Default)]
pub(crate) struct Reading {
    reader: Option<Waker>,
    /// A stall that counts only if the reader is still waiting.
    suspect: Option<Suspect>,
    /// A body that was dropped unread.
    leftover: Option<Discard>,
}

impl Reading {
    /// Begins another request.
    pub(crate) fn begin(&mut self) {
        self.reader = None;
        self.suspect = None;
        self.leftover = None;
    }

    /// Stores the waker of the body's reader.
    pub(crate) fn wait(&mut self, reader: &Waker) {
        set_waker(&mut self.reader, reader);
    }

    pub(crate) fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    pub(crate) fn suspect(&mut self, suspect: Suspect) {
        self.suspect = Some(suspect);
    }

    /// Notes that the reader waits, at `now` and with `moved` bytes of the body there. Returns the deadline that has
    /// passed, if there was a suspicion and the reader asked in time.
    pub(crate) fn confirm(
        &mut self,
        now: impl FnOnce() -> Tick,
        moved: u64,
    ) -> Option<TimeoutKind> {
        let suspect = self.suspect.take()?;
        let asked = now().since(suspect.at) <= READER_RETURNS;
        (asked && moved == suspect.moved).then_some(suspect.kind)
    }

    pub(crate) fn leave(&mut self, leftover: Discard) {
        self.leftover = Some(leftover);
    }

    /// Returns `true` for a leftover that has not been polled yet, and so wakes no task.
    pub(crate) fn has_new_leftover(&self) -> bool {
        self.leftover.as_ref().is_some_and(Discard::is_new)
    }

    pub(crate) fn take_leftover(&mut self) -> Option<Discard> {
        self.leftover.take()
    }
}
