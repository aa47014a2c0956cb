//! Tasks of HTTP/2 streams, with the streams' deadlines.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::Executor;
use pin_project::pin_project;

use crate::serve::config::fixed::REFUSAL_GRACE;
use crate::serve::exchange::{Exchange, OpenStream, ServiceFault, State, Streams};
use crate::serve::time::Timer;

/// An executor that runs the streams of one connection, each as a task with its deadlines.
#[derive(Clone)]
pub(crate) struct StreamExecutor {
    streams: Arc<Streams>,
}

impl StreamExecutor {
    pub(crate) fn new(streams: Arc<Streams>) -> Self {
        StreamExecutor { streams }
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let timer = Timer::new(&self.streams.server.clock);
        let open = OpenStream::claim(&self.streams);
        tokio::spawn(StreamTask {
            future: Some(future),
            timer,
            open,
        });
    }
}

#[pin_project]
struct StreamTask<F> {
    /// `None` once it is done.
    #[pin]
    future: Option<F>,
    #[pin]
    timer: Timer,
    open: Option<Arc<OpenStream>>,
}

impl<F: Future> Future for StreamTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let poll = self.as_mut().poll_stream(cx);
        if let Some(open) = &self.open {
            open.exchange.end_poll();
        }
        poll
    }
}

impl<F: Future> StreamTask<F> {
    fn poll_stream(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(open) = this.open else {
            return match this.future.as_pin_mut() {
                Some(future) => future.poll(cx).map(drop),
                None => Poll::Ready(()),
            };
        };
        let exchange = &open.exchange;
        let server = &exchange.server;
        if this.timer.as_mut().follow(cx.waker()) {
            exchange.set_owner(cx.waker());
        }
        loop {
            if server.cutting() {
                return Poll::Ready(());
            }
            exchange.begin_poll();
            let polled = match this.future.as_mut().as_pin_mut() {
                Some(future) => {
                    let unwinding = Unwinding(exchange);
                    let polled = future.poll(cx);
                    std::mem::forget(unwinding);
                    polled
                }
                None => return Poll::Ready(()),
            };
            if polled.is_ready() {
                open.tunnel_has_begun();
                this.future.set(None);
                // Any other holder is a piece of the response that h2 has not written.
                if Arc::strong_count(open) > 1 {
                    open.leave_tail();
                }
                return Poll::Ready(());
            }
            if exchange.upgraded() {
                open.tunnel_has_begun();
                // A tunnel belongs to its user: no deadlines.
                return Poll::Pending;
            }
            open.peer_is_to_take(|| exchange.now());
            let timer = this.timer.as_mut();
            let now = ready!(timer.poll_due(cx, &server.clock, exchange.next_deadline()));
            match exchange.expired(now, Some(&open.turn())) {
                // Nothing of the response is sent yet: another one takes its place.
                Some(kind)
                    if kind.ends_response()
                        && exchange.state() == State::Handler
                        && !exchange.write_expired() =>
                {
                    exchange.expire_write(kind, now, REFUSAL_GRACE);
                }
                // Dropping hyper's future cancels the handler and resets the stream.
                Some(kind) if kind.ends_response() => {
                    if !exchange.write_expired() {
                        exchange.emit_timeout(kind);
                    }
                    return Poll::Ready(());
                }
                Some(kind) => exchange.expire_read(kind, now),
                // The deadline has been moved meanwhile, from another task.
                None => {}
            }
        }
    }
}

/// A guard that only a panic drops, which ends the stream.
struct Unwinding<'a>(&'a Exchange);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        self.0.emit_fault(ServiceFault::Panic);
    }
}
