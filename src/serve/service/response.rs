//! The path from the user's service back to hyper: the response, and the connection's fate after it.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Response, Version};
use http_body::Body;
use pin_project::{pin_project, pinned_drop};

use super::app::App;
use super::call::{Answer, AnswerProjection as Projected, HeldCall};
use super::framing::{self, Frame};
use super::request_context::RequestContext;
use super::response_body::ResponseBody;
use crate::events::Event;
use crate::reply::{RefusalReason, Reply, ReplyBody};
use crate::serve::exchange::{Discard, Exchange, OpenStream, ServiceFault};
use crate::serve::state::response_is_last;

pub(crate) type ServeBody<A> = ResponseBody<<A as App>::ResBody>;

/// The response future of one request.
#[pin_project(PinnedDrop)]
pub(crate) struct AnswerFuture<A: App> {
    #[pin]
    answer: Answer<A::Future>,
    /// `None` once the response has been given.
    exchange: Option<Arc<Exchange>>,
    /// HTTP/2: the stream, which is open until the last of its response is written.
    open: Option<Arc<OpenStream>>,
    context: RequestContext,
    /// A response that waits until it is known if the connection can be used after it. Boxed because it is rare.
    held: Option<Box<Held<A::ResBody>>>,
    /// A call that waits until its input is known to be a request. Also rare.
    call: Option<Box<HeldCall<A>>>,
}

type Held<B> = (Response<ReplyBody<B>>, Discard);

impl<A: App> AnswerFuture<A> {
    pub(crate) fn new(
        answer: Answer<A::Future>,
        exchange: Arc<Exchange>,
        open: Option<Arc<OpenStream>>,
        context: RequestContext,
    ) -> Self {
        AnswerFuture {
            answer,
            exchange: Some(exchange),
            open,
            context,
            held: None,
            call: None,
        }
    }

    pub(crate) fn holding(mut self, call: Box<HeldCall<A>>) -> Self {
        self.call = Some(call);
        self
    }

    /// HTTP/2: creates the response to a stream that the service never sees.
    pub(crate) fn refused(context: RequestContext) -> Self {
        AnswerFuture {
            answer: Answer::Reset(h2::Reason::REFUSED_STREAM),
            exchange: None,
            open: None,
            context,
            call: None,
            held: None,
        }
    }
}

#[pinned_drop]
impl<A: App> PinnedDrop for AnswerFuture<A> {
    /// Runs before the handler is dropped, which may ask: hyper gave up a response that has not ended otherwise.
    fn drop(self: Pin<&mut Self>) {
        if let Some(exchange) = self.project().exchange {
            exchange.abandoned();
        }
    }
}

impl<A: App> Future for AnswerFuture<A> {
    type Output = Result<Response<ServeBody<A>>, h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Projected::Reset(reason) = this.answer.as_mut().project() {
            return Poll::Ready(Err((*reason).into()));
        }
        let Some(exchange) = this.exchange.as_ref() else {
            return Poll::Pending;
        };
        if this.call.is_some() {
            // The end of the previous body wakes the connection's task. If it was not exact, there is no call.
            if exchange.holds_back() {
                return Poll::Pending;
            }
            if let Some(call) = this.call.take() {
                this.answer.set(call.begin(exchange));
            }
        }
        if this.held.is_none() {
            let response = match this.answer.as_mut().project() {
                Projected::Service(answer) => match answer.poll(cx) {
                    Poll::Ready(Ok(response)) if this.context.may_get(response.status()) => {
                        match exchange.read_expired() && is_for_slow_body(&response, this.context) {
                            true => refuse(exchange, RefusalReason::BodyTooSlow, this.context),
                            false => ReplyBody::service(response),
                        }
                    }
                    Poll::Ready(Ok(_)) => {
                        exchange.emit_fault(ServiceFault::Status);
                        refuse(exchange, RefusalReason::Internal, this.context)
                    }
                    Poll::Ready(Err(error)) => {
                        let known = exchange.known();
                        let request = known.info();
                        let error = &*error;
                        let event = || Event::ServiceError { error, request };
                        exchange.server.events.emit(event);
                        refuse(exchange, RefusalReason::Internal, this.context)
                    }
                    Poll::Pending if exchange.write_expired() => {
                        refuse(exchange, RefusalReason::HandlerTimeout, this.context)
                    }
                    Poll::Pending => return Poll::Pending,
                },
                Projected::Refusal(reason) => refuse(exchange, *reason, this.context),
                Projected::Panicked(panic) => match panic.take() {
                    Some(panic) => resume_unwind(panic),
                    None => return Poll::Pending,
                },
                Projected::Reset(_) | Projected::Held | Projected::Given => return Poll::Pending,
            };
            // The handler and all it held is dropped before its response is sent: a request body among it decides if
            // the connection can be used again.
            this.answer.set(Answer::Given);
            exchange.begin_response();
            let Some(leftover) = exchange.take_leftover() else {
                return finish(this.exchange, this.open, response, this.context);
            };
            match leftover.fits() {
                None => *this.held = Some(Box::new((response, leftover))),
                Some(fits) => {
                    if fits {
                        exchange.discard_later(leftover);
                    } else {
                        exchange.abandon_leftover(&leftover);
                    }
                    return finish(this.exchange, this.open, response, this.context);
                }
            }
        }
        // An unread body of unknown length: the response must announce a close, so look at the available part. hyper
        // hands over one piece per poll.
        let mut progressed = false;
        if let Some(held) = this.held {
            let (_, leftover) = &mut **held;
            if exchange
                .poll_discard(leftover, cx, &mut progressed)
                .is_pending()
            {
                if progressed || exchange.first_inspection() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                exchange.abandon_leftover(leftover);
            }
        }
        match this.held.take() {
            Some(held) => {
                let (response, _) = *held;
                finish(this.exchange, this.open, response, this.context)
            }
            None => Poll::Pending,
        }
    }
}

/// Returns `true` if this is the handler's answer to the error of a body that was too slow: an error, and not a 408 of
/// its own. To a gRPC client, which is refused with 200, a 408 has no meaning.
fn is_for_slow_body<B>(response: &Response<B>, context: &RequestContext) -> bool {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    is_error && (status != RefusalReason::BodyTooSlow.status() || context.format.is_grpc())
}

/// Responds in the service's place. A failure caused by a missing request body is answered as such.
fn refuse<B>(
    exchange: &Exchange,
    reason: RefusalReason,
    context: &RequestContext,
) -> Response<ReplyBody<B>> {
    let reason = if exchange.read_expired() {
        RefusalReason::BodyTooSlow
    } else {
        reason
    };
    exchange.emit(|request| Event::Refused { reason, request });
    let format = context.format.clone();
    ReplyBody::refusal(Reply::new(reason).answer(format, HeaderMap::new()))
}

/// Decides, once the response is there, if the connection can be used after it.
fn finish<B: Body<Data = Bytes>>(
    exchange: &mut Option<Arc<Exchange>>,
    open: &mut Option<Arc<OpenStream>>,
    mut response: Response<ReplyBody<B>>,
    context: &RequestContext,
) -> Poll<Result<Response<ResponseBody<B>>, h2::Error>> {
    let Some(exchange) = exchange.take() else {
        return Poll::Pending;
    };
    let open = open.take();
    let upgrades = context.upgrades(response.status());
    let to_head = context.is_head();
    let framed = framing::correct(&mut response, Frame { to_head, upgrades });
    if let Some(fault) = framed.fault {
        exchange.emit_fault(fault);
    }
    if upgrades {
        exchange.set_upgraded();
        if let Some(open) = &open {
            open.become_tunnel();
        }
    } else if context.version < Version::HTTP_2 {
        *response.version_mut() = Version::HTTP_11;
        if exchange.must_close()
            || context.ends_with(&framed)
            || response_is_last(&exchange.server.lifecycle, &exchange.conn)
        {
            exchange.close_after_this();
            let close = HeaderValue::from_static("close");
            response.headers_mut().append(CONNECTION, close);
            if context.version == Version::HTTP_10 {
                // Otherwise hyper adds the `keep-alive` that the client asked for.
                *response.version_mut() = Version::HTTP_10;
            }
        }
    }
    if context.version == Version::HTTP_11 && !framed.bodiless && framed.length.is_none() {
        exchange.set_chunked();
    }
    let dress = |body| ResponseBody::new(body, framed, exchange, open);
    Poll::Ready(Ok(response.map(dress)))
}
