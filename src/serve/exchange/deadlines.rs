//! The deadlines of one request, except those that follow the peer's pace.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::serve::time::Tick;

/// A deadline that a handler can move.
#[derive(Clone, Copy)]
pub(crate) enum Movable {
    Read,
    Write,
    ResponseHead,
}

/// The deadlines of the parts of one request, and which have passed; `NEVER` means no deadline.
pub(crate) struct RequestDeadlines {
    header: AtomicU64,
    read: AtomicU64,
    write: AtomicU64,
    response_head: AtomicU64,
    read_expired: AtomicBool,
    write_expired: AtomicBool,
}

impl RequestDeadlines {
    pub(crate) fn new() -> Self {
        let never = || AtomicU64::new(Tick::NEVER.0);
        RequestDeadlines {
            header: never(),
            read: never(),
            write: never(),
            response_head: never(),
            read_expired: AtomicBool::new(false),
            write_expired: AtomicBool::new(false),
        }
    }

    /// Begins another request.
    pub(crate) fn begin(&self, read: Tick, write: Tick, response_head: Tick) {
        self.read.store(read.0, Relaxed);
        self.write.store(write.0, Relaxed);
        self.response_head.store(response_head.0, Relaxed);
        self.read_expired.store(false, Relaxed);
        self.write_expired.store(false, Relaxed);
    }

    /// Returns the deadline of the head, of the discard of a body's rest, or of a lingering close.
    pub(crate) fn header(&self) -> Tick {
        Tick(self.header.load(Relaxed))
    }

    pub(crate) fn set_header(&self, at: Tick) {
        self.header.store(at.0, Relaxed);
    }

    /// Brings the head's deadline forward.
    pub(crate) fn hasten_header(&self, at: Tick) {
        self.header.fetch_min(at.0, Relaxed);
    }

    pub(crate) fn read(&self) -> Tick {
        Tick(self.read.load(Relaxed))
    }

    pub(crate) fn write(&self) -> Tick {
        Tick(self.write.load(Relaxed))
    }

    /// Records that the write deadline has passed, and gives the substitute response until `grace`.
    pub(crate) fn expire_write(&self, grace: Tick) {
        self.write_expired.store(true, Relaxed);
        self.write.store(grace.0, Relaxed);
    }

    /// Ends the write deadline: the response is sent.
    pub(crate) fn end_write(&self) {
        self.write.store(Tick::NEVER.0, Relaxed);
    }

    pub(crate) fn write_expired(&self) -> bool {
        self.write_expired.load(Relaxed)
    }

    pub(crate) fn expire_read(&self) {
        self.read_expired.store(true, Relaxed);
    }

    pub(crate) fn read_expired(&self) -> bool {
        self.read_expired.load(Relaxed)
    }

    pub(crate) fn response_head(&self) -> Tick {
        Tick(self.response_head.load(Relaxed))
    }

    /// Moves the deadline of the response's head, unless the handler moves it meanwhile.
    pub(crate) fn extend_response_head(&self, from: Tick, to: Tick) {
        let deadline = &self.response_head;
        let _ = deadline.compare_exchange(from.0, to.0, Relaxed, Relaxed);
    }

    /// Sets a deadline and returns the previous one.
    pub(crate) fn set(&self, which: Movable, at: Tick) -> Tick {
        let deadline = match which {
            Movable::Read => &self.read,
            Movable::Write => &self.write,
            Movable::ResponseHead => &self.response_head,
        };
        Tick(deadline.swap(at.0, Relaxed))
    }
}
