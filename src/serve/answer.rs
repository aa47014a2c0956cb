//! From the user's service back to hyper: the answer, and what becomes of the connection after it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use pin_project::pin_project;

use super::app::App;
use super::discard::{Discard, Discarded};
use super::exchange::{Exchange, State};
use crate::events::Event;
use crate::phase::Phase;
use crate::reply::{Asked, Reason, Reply, ReplyBody};
use crate::track::{End, Guard, TrackedBody};

pub(super) type ServeBody<A> = TrackedBody<ReplyBody<<A as App>::ResBody>, ResponseGuard>;

/// The answer to one request.
#[pin_project]
pub(super) struct AnswerFuture<A: App> {
    /// `None` once it has come or was cancelled.
    #[pin]
    answer: Option<A::Future>,
    exchange: Arc<Exchange>,
    asker: Asker,
    /// An answer that waits until it is known whether the connection can be used after it.
    held: Option<(Response<ReplyBody<A::ResBody>>, Discard)>,
}

/// What is to be known of a request when its answer comes.
pub(super) struct Asker {
    asked: Asked,
    version: Version,
    method: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Head,
    Connect,
    Other,
}

impl Asker {
    pub fn of(head: &Parts) -> Self {
        Asker {
            asked: Asked::head(head.version, &head.headers),
            version: head.version,
            method: match head.method {
                Method::HEAD => Kind::Head,
                Method::CONNECT => Kind::Connect,
                _ => Kind::Other,
            },
        }
    }

    /// Whether the server drops the body of this answer unread, because it has none by definition.
    fn drops_body(&self, status: StatusCode) -> bool {
        self.method == Kind::Head
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }

    fn upgrades(&self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS
            || (self.method == Kind::Connect && status.is_success())
    }
}

impl<A: App> AnswerFuture<A> {
    pub fn new(answer: A::Future, exchange: Arc<Exchange>, asker: Asker) -> Self {
        AnswerFuture {
            answer: Some(answer),
            exchange,
            asker,
            held: None,
        }
    }
}

impl<A: App> Future for AnswerFuture<A> {
    type Output = Result<Response<ServeBody<A>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let exchange = this.exchange;
        if this.held.is_none() {
            let polled = match this.answer.as_mut().as_pin_mut() {
                Some(answer) => answer.poll(cx),
                None => Poll::Pending,
            };
            let response = match polled {
                Poll::Ready(Ok(response)) => ReplyBody::service(response),
                Poll::Ready(Err(error)) => {
                    let error = error.into();
                    let event = || Event::ServiceError { error: &*error };
                    exchange.server.events.tell(event);
                    refuse(exchange, Reason::Internal, this.asker)
                }
                Poll::Pending if exchange.write_expired() => {
                    refuse(exchange, Reason::HandlerTimeout, this.asker)
                }
                Poll::Pending => return Poll::Pending,
            };
            // The handler and all it held is dropped before its answer is sent: a request body among
            // it decides whether the connection can be used again.
            this.answer.set(None);
            exchange.set_state(State::Responding);
            let Some(leftover) = exchange.take_leftover() else {
                return Poll::Ready(Ok(finish(exchange, response, this.asker)));
            };
            match leftover.fits() {
                None => *this.held = Some((response, leftover)),
                Some(fits) => {
                    if fits {
                        exchange.discard_later(leftover);
                    } else {
                        exchange.abandon_body();
                    }
                    return Poll::Ready(Ok(finish(exchange, response, this.asker)));
                }
            }
        }
        // A body of unknown length that nobody read: the answer must say whether the connection
        // closes, so look at what is there of it. hyper hands it over a piece a poll.
        let mut progressed = false;
        if let Some((_, leftover)) = this.held {
            match leftover.poll(cx, &mut progressed) {
                Poll::Ready(Discarded::All) => exchange.body_discarded(),
                Poll::Ready(Discarded::TooMuch) => exchange.abandon_body(),
                Poll::Pending if progressed || exchange.first_look() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => exchange.abandon_body(),
            }
        }
        match this.held.take() {
            Some((response, _)) => Poll::Ready(Ok(finish(exchange, response, this.asker))),
            None => Poll::Pending,
        }
    }
}

/// Answers in the service's stead. What failed because the request's body did not come is told so.
fn refuse<B>(exchange: &Exchange, reason: Reason, asker: &Asker) -> Response<ReplyBody<B>> {
    let reason = if exchange.read_expired() {
        Reason::BodyTooSlow
    } else {
        reason
    };
    exchange.server.events.tell(|| Event::Refused { reason });
    let asked = asker.asked.clone();
    ReplyBody::refusal(Reply::new(reason).answer(asked, HeaderMap::new()))
}

/// Decides, with the answer in hand, what becomes of the connection after it.
fn finish<B: http_body::Body>(
    exchange: &Arc<Exchange>,
    mut response: Response<B>,
    asker: &Asker,
) -> Response<TrackedBody<B, ResponseGuard>> {
    if asker.version < Version::HTTP_2 {
        if asker.upgrades(response.status()) {
            exchange.set_upgraded();
        } else if exchange.must_close() || departs(exchange) {
            exchange.close_after_this();
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
    let drops_body = asker.drops_body(response.status());
    let guard = ResponseGuard(exchange.clone());
    response.map(|body| match drops_body {
        true => TrackedBody::unread(body, guard),
        false => TrackedBody::new(body, guard),
    })
}

/// Whether this connection is asked to leave with this response.
fn departs(exchange: &Exchange) -> bool {
    let lifecycle = &exchange.server.lifecycle;
    match lifecycle.phase() {
        Phase::Starting | Phase::Ready => false,
        Phase::LameDuck => exchange.conn.dice() < lifecycle.departure(),
        Phase::Draining | Phase::Closed => true,
    }
}

/// Ends an exchange's response with its body.
pub(super) struct ResponseGuard(Arc<Exchange>);

impl Guard for ResponseGuard {
    fn end(self, _: End) {
        self.0.response_over();
    }
}
