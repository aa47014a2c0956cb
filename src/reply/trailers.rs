//! Refusals of what has begun to be answered already.

use http::{HeaderMap, HeaderValue, Method, Version, header};

use super::{RefusalReason, Reply, ReplyFormat};
use crate::grpc::is_native_grpc;

/// Returns a refusal as the trailers of a gRPC answer.
pub(crate) fn grpc_trailers(reason: RefusalReason) -> HeaderMap {
    // From the one table: what a Trailers-Only answer says beside its content type.
    let mut headers = HeaderMap::with_capacity(3);
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, grpc);
    let format = ReplyFormat::head(&Method::POST, Version::HTTP_2, &headers);
    let refusal = Reply::new(reason).answer(format, headers);
    let mut trailers = refusal.into_parts().0.headers;
    trailers.remove(header::CONTENT_TYPE);
    trailers
}

/// Returns whether an answer with these headers is gRPC's, and not gRPC-Web's.
pub(crate) fn answers_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| is_native_grpc(kind.as_bytes()))
}

/// Returns whether a response without messages says what one of the table's refusals does.
#[cfg(feature = "metrics")]
pub(crate) fn is_refusal(headers: &HeaderMap) -> bool {
    headers.get(super::GRPC_MESSAGE).is_some_and(|message| {
        let mut all = RefusalReason::ALL.iter();
        all.any(|reason| reason.row().grpc_message.as_bytes() == message.as_bytes())
    })
}
