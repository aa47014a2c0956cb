use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use pin_project::pin_project;

use super::answer::Pending;
use crate::reply::ReplyBody;

/// The response future of a [`HealthService`](super::HealthService) service: the inner service's, or a probe's.
#[pin_project]
pub struct HealthFuture<F> {
    #[pin]
    answer: Answer<F>,
}

#[pin_project(project = Projected)]
enum Answer<F> {
    Passed(#[pin] F),
    Probe(Pending),
}

impl<F> HealthFuture<F> {
    pub(super) fn passed(future: F) -> Self {
        HealthFuture {
            answer: Answer::Passed(future),
        }
    }

    pub(super) fn answered(pending: Pending) -> Self {
        HealthFuture {
            answer: Answer::Probe(pending),
        }
    }
}

impl<F, B, E> Future for HealthFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ReplyBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            Projected::Passed(future) => future.poll(cx).map_ok(ReplyBody::service),
            // The variant `refusal` holds any response made by a layer itself.
            Projected::Probe(pending) => pending.poll(cx).map(ReplyBody::refusal).map(Ok),
        }
    }
}

impl<F> fmt::Debug for HealthFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthFuture").finish_non_exhaustive()
    }
}
