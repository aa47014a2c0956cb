use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Body;
use hyper::body::Incoming;

/// The unread rest of a request body, on its way to being discarded.
pub(crate) struct Discard {
    body: Incoming,
    left: u64,
    epoch: u64,
    polled: bool,
}

/// The progress of a discard.
pub(crate) enum Discarded {
    /// This many bytes were discarded.
    Some(usize),
    /// The body is over: the next bytes are a request.
    All,
    /// The rest exceeds the limit, or it did not end exactly: the connection cannot be used again.
    TooMuch {
        /// The number of bytes that came in this poll.
        came: usize,
    },
}

impl Discard {
    /// Creates a discard of at most `most` bytes for the body of request `epoch`.
    pub(crate) fn new(body: Incoming, most: u64, epoch: u64) -> Self {
        Discard {
            body,
            left: most,
            epoch,
            polled: false,
        }
    }

    /// Returns the number of its request.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns `true` until the first poll.
    pub(crate) fn is_new(&self) -> bool {
        !self.polled
    }

    /// Returns `true` if the body is short enough to be discarded; `None` if its length is unknown.
    pub(crate) fn fits(&self) -> Option<bool> {
        self.body.size_hint().exact().map(|rest| rest <= self.left)
    }

    /// Discards the available part of the next piece.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Discarded> {
        self.polled = true;
        let broken = Discarded::TooMuch { came: 0 };
        let length = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(Discarded::All),
            Poll::Ready(Some(Err(_))) => return Poll::Ready(broken),
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(data) => data.len(),
                // See `Exchange::ends_at_trailers`.
                None => return Poll::Ready(broken),
            },
        };
        Poll::Ready(match self.left.checked_sub(length as u64) {
            Some(left) => {
                self.left = left;
                Discarded::Some(length)
            }
            None => Discarded::TooMuch { came: length },
        })
    }
}
