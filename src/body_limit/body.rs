use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::error::too_large;
use super::shared::{emit_refused, reply};
use crate::error::BoxError;
use crate::events::EventSink;
use crate::reply::Reply;
use crate::served::{BODY_LIMIT, Subject};

/// The request body that a [`BodyLimit`](super::BodyLimit) service hands to the inner one: the bytes within the limit,
/// then an error for which [`is_too_large`](super::is_too_large) is true.
///
/// Trailers are not counted. A body that is over its limit is dropped as soon as that is known.
#[pin_project]
pub struct BodyLimitBody<B> {
    /// `None` once it has been cut.
    #[pin]
    body: Option<B>,
    /// The number of bytes that may still come; `None` without a limit.
    left: Option<u64>,
    /// `true` if the body is cut and the error is still to be returned.
    owes_error: bool,
    over: Option<Over>,
    /// The request, if a route's own layer may have another limit.
    yields: Option<Subject>,
}

/// A flag that reports a body over its limit to the response and to the listeners.
#[derive(Clone)]
pub(super) struct Over(Arc<Flag>);

struct Flag {
    set: AtomicBool,
    /// `true` if the body declares more than the limit: none of it is read, unless a route's own layer takes over.
    declared: bool,
    events: EventSink,
    subject: Subject,
    limit: u64,
    /// The refusal by this limit, if it is made already.
    made: Option<Arc<Reply>>,
}

impl Over {
    pub(crate) fn new(
        events: EventSink,
        subject: Subject,
        declared: bool,
        limit: u64,
        made: Option<Arc<Reply>>,
    ) -> Self {
        let set = AtomicBool::new(false);
        Over(Arc::new(Flag {
            set,
            declared,
            events,
            subject,
            limit,
            made,
        }))
    }

    /// Returns the refusal by this limit.
    pub(super) fn reply(&self) -> Arc<Reply> {
        let made = self.0.made.clone();
        made.unwrap_or_else(|| Arc::new(reply(self.0.limit)))
    }

    pub(crate) fn is_declared(&self) -> bool {
        self.0.declared
    }

    pub(crate) fn is_taken_over(&self) -> bool {
        self.0.subject.is_taken_over(BODY_LIMIT)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }

    /// Emitted here and not with the response, which may be sent already.
    pub(crate) fn set(&self) {
        if !self.0.set.swap(true, Ordering::AcqRel) {
            emit_refused(&self.0.events, &self.0.subject);
        }
    }
}

impl<B> BodyLimitBody<B> {
    pub(super) fn new(body: B, limit: Option<u64>, over: Option<Over>) -> Self {
        BodyLimitBody {
            body: Some(body),
            left: limit,
            owes_error: false,
            over,
            yields: None,
        }
    }

    pub(super) fn yielding(mut self, subject: Subject) -> Self {
        self.yields = Some(subject);
        self
    }

    /// Returns the body itself, if there is nothing to hold it to.
    #[cfg(feature = "serve")]
    pub(crate) fn into_unlimited(self) -> Result<B, Self> {
        match self.body {
            Some(body) if self.left.is_none() => Ok(body),
            body => Err(BodyLimitBody { body, ..self }),
        }
    }

    pub(crate) fn unlimited(body: B) -> Self {
        Self::new(body, None, None)
    }

    /// Returns how many bytes may still come, now that a route's own layer may have been called.
    fn left(&self) -> Option<u64> {
        let taken_over = |subject: &Subject| subject.is_taken_over(BODY_LIMIT);
        self.left
            .filter(|_| !self.yields.as_ref().is_some_and(taken_over))
    }
}

impl<B> Body for BodyLimitBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let left = self.left();
        let mut this = self.project();
        // Asked once: a route's own layer is called before the body is read.
        if this.yields.take().is_some() {
            *this.left = left;
            let declared_over = this.over.as_ref().is_some_and(Over::is_declared);
            if declared_over && left.is_some() {
                this.body.set(None);
                *this.owes_error = true;
            }
        }
        if let Some(body) = this.body.as_mut().as_pin_mut() {
            let Some(frame) = ready!(body.poll_frame(cx))
                .transpose()
                .map_err(Into::into)?
            else {
                return Poll::Ready(None);
            };
            let Some(left) = this.left else {
                return Poll::Ready(Some(Ok(frame)));
            };
            let mut data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            if let Some(rest) = left.checked_sub(data.len() as u64) {
                *left = rest;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.body.set(None);
            *this.owes_error = true;
            // Less than the length of the data in memory.
            data.truncate(std::mem::take(left) as usize);
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        if !std::mem::take(this.owes_error) {
            return Poll::Ready(None);
        }
        // Not earlier: the response of a handler that never reads so far must not depend on how the bytes were cut into
        // frames.
        if let Some(over) = this.over.take() {
            over.set();
        }
        Poll::Ready(Some(Err(too_large())))
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Some(body) => body.is_end_stream(),
            None => !self.owes_error,
        }
    }

    /// Returns the inner body's hint, bounded by the remaining limit.
    fn size_hint(&self) -> SizeHint {
        let Some(body) = &self.body else {
            return SizeHint::with_exact(0);
        };
        let inner = body.size_hint();
        let Some(left) = self.left() else {
            return inner;
        };
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().min(left));
        hint.set_upper(inner.upper().map_or(left, |upper| upper.min(left)));
        hint
    }
}

impl<B> fmt::Debug for BodyLimitBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyLimitBody")
            .field("left", &self.left)
            .field("cut", &self.body.is_none())
            .finish_non_exhaustive()
    }
}
