//! The state machine of one connection.
//!
//! ```text
//! accept -> parked --first bytes--> HTTP/1 or HTTP/2 --> closing, or upgraded
//!             ^                       |
//!             +-------- quiet --------+
//! ```
//!
//! It is not an `async fn`, so that a parked connection is as small as its own state: the protocols' states are boxed
//! while they are in use.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use super::closing::Closing;
use super::http1::{Http1, Http1Outcome};
use super::http2::Http2;
use super::parked::{Parked, ParkedOutcome};
use crate::events::CloseReason;
use crate::serve::service::App;
use crate::serve::time::Timer;
use crate::serve::transport::ServeIo;

/// The task of one connection.
#[pin_project]
pub(crate) struct ConnTask<T, A: App> {
    app: A,
    #[pin]
    timer: Timer,
    stage: Stage<T, A>,
}

enum Stage<T, A: App> {
    Parked(Parked<T>),
    Http1(Box<Http1<T, A>>),
    Http2(Box<Http2<T, A>>),
    Closing(Box<Closing<T>>),
    /// The connection has ended and is dropped.
    Over(CloseReason),
}

impl<T, A> Stage<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    fn register(&self, waker: &Waker) {
        match self {
            Stage::Parked(parked) => parked.register(waker),
            Stage::Http1(http1) => {
                http1.exchange().conn.set_reader(waker);
                http1.exchange().set_owner(waker);
            }
            Stage::Http2(http2) => http2.conn().set_reader(waker),
            Stage::Closing(closing) => closing.conn().set_reader(waker),
            Stage::Over(_) => {}
        }
    }
}

impl<T, A> ConnTask<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    pub(crate) fn new(io: ServeIo<T>, app: A) -> Self {
        ConnTask {
            app,
            timer: Timer::new(&io.guard.server.clock),
            stage: Stage::Parked(Parked::fresh(io)),
        }
    }
}

impl<T, A> Future for ConnTask<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    /// The close reason; an upgraded connection has ended for its task, not for the server.
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let mut this = self.project();
        // The server wakes the task that polled last.
        if this.timer.as_mut().follow(cx.waker()) {
            this.stage.register(cx.waker());
        }
        loop {
            let timer = this.timer.as_mut();
            let next = match this.stage {
                Stage::Parked(parked) => match std::task::ready!(parked.poll(cx, timer)) {
                    ParkedOutcome::Http1 { io, since, warm } => {
                        let http1 = Http1::new(io, this.app.clone(), since, warm, cx);
                        Stage::Http1(Box::new(http1))
                    }
                    ParkedOutcome::Http2(io) => {
                        Stage::Http2(Box::new(Http2::new(io, this.app.clone())))
                    }
                    ParkedOutcome::Refused {
                        io,
                        since,
                        reason,
                        read,
                    } => Stage::Closing(Box::new(Closing::parked(io, since, reason, read))),
                    ParkedOutcome::Over(why) => Stage::Over(parked.end(why)),
                },
                Stage::Http1(http1) => match {
                    let polled = http1.poll(cx, timer);
                    http1.exchange().end_poll();
                    std::task::ready!(polled)
                } {
                    Http1Outcome::Park { io, since } => Stage::Parked(Parked::idle(io, since)),
                    Http1Outcome::Resume {
                        mut io,
                        since,
                        read,
                    } => {
                        io.rewind(read);
                        let http1 = Http1::new(io, this.app.clone(), since, true, cx);
                        Stage::Http1(Box::new(http1))
                    }
                    Http1Outcome::Close(io, refusal) => {
                        let exchange = http1.exchange().clone();
                        Stage::Closing(Box::new(Closing::new(io, exchange, refusal)))
                    }
                    Http1Outcome::Over(why) => {
                        http1.exchange().conn.set_close_reason(why);
                        Stage::Over(why)
                    }
                },
                Stage::Http2(http2) => {
                    let why = std::task::ready!(http2.poll(cx, timer));
                    http2.conn().set_close_reason(why);
                    Stage::Over(why)
                }
                Stage::Closing(closing) => {
                    std::task::ready!(closing.poll(cx, timer));
                    Stage::Over(closing.why())
                }
                Stage::Over(why) => return Poll::Ready(*why),
            };
            *this.stage = next;
        }
    }
}
