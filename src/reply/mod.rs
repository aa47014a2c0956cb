//! The responses to refused requests: one table for HTTP/1, HTTP/2 and gRPC.
//!
//! | reason | HTTP | gRPC | headers |
//! |---|---|---|---|
//! | [`Draining`](RefusalReason::Draining) | 503 | UNAVAILABLE 14 | `Retry-After`, `Connection: close` |
//! | [`HandlerTimeout`](RefusalReason::HandlerTimeout) | 503 | DEADLINE_EXCEEDED 4 | `Connection: close` |
//! | [`BodyTooSlow`](RefusalReason::BodyTooSlow) | 408 | DEADLINE_EXCEEDED 4 | `Connection: close` |
//! | [`HeadTooSlow`](RefusalReason::HeadTooSlow) | 408 | - | `Connection: close` |
//! | [`NoHost`](RefusalReason::NoHost) | 400 | INVALID_ARGUMENT 3 | `Connection: close` |
//! | [`BadHost`](RefusalReason::BadHost) | 400 | INVALID_ARGUMENT 3 | `Connection: close` |
//! | [`BadTarget`](RefusalReason::BadTarget) | 400 | INVALID_ARGUMENT 3 | `Connection: close` |
//! | [`BadFraming`](RefusalReason::BadFraming) | 400 | INVALID_ARGUMENT 3 | `Connection: close` |
//! | [`UnknownTransferCoding`](RefusalReason::UnknownTransferCoding) | 501 | UNIMPLEMENTED 12 | `Connection: close` |
//! | [`Malformed`](RefusalReason::Malformed) | 400 | INVALID_ARGUMENT 3 | `Connection: close` |
//! | [`HeadTooLarge`](RefusalReason::HeadTooLarge) | 431 | RESOURCE_EXHAUSTED 8 | `Connection: close` |
//! | [`TargetTooLong`](RefusalReason::TargetTooLong) | 414 | - | `Connection: close` |
//! | [`TlsOnPlainPort`](RefusalReason::TlsOnPlainPort) | 400 | - | `Connection: close` |
//! | [`BadPreface`](RefusalReason::BadPreface) | 400 | - | `Connection: close` |
//! | [`Http2Error`](RefusalReason::Http2Error) | GOAWAY | - | |
//! | [`Internal`](RefusalReason::Internal) | 500 | INTERNAL 13 | |
//! | [`RequestTimeout`](RefusalReason::RequestTimeout) | 503 | DEADLINE_EXCEEDED 4 | |
//! | [`GatewayTimeout`](RefusalReason::GatewayTimeout) | 504 | DEADLINE_EXCEEDED 4 | |
//! | [`BodyTooLarge`](RefusalReason::BodyTooLarge) | 413 | RESOURCE_EXHAUSTED 8 | `Connection: close` |
//! | [`RateLimited`](RefusalReason::RateLimited) | 429 | RESOURCE_EXHAUSTED 8 | `Retry-After` |
//! | [`ClientUnknown`](RefusalReason::ClientUnknown) | 400 | INVALID_ARGUMENT 3 | |
//!
//! * `Connection: close` is sent below HTTP/2 only, and names no other header: HTTP/2 forbids it (RFC 9113, 8.2.2).
//! * A gRPC request (a POST of content type `application/grpc…`) is answered in its own form: HTTP 200, Trailers-Only,
//!   `grpc-status` and `grpc-message`, and `grpc-retry-pushback-ms` if the reply has a retry time.
//! * The body is a line of text, or problem details (RFC 9457) for a client that accepts JSON.
//! * Bodies and header values are static, and the head is built in the refused request's own header map: a refusal
//!   allocates only if that map has to grow.
//!
//! ```
//! use lameduck::reply::{ReplyFormat, RefusalReason, Reply};
//! use http::{Request, StatusCode, header};
//! use std::time::Duration;
//!
//! let request = Request::get("/").body(()).unwrap();
//! let format = ReplyFormat::of(&request);
//! let refusal = Reply::new(RefusalReason::Draining)
//!     .retry_after(Duration::from_millis(1500))
//!     .answer(format, request.into_parts().0.headers);
//! assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert_eq!(refusal.headers()[header::RETRY_AFTER], "2");
//! assert_eq!(refusal.headers()[header::CONNECTION], "close");
//! ```

mod body;
mod digits;
mod form;
mod future;
mod method;
mod table;
#[cfg(test)]
mod tests;
mod trailers;

pub use body::ReplyBody;
#[cfg(feature = "serve")]
pub(crate) use form::GrpcKind;
pub use form::ReplyFormat;
pub use future::ReplyFuture;
#[cfg(any(feature = "metrics", feature = "status"))]
pub(crate) use method::get_or_head_only;
pub(crate) use method::only;
pub use table::RefusalReason;
#[cfg(feature = "metrics")]
pub(crate) use trailers::is_refusal;
pub(crate) use trailers::{answers_grpc, grpc_trailers};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;

use form::Form;

/// A refusal that can be given many times.
#[derive(Clone, Debug)]
pub struct Reply {
    reason: RefusalReason,
    retry_after: Option<Duration>,
    /// A sentence in the place of the table's.
    said: Option<Arc<Said>>,
}

// Header names rather than text, which would be copied to the heap each time.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

// Constants, which are valid when they are compiled: text would be looked through at each refusal.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

impl Reply {
    /// Creates the refusal for this reason, without a `Retry-After`.
    pub const fn new(reason: RefusalReason) -> Self {
        Reply {
            reason,
            retry_after: None,
            said: None,
        }
    }

    /// Puts `sentence` in the place of the table's: visible ASCII without quotes, backslashes and percent signs, so that
    /// no form has anything to escape.
    pub(crate) fn saying(mut self, sentence: String) -> Self {
        self.said = Some(Arc::new(Said::new(self.reason, sentence)));
        self
    }

    /// Adds `Retry-After` (RFC 9110, 10.2.3): whole seconds, rounded up and never 0; for gRPC `grpc-retry-pushback-ms`
    /// in milliseconds.
    ///
    /// A number of more than three digits is rounded up to three significant digits (1234 s becomes 1240), so that it
    /// can be written without allocating.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Returns the reason for the refusal.
    pub fn reason(&self) -> RefusalReason {
        self.reason
    }

    /// Returns the response in this format. `headers` is the refused request's header map: it is
    /// cleared and reused, so that a refusal need not allocate one.
    pub fn answer(&self, format: ReplyFormat, mut headers: HeaderMap) -> Response<Bytes> {
        headers.clear();
        let row = self.reason.row();
        let mut response = Response::new(Bytes::new());
        match format.form {
            Form::Grpc { content_type } => {
                headers.insert(header::CONTENT_TYPE, content_type);
                headers.insert(GRPC_STATUS, HeaderValue::from_static(row.grpc_status));
                let message = match &self.said {
                    Some(said) => said.grpc_message.clone(),
                    None => HeaderValue::from_static(row.grpc_message),
                };
                headers.insert(GRPC_MESSAGE, message);
                if let Some(delay) = self.retry_after {
                    headers.insert(GRPC_RETRY_PUSHBACK, digits::millis(delay));
                }
            }
            form @ (Form::Text | Form::Problem) => {
                *response.status_mut() = row.status;
                let problem = matches!(form, Form::Problem);
                headers.insert(header::CONTENT_TYPE, if problem { PROBLEM } else { TEXT });
                *response.body_mut() = match (&self.said, problem) {
                    (Some(said), true) => said.problem.clone(),
                    (Some(said), false) => said.text.clone(),
                    (None, true) => Bytes::from_static(row.problem.as_bytes()),
                    (None, false) => Bytes::from_static(row.text.as_bytes()),
                };
                if let Some(delay) = self.retry_after {
                    headers.insert(header::RETRY_AFTER, digits::seconds(delay));
                }
            }
        }
        if row.close && format.below_http2 {
            headers.insert(header::CONNECTION, CLOSE);
        }
        *response.headers_mut() = headers;
        response
    }
}

/// A sentence in each form, made once and given many times.
#[derive(Clone, Debug)]
struct Said {
    text: Bytes,
    problem: Bytes,
    grpc_message: HeaderValue,
}

impl Said {
    fn new(reason: RefusalReason, sentence: String) -> Self {
        let status = reason.status();
        let title = status.canonical_reason().unwrap_or_default();
        let problem = format!(
            "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{},\"detail\":\"{sentence}\"}}\n",
            status.as_u16()
        );
        let table = HeaderValue::from_static(reason.row().grpc_message);
        let text = shared(format!("{sentence}\n"));
        Said {
            problem: shared(problem),
            grpc_message: HeaderValue::from_maybe_shared(text.slice(..sentence.len()))
                .unwrap_or(table),
            text,
        }
    }
}

/// Shared from the start: the first clone of bytes that are owned by one allocates.
fn shared(text: String) -> Bytes {
    let bytes = Bytes::from(text);
    drop(bytes.clone());
    bytes
}

impl From<RefusalReason> for Reply {
    fn from(reason: RefusalReason) -> Self {
        Reply::new(reason)
    }
}

impl RefusalReason {
    /// Returns the HTTP status for this reason (a gRPC client sees HTTP 200 and the gRPC code instead).
    pub const fn status(self) -> StatusCode {
        self.row().status
    }

    /// Returns the code that a gRPC client sees.
    #[cfg(feature = "tracing")]
    pub(crate) fn grpc_status(self) -> u8 {
        self.row().grpc_status.parse().unwrap_or(2)
    }
}
