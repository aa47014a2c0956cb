//! The response body on its way to hyper, and on HTTP/2 to the socket.

use std::fmt;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::framing::Framed;
use crate::error::BoxError;
use crate::reply::ReplyBody;
use crate::serve::exchange::{Exchange, OpenStream, PIECE, ServiceFault};
use crate::track::{BodyEnd, Guard, TrackedBody};

/// The body of a response.
#[pin_project]
pub(crate) struct ResponseBody<B: Body<Data = Bytes>> {
    #[pin]
    body: TrackedBody<ReplyBody<B>, ResponseGuard>,
    /// HTTP/2: the rest of a chunk that is handed over in pieces.
    rest: Bytes,
    open: Option<Arc<OpenStream>>,
    /// HTTP/2: the number of bytes handed over.
    given: u64,
    /// `true` once the body has ended, or only these trailers are left: the end may have to wait.
    ended: bool,
    trailers: Option<Box<HeaderMap>>,
    /// `true` if there is no body, whatever the service returned.
    bodiless: bool,
    /// The length that the head of a response without a body declares: hyper removes `Content-Length` from a 304 to a
    /// GET unless the body seems to have that length.
    claims: u64,
    /// The remaining length, if one was promised.
    left: Option<u64>,
    /// The exchange to blame, if the service made the promise.
    promised_to: Option<Arc<Exchange>>,
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    pub(crate) fn new(
        body: ReplyBody<B>,
        framed: Framed,
        exchange: Arc<Exchange>,
        open: Option<Arc<OpenStream>>,
    ) -> Self {
        let claims = match (framed.bodiless, &open) {
            (true, None) => framed.length.unwrap_or(0),
            _ => 0,
        };
        let promised_to = framed.declared.then(|| exchange.clone());
        let guard = ResponseGuard(exchange);
        ResponseBody {
            body: match framed.bodiless {
                true => TrackedBody::unread(body, guard),
                false => TrackedBody::new(body, guard),
            },
            rest: Bytes::new(),
            open,
            given: 0,
            ended: framed.bodiless,
            trailers: None,
            bodiless: framed.bodiless,
            claims,
            left: framed.length.filter(|_| !framed.bodiless),
            promised_to,
        }
    }

    /// HTTP/2: returns `true` if the end of the response waits until h2 has written the data before it.
    ///
    /// With the end in its hands h2 lets go of the stream's task, and then the stream cannot be reset any more: a
    /// client that keeps its window shut could only be closed as a whole. A response of one piece, to a client that has
    /// not been slow, is not worth the frame that this costs.
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

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> ResponseBody<B> {
    /// Returns `true` if a body goes on beyond its promised length. hyper writes no more than was promised, and drops
    /// the rest without a report.
    fn exceeds_length(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        if self.left != Some(0) || self.open.is_some() || self.body.is_end_stream() {
            return false;
        }
        self.is_more(cx)
    }

    /// Apart from the one poll that every response needs, so that that is inlined.
    #[cold]
    fn is_more(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.as_mut().project();
        match this.body.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().is_some_and(|data| !data.is_empty()),
            Poll::Ready(None) => {
                *self.project().ended = true;
                false
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        }
    }

    /// Fails a body whose length differs from the promised one: the client must see that the response is incomplete.
    fn length_mismatch(&self) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        let fault = ServiceFault::ContentLength;
        let open = self.open.as_ref().map(|open| &open.exchange);
        let exchange = self.promised_to.as_ref().or(open);
        let exchange = exchange.or_else(|| self.body.guard().map(|guard| &guard.0));
        if let Some(exchange) = exchange {
            exchange.emit_fault(fault);
        }
        Poll::Ready(Some(Err(fault.into())))
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for ResponseBody<B> {
    type Data = Piece;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        let mut this = self.as_mut().project();
        if this.rest.is_empty() && !*this.ended {
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if let Some(left) = this.left.as_mut() {
                            match left.checked_sub(data.len() as u64) {
                                Some(less) => *left = less,
                                None => return self.length_mismatch(),
                            }
                        }
                        if this.open.is_none() {
                            // As it is: it may be empty, which is not the end.
                            return match self.as_mut().exceeds_length(cx) {
                                true => self.length_mismatch(),
                                false => Piece::frame(data, None),
                            };
                        }
                        *this.rest = data;
                    }
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
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => *this.ended = true,
            }
            if self.ended && self.left.is_some_and(|left| left > 0) {
                return self.length_mismatch();
            }
        }
        let this = self.as_mut().project();
        if this.rest.is_empty() {
            if !*this.ended {
                return Piece::frame(Bytes::new(), None);
            }
            if self.waits_for_end() && !self.poll_taken(cx) {
                return Poll::Pending;
            }
            let trailers = self.project().trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))));
        }
        let bytes = if this.rest.len() > PIECE {
            this.rest.split_to(PIECE)
        } else {
            std::mem::take(this.rest)
        };
        let open = this.open.clone();
        if let Some(open) = &open {
            *this.given += bytes.len() as u64;
            open.exchange.give(bytes.len());
        }
        Piece::frame(bytes, open)
    }

    fn is_end_stream(&self) -> bool {
        (self.bodiless && self.claims == 0)
            || (!self.bodiless
                && self.rest.is_empty()
                && self.trailers.is_none()
                && self.left.is_none_or(|left| left == 0)
                && self.body.is_end_stream()
                && !self.waits_for_end())
    }

    fn size_hint(&self) -> SizeHint {
        if self.bodiless {
            return SizeHint::with_exact(self.claims);
        }
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

/// A guard that ends an exchange's response with its body.
struct ResponseGuard(Arc<Exchange>);

impl Guard for ResponseGuard {
    fn end(self, how: BodyEnd) {
        if how == BodyEnd::Cancelled {
            // Before the body itself is dropped, which may ask.
            self.0.abandoned();
        }
        self.0.response_over();
    }
}

/// A piece of a response. On HTTP/2 it keeps its stream open until h2 has written it: the stream's own
/// future ends as soon as h2 has it in hand.
pub(crate) struct Piece {
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
    fn frame(
        bytes: Bytes,
        open: Option<Arc<OpenStream>>,
    ) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        Poll::Ready(Some(Ok(Frame::data(Piece { bytes, open }))))
    }

    /// Counts bytes that h2 writes: it takes them from a piece at that time.
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
