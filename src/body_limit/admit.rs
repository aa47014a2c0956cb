//! The decision about one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body::{Body, SizeHint};

use super::BodyLimitBody;
use super::body::Over;
use super::future::Watch;
use super::shared::{emit_refused, reply, reply_over_all};
use crate::events::EventSink;
use crate::reply::{Reply, ReplyFormat};
use crate::served::{BODY_LIMIT, Subject};

/// The largest limit of any route's own layer.
///
/// A body over the limit of a layer further out is refused for its declared length, before the route's own layer is
/// called. Up to this limit a route may take over; beyond it none does.
static LARGEST_OF_ROUTES: AtomicU64 = AtomicU64::new(0);

pub(crate) fn expect_route_limit(bytes: u64) {
    LARGEST_OF_ROUTES.fetch_max(bytes, Relaxed);
}

/// The outcome for a request.
pub(crate) enum Admission<B> {
    Passed(Request<BodyLimitBody<B>>, Option<Watch>),
    Refused(Response<Bytes>),
}

/// Wraps the body of a request that seems to be within `limit`, or refuses the request.
///
/// `made` is the refusal by this limit, if it is made already. `yields` means that a route's own layer may have another
/// limit.
pub(crate) fn admit<B: Body<Data = Bytes>>(
    request: Request<B>,
    limit: u64,
    made: Option<&Arc<Reply>>,
    events: &EventSink,
    subject: Subject,
    yields: bool,
) -> Admission<B> {
    if yields && subject.is_taken_over(BODY_LIMIT) {
        return Admission::Passed(request.map(BodyLimitBody::unlimited), None);
    }
    let hint = request.body().size_hint();
    let over = |limit| is_over(&hint, request.headers(), limit);
    let declared_over = over(limit);
    let largest = LARGEST_OF_ROUTES.load(Relaxed);
    let a_route_may_take_it = yields && !over(largest);
    if declared_over && !a_route_may_take_it {
        emit_refused(events, &subject);
        let format = ReplyFormat::of(&request);
        let headers = request.into_parts().0.headers;
        let refusal = match made {
            // Which of the two limits is that of its route is not known: it is over both.
            _ if yields && largest > limit => {
                reply_over_all(limit, largest).answer(format, headers)
            }
            Some(made) => made.answer(format, headers),
            None => reply(limit).answer(format, headers),
        };
        return Admission::Refused(refusal);
    }
    // A body that declares its end is believed as far as this; it is counted all the same.
    let may_run_over = hint.upper().is_none_or(|upper| upper > limit);
    let mut watch = None;
    if declared_over || (may_run_over && !request.body().is_end_stream()) {
        let subject = subject.clone();
        watch = Some(Watch {
            over: Over::new(events.clone(), subject, declared_over, limit, made.cloned()),
            format: ReplyFormat::of(&request),
        });
    }
    let over = watch.as_ref().map(|watch| watch.over.clone());
    let request = request.map(|body| {
        let body = BodyLimitBody::new(body, Some(limit), over);
        match yields {
            true => body.yielding(subject),
            false => body,
        }
    });
    Admission::Passed(request, watch)
}

fn is_over(hint: &SizeHint, headers: &HeaderMap, limit: u64) -> bool {
    hint.lower() > limit
        || headers
            .get_all(header::CONTENT_LENGTH)
            .iter()
            .any(|length| says_more_than(length.as_bytes(), limit))
}

/// Returns `true` if the length is a number and over the limit; an invalid one is the server's to refuse.
fn says_more_than(length: &[u8], limit: u64) -> bool {
    // A number too large for 64 bits is over any limit.
    length.iter().all(u8::is_ascii_digit)
        && length.iter().fold(0_u64, |sum, digit| {
            let digit = u64::from(digit - b'0');
            sum.saturating_mul(10).saturating_add(digit)
        }) > limit
}
