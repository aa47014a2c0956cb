//! One connection's life.
//!
//! ```text
//! accept -> parked --first bytes--> HTTP/1 or HTTP/2 --> closing, or upgraded
//!             ^                       |
//!             +-------- quiet --------+
//! ```
//!
//! Written as a state machine and not as an `async fn`, so that a parked connection is as small as
//! what it holds: the protocols' states are boxed while they are in use.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use super::closing::Farewell;
use super::http1::{Http1, Next};
use super::http2::Http2;
use super::parked::{Parked, Woken};
use crate::events::Closed;
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
    Farewell(Box<Farewell<T>>),
    /// It has ended, and nothing of it is left.
    Over(Closed),
}

impl<T, A> Stage<T, A>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: App,
{
    fn enrol(&self, waker: &Waker) {
        match self {
            Stage::Parked(parked) => parked.enrol(waker),
            Stage::Http1(http1) => {
                http1.exchange().conn.set_reader(waker);
                http1.exchange().set_owner(waker);
            }
            Stage::Http2(http2) => http2.conn().set_reader(waker),
            Stage::Farewell(farewell) => farewell.conn().set_reader(waker),
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
    /// Why the connection ended; an upgraded one has ended for its task, not for the server.
    type Output = Closed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        let mut this = self.project();
        // The server wakes whichever task polled last.
        if this.timer.as_mut().follow(cx.waker()) {
            this.stage.enrol(cx.waker());
        }
        loop {
            let timer = this.timer.as_mut();
            let next = match this.stage {
                Stage::Parked(parked) => match std::task::ready!(parked.poll(cx, timer)) {
                    Woken::Http1 { io, since, warm } => {
                        let http1 = Http1::new(io, this.app.clone(), since, warm, cx);
                        Stage::Http1(Box::new(http1))
                    }
                    Woken::Http2(io) => Stage::Http2(Box::new(Http2::new(io, this.app.clone()))),
                    Woken::Refused {
                        io,
                        since,
                        reason,
                        read,
                    } => Stage::Farewell(Box::new(Farewell::parked(io, since, reason, read))),
                    Woken::Over(why) => Stage::Over(parked.end(why)),
                },
                Stage::Http1(http1) => match {
                    let polled = http1.poll(cx, timer);
                    http1.exchange().end_poll();
                    std::task::ready!(polled)
                } {
                    Next::Park { io, since } => Stage::Parked(Parked::idle(io, since)),
                    Next::Resume {
                        mut io,
                        since,
                        read,
                    } => {
                        io.rewind(read);
                        let http1 = Http1::new(io, this.app.clone(), since, true, cx);
                        Stage::Http1(Box::new(http1))
                    }
                    Next::Close(io, refusal) => {
                        let exchange = http1.exchange().clone();
                        Stage::Farewell(Box::new(Farewell::new(io, exchange, refusal)))
                    }
                    Next::Over(why) => {
                        http1.exchange().conn.will_end(why);
                        Stage::Over(why)
                    }
                },
                Stage::Http2(http2) => {
                    let why = std::task::ready!(http2.poll(cx, timer));
                    http2.conn().will_end(why);
                    Stage::Over(why)
                }
                Stage::Farewell(farewell) => {
                    std::task::ready!(farewell.poll(cx, timer));
                    Stage::Over(farewell.why())
                }
                Stage::Over(why) => return Poll::Ready(*why),
            };
            *this.stage = next;
        }
    }
}
