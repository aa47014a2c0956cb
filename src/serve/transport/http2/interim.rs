//! The `100 Continue` of HTTP/2, which hyper does not send.
//!
//! hyper keeps h2's handle of a stream, and its number, to itself. But it calls the service in the order in which
//! streams are opened: when the number of calls equals the number of opened streams, each stream's number is known. (If
//! h2 refused one in between, it is not known; then the client gets no 100, and sends its body after waiting long
//! enough, as RFC 9110, 10.1.1 requires.)

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::inbound::Inbound;
use crate::serve::exchange::{Exchange, State, Streams};

/// HEADERS of five bytes, END_HEADERS: `:status: 100`, as a literal without indexing, so that the compression's state
/// stays as h2 assumes.
const CONTINUE: [u8; 14] = [
    0, 0, 5, 1, 4, 0, 0, 0, 0, // length 5, type HEADERS, END_HEADERS, the stream
    0x08, 3, b'1', b'0', b'0',
];

/// A writer of `100 Continue` for streams whose handlers ask for the body, between two of h2's frames.
#[derive(Default)]
pub(crate) struct Interim {
    expecting: Vec<(u32, Weak<Exchange>)>,
    frame: [u8; CONTINUE.len()],
    /// The number of bytes of the frame that are still to be written.
    left: u8,
    /// `true` if a transport that buffers may still hold the frame.
    unflushed: bool,
}

impl Interim {
    /// Matches the calls of the service with streams, when h2 has taken all input and asks for more.
    pub(crate) fn follow(&mut self, streams: &Streams, inbound: &mut Inbound) {
        let settled = streams.settled.swap(false, Relaxed);
        let (opened, ids) = inbound.opened();
        let calls = streams.calls.load(Relaxed);
        if opened == 0 && calls == 0 {
            return;
        }
        if calls != opened && !settled {
            return;
        }
        let mut unnamed = streams.unnamed.lock();
        if calls == opened {
            for (call, exchange) in unnamed.drain(..) {
                if let Some(id) = ids.get(call as usize) {
                    self.expecting.push((*id, exchange));
                }
            }
        }
        unnamed.clear();
        drop(unnamed);
        streams.calls.store(0, Relaxed);
        inbound.forget_opened();
    }

    /// Writes the interim responses asked for. h2 must be between two frames.
    pub(crate) fn poll<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_whole(io, cx))?;
            // A head that hyper has may be written next: the interim response comes too late.
            let waits = |exchange: &Arc<Exchange>| exchange.state() == State::Handler;
            let mut asked = None;
            self.expecting.retain(|(id, exchange)| {
                let Some(exchange) = exchange.upgrade().filter(waits) else {
                    return false;
                };
                if asked.is_some() || !exchange.takes_continue() {
                    return true;
                }
                asked = Some(*id);
                false
            });
            let Some(id) = asked else {
                break;
            };
            self.frame = CONTINUE;
            self.frame[5..9].copy_from_slice(&id.to_be_bytes());
            self.left = CONTINUE.len() as u8;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.expecting.is_empty() && !self.unflushed
    }

    /// Writes a frame that has begun to its end.
    pub(crate) fn poll_whole<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left > 0 {
            let at = self.frame.len() - usize::from(self.left);
            match ready!(Pin::new(&mut *io).poll_write(cx, &self.frame[at..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.left -= u8::try_from(length).unwrap_or(self.left),
            }
        }
        Poll::Ready(Ok(()))
    }
}
