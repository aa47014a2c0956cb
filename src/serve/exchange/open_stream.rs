//! An open stream of HTTP/2, between hyper's call of the service and hyper's executor.

use std::cell::RefCell;
use std::sync::Arc;

use super::request::Exchange;
use super::streams::Streams;
use super::untaken::Turn;
use crate::serve::time::Tick;

thread_local! {
    /// hyper calls the service and then hands the stream's future to the executor, on one thread and in one poll: the
    /// value that the first began waits here for the second. (It is not kept with the streams: another thread may be
    /// executing a tunnel of theirs meanwhile.)
    static PENDING_STREAM: RefCell<Option<Arc<OpenStream>>> = const { RefCell::new(None) };
}

fn offer(open: Arc<OpenStream>) {
    drop(PENDING_STREAM.replace(Some(open)));
}

/// A handle that keeps a stream open until the last one is dropped: with the stream's task, or with the last piece of
/// its response if that is later.
pub(crate) struct OpenStream {
    streams: Arc<Streams>,
    pub exchange: Arc<Exchange>,
    slot: usize,
    header_bytes: usize,
}

impl OpenStream {
    /// Begins a stream for a request; its future is about to be executed.
    pub(crate) fn begin(streams: &Arc<Streams>, header_bytes: usize) -> Arc<Self> {
        let (exchange, slot) = streams.enter(header_bytes);
        let open = Arc::new(OpenStream {
            streams: streams.clone(),
            exchange,
            slot,
            header_bytes,
        });
        offer(open.clone());
        open
    }

    /// Takes the stream that was begun last on this thread, if it belongs to `streams`.
    pub(crate) fn claim(streams: &Streams) -> Option<Arc<Self>> {
        let begun = PENDING_STREAM.take();
        begun.filter(|open| std::ptr::eq(&*open.streams, streams))
    }

    /// Returns the connection's progress with the output of all its streams.
    pub(crate) fn turn(&self) -> Turn {
        self.streams.turn()
    }

    /// Begins the wait for the client, if h2 holds data for it.
    pub(crate) fn peer_is_to_take(&self, now: impl FnOnce() -> Tick) {
        self.exchange
            .peer_is_to_take(now, self.streams.transport.moved());
    }

    /// Counts bytes of the response that the connection has written.
    pub(crate) fn taken(&self, bytes: usize) {
        let streams = &self.streams;
        self.exchange
            .taken(bytes, || streams.now(), streams.transport.moved());
    }

    /// Records that the stream's task is done, although h2 still holds a part of the response.
    pub(crate) fn leave_tail(&self) {
        if !self.exchange.upgraded() && self.exchange.become_tail() {
            self.streams.add_tail();
            // The connection's task must arm its deadline.
            self.streams.conn.wake();
        }
    }

    /// Records that the response was to a CONNECT: hyper is about to execute the sending half as a task of its own.
    pub(crate) fn become_tunnel(self: &Arc<Self>) {
        offer(self.clone());
    }

    /// Records that the sending half has been executed by now, or never will be.
    pub(crate) fn tunnel_has_begun(&self) {
        if self.exchange.upgraded() {
            drop(OpenStream::claim(&self.streams));
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let tail = self.exchange.is_tail();
        self.streams.leave(self.slot, self.header_bytes, tail);
    }
}
