use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body;
use hyper::body::Incoming;

use super::exchange::Exchange;

/// What is left of a request body that nobody reads, on its way to nowhere.
pub(super) struct Discard {
    body: Incoming,
    left: u64,
    epoch: u64,
    polled: bool,
}

/// How discarding ended.
enum Discarded {
    /// The body is over: the next bytes are a request.
    All,
    /// There is more than may be discarded, or it did not end exactly: the connection cannot be used again.
    TooMuch,
}

impl Discard {
    /// Of the body of request `epoch`, at most so many bytes.
    pub fn new(body: Incoming, most: u64, epoch: u64) -> Self {
        Discard {
            body,
            left: most,
            epoch,
            polled: false,
        }
    }

    /// Whether it has not been polled yet.
    pub fn is_new(&self) -> bool {
        !self.polled
    }

    /// Whether it is short enough to be discarded; `None` when its length is not known.
    pub fn fits(&self) -> Option<bool> {
        self.body.size_hint().exact().map(|rest| rest <= self.left)
    }

    /// Reads away what is there, and tells the exchange when that is over. `progressed` is set when it
    /// was anything.
    ///
    /// It tells of its own request only: the last bytes of a body and the next request's head may
    /// arrive in one read, and hyper may have begun that request by the time this is polled.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        progressed: &mut bool,
    ) -> Poll<()> {
        self.polled = true;
        match ready!(self.poll_end(cx, exchange, progressed)) {
            Discarded::All => exchange.body_complete(self.epoch),
            Discarded::TooMuch => self.abandon(exchange),
        }
        Poll::Ready(())
    }

    /// The rest is given up: the connection closes after the answer, and lingers.
    pub fn abandon(&self, exchange: &Exchange) {
        exchange.body_broken(self.epoch);
    }

    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        progressed: &mut bool,
    ) -> Poll<Discarded> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(frame)) => frame,
                Poll::Ready(None) => return Poll::Ready(Discarded::All),
                Poll::Pending => {
                    // Whoever does not send the rest is waited for as by a handler.
                    exchange.body_waits();
                    return Poll::Pending;
                }
            };
            *progressed = true;
            let length = match &frame {
                Ok(frame) => match frame.data_ref() {
                    Some(data) => data.len(),
                    // See `Exchange::ends_at_trailers`.
                    None => return Poll::Ready(Discarded::TooMuch),
                },
                Err(_) => return Poll::Ready(Discarded::TooMuch),
            };
            exchange.body_progressed(length);
            match self.left.checked_sub(length as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Discarded::TooMuch),
            }
        }
    }
}
