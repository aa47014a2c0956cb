//! The response on its way to hyper, and on HTTP/2 to the socket.

use std::fmt;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::exchange::Exchange;
use super::h2::OpenStream;
use crate::reply::ReplyBody;
use crate::track::{End, Guard, TrackedBody};

/// The most that HTTP/2 is given at once.
///
/// hyper waits for one byte of window and then hands over a whole chunk, which h2 holds until the
/// client has opened the window for all of it. In pieces, the wait is where the deadline is.
pub(super) const PIECE: usize = 16 * 1024;

/// The body of an answer.
#[pin_project]
pub(super) struct ResponseBody<B: Body<Data = Bytes>> {
    #[pin]
    body: TrackedBody<ReplyBody<B>, ResponseGuard>,
    /// HTTP/2: what is left of a chunk that is handed over in pieces.
    rest: Bytes,
    open: Option<Arc<OpenStream>>,
    /// HTTP/2: how much has been handed over.
    given: u64,
    /// The body has ended, or has nothing left but these trailers: they may have to wait.
    ended: bool,
    trailers: Option<Box<HeaderMap>>,
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// `unread`: the server drops it unread, because this answer has no body by definition.
    pub fn new(
        body: ReplyBody<B>,
        unread: bool,
        exchange: Arc<Exchange>,
        open: Option<Arc<OpenStream>>,
    ) -> Self {
        let guard = ResponseGuard(exchange);
        ResponseBody {
            body: match unread {
                true => TrackedBody::unread(body, guard),
                false => TrackedBody::new(body, guard),
            },
            rest: Bytes::new(),
            open,
            given: 0,
            ended: false,
            trailers: None,
        }
    }

    /// HTTP/2: whether the end of the response waits until h2 has written what came before it.
    ///
    /// With the end in its hands h2 lets go of the stream's task, and then the stream cannot be reset
    /// any more: a client that keeps its window shut would have to be closed as a whole. A response of one
    /// piece, to a client that has not been slow, is not worth the frame that this costs.
    fn waits_for_end(&self) -> bool {
        let Some(open) = &self.open else {
            return false;
        };
        let exchange = &open.exchange;
        (self.given > PIECE as u64 || exchange.is_slow()) && exchange.holds_data()
    }

    fn poll_taken(&self, cx: &Context<'_>) -> bool {
        let open = self.open.as_ref();
        open.is_none_or(|open| open.exchange.poll_taken(cx.waker()))
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let mut this = self.as_mut().project();
        if this.rest.is_empty() && !*this.ended {
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => {
                            *this.trailers = Some(Box::new(trailers));
                            *this.ended = true;
                        }
                        Err(frame) => {
                            let frame = frame.map_data(|bytes| Piece { bytes, open: None });
                            return Poll::Ready(Some(Ok(frame)));
                        }
                    },
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => *this.ended = true,
            }
        }
        if this.rest.is_empty() {
            if self.waits_for_end() && !self.poll_taken(cx) {
                return Poll::Pending;
            }
            let trailers = self.project().trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))));
        }
        let bytes = if this.open.is_some() && this.rest.len() > PIECE {
            this.rest.split_to(PIECE)
        } else {
            std::mem::take(this.rest)
        };
        let open = this.open.clone();
        if let Some(open) = &open {
            *this.given += bytes.len() as u64;
            open.exchange.give(bytes.len());
        }
        Poll::Ready(Some(Ok(Frame::data(Piece { bytes, open }))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
            && self.trailers.is_none()
            && self.body.is_end_stream()
            && !self.waits_for_end()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// Ends an exchange's response with its body.
struct ResponseGuard(Arc<Exchange>);

impl Guard for ResponseGuard {
    fn end(self, how: End) {
        if how == End::Cancelled {
            // Before the body itself is dropped, which may ask.
            self.0.abandoned();
        }
        self.0.response_over();
    }
}

/// A piece of a response. On HTTP/2 it keeps its stream open until h2 has written it: the stream's own
/// future ends as soon as h2 has it in hand.
pub struct Piece {
    bytes: Bytes,
    open: Option<Arc<OpenStream>>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(into)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.taken(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.taken(length);
        self.bytes.copy_to_bytes(length)
    }
}

impl Piece {
    /// h2 takes from a piece what it writes, when it writes it.
    fn taken(&self, count: usize) {
        if let Some(open) = &self.open {
            open.taken(count);
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.exchange.release(self.bytes.len());
        }
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece")
            .field("length", &self.bytes.len())
            .field("http2", &self.open.is_some())
            .finish()
    }
}
