use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Body;
use hyper::body::Incoming;

/// What is left of a request body that nobody reads, on its way to nowhere.
pub(crate) struct Discard {
    body: Incoming,
    left: u64,
    epoch: u64,
    polled: bool,
}

/// What came of a body that is discarded.
pub(crate) enum Discarded {
    /// So many bytes of it.
    Some(usize),
    /// The body is over: the next bytes are a request.
    All,
    /// There is more than may be discarded, or it did not end exactly: the connection cannot be used again.
    TooMuch {
        /// How many bytes of it came now.
        came: usize,
    },
}

impl Discard {
    /// Of the body of request `epoch`, at most so many bytes.
    pub(crate) fn new(body: Incoming, most: u64, epoch: u64) -> Self {
        Discard {
            body,
            left: most,
            epoch,
            polled: false,
        }
    }

    /// The number of its request.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it has not been polled yet.
    pub(crate) fn is_new(&self) -> bool {
        !self.polled
    }

    /// Whether it is short enough to be discarded; `None` when its length is not known.
    pub(crate) fn fits(&self) -> Option<bool> {
        self.body.size_hint().exact().map(|rest| rest <= self.left)
    }

    /// Reads away what is there of the next piece.
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
