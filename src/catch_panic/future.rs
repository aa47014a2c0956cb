use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use pin_project::pin_project;

use super::shared::Shared;
use crate::events::Event;
use crate::reply::{RefusalReason, Reply, ReplyBody, ReplyFormat};
use crate::served::Subject;

/// The answer of a [`CatchPanic`](super::CatchPanic) service: the inner service's, or the refusal.
#[pin_project]
pub struct CatchPanicFuture<F> {
    #[pin]
    answer: Answer<F>,
    /// `None` when the layer is off, and once there is an answer.
    watch: Option<Watch>,
}

#[pin_project(project = Projected)]
enum Answer<F> {
    Service(#[pin] F),
    Panicked(Response<Bytes>),
    Given,
}

/// The state needed if the service panics.
pub(super) struct Watch {
    pub(super) format: ReplyFormat,
    pub(super) subject: Subject,
    pub(super) shared: Arc<Shared>,
}

impl Watch {
    pub(super) fn answer(self, panic: &(dyn Any + Send)) -> Response<Bytes> {
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a value that is no text");
        let events = &self.shared.events;
        self.subject
            .describe(&mut |request| events.emit(|| Event::Panicked { message, request }));
        Reply::new(RefusalReason::Internal).answer(self.format, HeaderMap::new())
    }
}

impl<F> CatchPanicFuture<F> {
    pub(super) fn new(future: F, watch: Option<Watch>) -> Self {
        CatchPanicFuture {
            answer: Answer::Service(future),
            watch,
        }
    }

    pub(super) fn panicked(refusal: Response<Bytes>) -> Self {
        CatchPanicFuture {
            answer: Answer::Panicked(refusal),
            watch: None,
        }
    }
}

impl<F, B, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ReplyBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = this.answer;
        let future = match answer.as_mut().project() {
            Projected::Service(future) => future,
            Projected::Panicked(refusal) => {
                let refusal = std::mem::take(refusal);
                answer.set(Answer::Given);
                return Poll::Ready(Ok(ReplyBody::refusal(refusal)));
            }
            Projected::Given => panic!("polled after it was ready"),
        };
        if this.watch.is_none() {
            return future.poll(cx).map_ok(ReplyBody::service);
        }
        // Unwind safe: a future that has panicked is dropped and not polled again.
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(polled) => polled.map_ok(ReplyBody::service),
            Err(panic) => {
                // Its drop is the user's code too.
                let _ = catch_unwind(AssertUnwindSafe(|| answer.set(Answer::Given)));
                let refusal = this.watch.take().map(|watch| watch.answer(&*panic));
                Poll::Ready(Ok(ReplyBody::refusal(refusal.unwrap_or_default())))
            }
        }
    }
}

impl<F> fmt::Debug for CatchPanicFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchPanicFuture").finish_non_exhaustive()
    }
}
