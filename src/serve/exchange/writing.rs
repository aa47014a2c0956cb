//! The response's way out on HTTP/2, and the peer's progress in taking it.

use std::task::Waker;

use super::request::Exchange;
use crate::serve::time::Tick;

impl Exchange {
    /// Counts bytes that are given to h2.
    pub(crate) fn give(&self, bytes: usize) {
        if self.untaken.add(bytes) && self.write.waits() {
            self.write.forget_wait();
        }
    }

    /// Returns `true` while h2 holds data of the response.
    pub(crate) fn holds_data(&self) -> bool {
        self.untaken.bytes() > 0
    }

    /// Begins the wait for the peer to take the data that h2 holds. `moved` is the connection's progress.
    pub(crate) fn peer_is_to_take(&self, now: impl FnOnce() -> Tick, moved: u64) {
        if self.holds_data() && !self.write.waits() {
            self.untaken.stream_moved(moved);
            self.write.begin_wait(now());
        }
    }

    /// Counts bytes of the stream that the connection has taken. The connection's task calls this.
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

    /// Releases bytes that h2 no longer holds: taken, or given up with their stream.
    pub(crate) fn release(&self, bytes: usize) {
        if self.untaken.remove(bytes) {
            let taker = self.shared().taker.take();
            if let Some(taker) = taker {
                taker.wake();
            }
        }
    }

    /// Returns `true` if h2 holds nothing more; otherwise the task is woken when that is so.
    pub(crate) fn poll_taken(&self, waker: &Waker) -> bool {
        if !self.holds_data() {
            return true;
        }
        self.shared().taker = Some(waker.clone());
        self.untaken.set_awaited();
        // Read again after the flag is set: either the release above has seen the flag, or the change is seen here.
        !self.holds_data()
    }

    /// Returns `true` if the peer has been waited for in this response, or the response itself is due to a timeout.
    pub(crate) fn is_slow(&self) -> bool {
        self.write.has_waited() || self.write_expired()
    }
}
