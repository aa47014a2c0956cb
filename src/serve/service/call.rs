//! The call of the user's service.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::header::EXPECT;
use http::{Extensions, Request};
use http_body::Body;
use hyper::body::Incoming;
use pin_project::pin_project;

use super::app::App;
use super::request_body::RequestBody;
use crate::conn_info::ConnInfo;
use crate::deadlines::Deadlines;
use crate::reply::{GrpcKind, RefusalReason};
use crate::serve::exchange::Exchange;

/// The origin of the response.
#[pin_project(project = AnswerProjection)]
pub(crate) enum Answer<F> {
    Service(#[pin] F),
    Refusal(RefusalReason),
    /// HTTP/2: the service panicked when it was called.
    Panicked(Option<Box<dyn Any + Send>>),
    /// The service is not called yet.
    Held,
    /// HTTP/2: no response; the client is to send the request elsewhere.
    Reset(h2::Reason),
    /// The response has come, or was cancelled.
    Given,
}

/// A call that waits until its input is known to be a request.
pub(crate) struct HeldCall<A> {
    pub app: A,
    pub extensions: Extensions,
    pub request: Request<Incoming>,
    pub grpc: Option<GrpcKind>,
    pub refusal: Option<RefusalReason>,
}

impl<A: App> HeldCall<A> {
    #[cold]
    pub(crate) fn begin(self, exchange: &Arc<Exchange>) -> Answer<A::Future> {
        exchange.call_begins();
        begin(
            &self.app,
            &self.extensions,
            exchange,
            self.request,
            self.grpc,
            self.refusal,
        )
    }
}

/// Hands a request to the service, or refuses it. Inlined: a request is large, and each call moves it.
#[inline(always)]
pub(crate) fn begin<A: App>(
    app: &A,
    common: &Extensions,
    exchange: &Arc<Exchange>,
    mut request: Request<Incoming>,
    grpc: Option<GrpcKind>,
    refusal: Option<RefusalReason>,
) -> Answer<A::Future> {
    let has_body = !request.body().is_end_stream();
    let epoch = exchange.begin_request(request.method(), request.uri(), has_body, grpc.is_some());
    if !common.is_empty() {
        let extensions = request.extensions_mut();
        if extensions.is_empty() {
            *extensions = common.clone();
        } else {
            extensions.extend(common.clone());
        }
    }
    if exchange.server.extensions {
        let extensions = request.extensions_mut();
        if let Some(info) = extensions.get_mut::<ConnInfo>() {
            info.arrived = Some(exchange.server.clock.instant(exchange.now()));
        }
        extensions.insert(Deadlines::new(exchange.clone(), epoch));
    }
    let expects = has_body && expects_continue(&request);
    let messages = grpc == Some(GrpcKind::Native);
    // In place, and mapped once: a request is large to take apart and to put together.
    let request = request.map(|incoming| match has_body {
        true => RequestBody::new(incoming, exchange.clone(), epoch, expects, messages),
        false => RequestBody::empty(),
    });
    match refusal {
        None if exchange.is_http2() => {
            // A panic in the call must end only its stream: uncaught, it would end the connection with all the others.
            match catch_unwind(AssertUnwindSafe(|| app.start(request))) {
                Ok(answer) => Answer::Service(answer),
                Err(panic) => Answer::Panicked(Some(panic)),
            }
        }
        None => Answer::Service(app.start(request)),
        Some(reason) => {
            exchange.close_after_this();
            Answer::Refusal(reason)
        }
    }
}

/// Returns `true` if the client may wait for `100 Continue` before it sends the body (RFC 9110, 10.1.1).
pub(crate) fn expects_continue<B>(request: &Request<B>) -> bool {
    let expects = request.headers().get(EXPECT);
    expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
