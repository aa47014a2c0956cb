use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::grpc_messages::GrpcMessages;
use crate::body_limit::BodyLimitBody;
use crate::error::BoxError;
use crate::serve::config::fixed::LATE_READER;
use crate::serve::exchange::Exchange;
use crate::serve::time::Tick;

/// The body of a request that [`serve`](crate::serve::serve()) hands to its service.
///
/// It yields a [`BodyError`] when the client is too slow (`read`, `read_stall`, `min_read_rate` of
/// [`Timeouts`](crate::serve::Timeouts)) or the connection breaks, and ends there. Dropped unread, the rest is discarded (up to [`Limits::discard`](crate::serve::Limits::discard))
/// so that the connection can be used again.
#[derive(Default)]
pub struct RequestBody {
    /// `None` once it is over.
    incoming: Option<Incoming>,
    request: Option<Request>,
    /// A body in the place of both: one that the stack of a `Server` holds to a limit.
    limited: Option<Box<BodyLimitBody<RequestBody>>>,
}

struct Request {
    exchange: Arc<Exchange>,
    epoch: u64,
    /// `true` if the client waits for `100 Continue`, which the first poll has hyper send.
    unasked: bool,
    /// The time until which a late reader is given the available bytes.
    until: Tick,
    /// The message boundaries of a gRPC request.
    messages: Option<GrpcMessages>,
}

impl RequestBody {
    /// Creates a body without bytes, as of a GET.
    pub fn empty() -> Self {
        RequestBody::default()
    }

    pub(crate) fn limited(body: BodyLimitBody<RequestBody>) -> Self {
        body.into_unlimited().unwrap_or_else(|body| RequestBody {
            incoming: None,
            request: None,
            limited: Some(Box::new(body)),
        })
    }

    pub(crate) fn new(
        incoming: Incoming,
        exchange: Arc<Exchange>,
        epoch: u64,
        expects_continue: bool,
        grpc: bool,
    ) -> Self {
        RequestBody {
            limited: None,
            incoming: Some(incoming),
            request: Some(Request {
                exchange,
                epoch,
                unasked: expects_continue,
                until: Tick::NEVER,
                messages: grpc.then(GrpcMessages::default),
            }),
        }
    }

    fn over(&mut self) -> Option<Request> {
        self.incoming = None;
        self.request.take()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(limited) = &mut this.limited {
            return Pin::new(&mut **limited).poll_frame(cx).map_err(|error| {
                match error.downcast::<BodyError>() {
                    Ok(own) => *own,
                    Err(error) => BodyError(Kind::TooLarge(error)),
                }
            });
        }
        let (Some(incoming), Some(request)) = (&mut this.incoming, &mut this.request) else {
            return Poll::Ready(None);
        };
        let first = std::mem::take(&mut request.unasked);
        let expired = |this: &mut Self| {
            if let Some(Request {
                exchange, epoch, ..
            }) = this.over()
            {
                exchange.body_broken(epoch);
            }
            Poll::Ready(Some(Err(BodyError(Kind::TimedOut))))
        };
        if request.exchange.read_expired() {
            // Bytes that came before the deadline were in time, even if their reader is late; but not without end.
            let now = request.exchange.server.clock.now();
            request.until = request.until.min(now.after(Some(LATE_READER)));
            if now > request.until {
                return expired(this);
            }
        }
        match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Pending => {
                // Between two messages of a stream the client owes nothing.
                let owed = !request.messages.is_some_and(GrpcMessages::is_between);
                let exchange = &request.exchange;
                if first {
                    exchange.ask_to_continue();
                }
                if exchange.wait_for_body(request.epoch, cx.waker(), owed) {
                    Poll::Pending
                } else {
                    expired(this)
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                request.exchange.body_progressed(data.len());
                if let Some(messages) = &mut request.messages {
                    messages.read(data);
                }
                if frame.is_trailers() && request.exchange.ends_at_trailers() {
                    if let Some(Request {
                        exchange, epoch, ..
                    }) = this.over()
                    {
                        exchange.body_broken(epoch);
                    }
                    // A section of trailers without a trailer: its first byte was a line feed.
                    if frame.trailers_ref().is_some_and(HeaderMap::is_empty) {
                        return Poll::Ready(Some(Err(BodyError(Kind::Inexact))));
                    }
                } else if incoming.is_end_stream() {
                    if let Some(Request {
                        exchange, epoch, ..
                    }) = this.over()
                    {
                        exchange.body_complete(epoch);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(Request {
                    exchange, epoch, ..
                }) = this.over()
                {
                    exchange.body_broken(epoch);
                }
                Poll::Ready(Some(Err(BodyError(Kind::Broken(error)))))
            }
            Poll::Ready(None) => {
                if let Some(Request {
                    exchange, epoch, ..
                }) = this.over()
                {
                    exchange.body_complete(epoch);
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.limited {
            Some(limited) => limited.is_end_stream(),
            None => self.incoming.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(limited) = &self.limited {
            return limited.size_hint();
        }
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let (Some(incoming), Some(request)) = (self.incoming.take(), self.request.take()) else {
            return;
        };
        if incoming.is_end_stream() {
            request.exchange.body_complete(request.epoch);
        } else if request.unasked {
            // Reading on would ask the client for data that is not wanted.
            request.exchange.body_broken(request.epoch);
        } else {
            request.exchange.leave_body(request.epoch, incoming);
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("over", &self.incoming.is_none())
            .finish_non_exhaustive()
    }
}

/// The error of a request body that ends early.
#[derive(Debug)]
pub struct BodyError(Kind);

#[derive(Debug)]
enum Kind {
    TimedOut,
    Broken(hyper::Error),
    /// The last chunk is not followed by an empty line.
    Inexact,
    /// It is over the limit of a layer.
    TooLarge(BoxError),
}

impl BodyError {
    /// Returns `true` if a deadline passed (`read`, `read_stall` or `min_read_rate`); otherwise the client or the
    /// transport broke off.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::TimedOut)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::TimedOut => "the request body did not arrive in time",
            Kind::Broken(_) => "the request body broke off",
            Kind::Inexact => "the request body is malformed",
            Kind::TooLarge(_) => "the request body is too large",
        })
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::TimedOut | Kind::Inexact => None,
            Kind::Broken(error) => Some(error),
            Kind::TooLarge(error) => Some(&**error),
        }
    }
}
