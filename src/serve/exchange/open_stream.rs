//! An open stream of HTTP/2, and its way from hyper's call of the service to hyper's executor.

use std::cell::RefCell;
use std::sync::Arc;

use super::request::Exchange;
use super::streams::Streams;
use super::untaken::Turn;
use crate::serve::time::Tick;

thread_local! {
    /// hyper calls the service and then hands the stream's future to the executor, on one thread and in
    /// one poll: what the first began waits here for the second. (Not with the streams: another thread
    /// may be executing a tunnel of theirs meanwhile.)
    static BEGUN: RefCell<Option<Arc<OpenStream>>> = const { RefCell::new(None) };
}

fn offer(open: Arc<OpenStream>) {
    drop(BEGUN.replace(Some(open)));
}

/// A stream is open until the last of these is dropped: with its task, or with the last piece of its
/// response if that is later.
pub(crate) struct OpenStream {
    streams: Arc<Streams>,
    pub exchange: Arc<Exchange>,
    slot: usize,
    header_bytes: usize,
}

impl OpenStream {
    /// A request came; its stream's future is about to be executed.
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

    /// Takes what was begun last on this thread, if it is one of `streams`.
    pub(crate) fn claim(streams: &Streams) -> Option<Arc<Self>> {
        let begun = BEGUN.take();
        begun.filter(|open| std::ptr::eq(&*open.streams, streams))
    }

    /// How far the connection has come with what all of its streams write.
    pub(crate) fn turn(&self) -> Turn {
        self.streams.turn()
    }

    /// From here on the client is waited for, if h2 holds something for it.
    pub(crate) fn peer_is_to_take(&self, now: impl FnOnce() -> Tick) {
        self.exchange
            .peer_is_to_take(now, self.streams.transport.moved());
    }

    /// The connection has written so many bytes of the response.
    pub(crate) fn taken(&self, bytes: usize) {
        let streams = &self.streams;
        self.exchange
            .taken(bytes, || streams.now(), streams.transport.moved());
    }

    /// The stream's task is done; what it left with h2 is not.
    pub(crate) fn leave_tail(&self) {
        if !self.exchange.upgraded() && self.exchange.become_tail() {
            self.streams.add_tail();
            // The connection's task has its deadline to keep.
            self.streams.conn.wake();
        }
    }

    /// The answer was to a CONNECT: hyper is about to execute the sending half as a task of its own.
    pub(crate) fn goes_on_as_a_tunnel(self: &Arc<Self>) {
        offer(self.clone());
    }

    /// The sending half has been executed by now, or never will be.
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
