//! The response on its way out on HTTP/2: what the peer has taken of it.

use std::task::Waker;

use super::request::Exchange;
use crate::serve::time::Tick;

impl Exchange {
    /// h2 is being given so many bytes.
    pub(crate) fn give(&self, bytes: usize) {
        if self.untaken.add(bytes) && self.write.waits() {
            self.write.forget_wait();
        }
    }

    /// h2 holds something of the response.
    pub(crate) fn holds_data(&self) -> bool {
        self.untaken.bytes() > 0
    }

    /// The peer is waited for, to take what h2 holds. `moved`: by the connection.
    pub(crate) fn peer_is_to_take(&self, now: impl FnOnce() -> Tick, moved: u64) {
        if self.holds_data() && !self.write.waits() {
            self.untaken.stream_moved(moved);
            self.write.begin_wait(now());
        }
    }

    /// The connection has taken so many bytes of the stream. Called by the connection's task.
    pub(crate) fn taken(&self, bytes: usize, now: impl FnOnce() -> Tick, moved: u64) {
        self.write.count(bytes);
        if self.write.waits() {
            if self.untaken.bytes() > bytes {
                self.untaken.stream_moved(moved);
                self.write.progress(now());
            } else {
                self.write.end_wait(now());
            }
        }
        self.release(bytes);
    }

    /// h2 does not hold these bytes any more: taken, or given up with their stream.
    pub(crate) fn release(&self, bytes: usize) {
        if self.untaken.remove(bytes) {
            let taker = self.cross().taker.take();
            if let Some(taker) = taker {
                taker.wake();
            }
        }
    }

    /// Whether h2 holds nothing more; else the task is woken when that is so.
    pub(crate) fn poll_taken(&self, waker: &Waker) -> bool {
        if !self.holds_data() {
            return true;
        }
        self.cross().taker = Some(waker.clone());
        self.untaken.set_awaited();
        // Looked at again behind the flag: either the release above has seen it, or it is seen here.
        !self.holds_data()
    }

    /// Whether the peer has been waited for in this response, or its answer is one for want of time.
    pub(crate) fn is_slow(&self) -> bool {
        self.write.has_waited() || self.write_expired()
    }
}
