use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use redis::{Cmd, RedisError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error::Slow;
use super::link::{Connected, Link};
use super::script::only_this_key;
use crate::rate_limit::decision::Decision;

type Question = Pin<Box<dyn Future<Output = Option<Decision>> + Send>>;

/// A query to Redis. It yields `None` if the local limiter must decide.
///
/// It may be dropped at any time. A query that has been sent is then completed by a task of its own, up to its answer
/// or its deadline: outstanding queries stay counted, and a hanging Redis is detected even if all clients give up
/// earlier.
pub(in crate::rate_limit) struct Check {
    question: Option<Question>,
    begun: bool,
}

impl Check {
    /// Creates a check that leaves the decision to the local limiter at once.
    pub(super) fn local() -> Self {
        Check {
            question: None,
            begun: false,
        }
    }

    pub(super) fn ask(link: Arc<Link>, cmd: Cmd, permit: OwnedSemaphorePermit) -> Self {
        // Boxed, so that it can outlive a cancelled request; a round trip costs a hundred times more.
        Check {
            question: Some(Box::pin(ask(link, cmd, permit))),
            begun: false,
        }
    }
}

impl Future for Check {
    type Output = Option<Decision>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(question) = &mut this.question else {
            return Poll::Ready(None);
        };
        this.begun = true;
        let answer = std::task::ready!(question.as_mut().poll(cx));
        this.question = None;
        Poll::Ready(answer)
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        if let (Some(question), Ok(runtime)) =
            (self.question.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(question);
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("asking", &self.question.is_some())
            .finish()
    }
}

async fn ask(link: Arc<Link>, cmd: Cmd, permit: OwnedSemaphorePermit) -> Option<Decision> {
    let deadline = link.settings.deadline;
    // The connection in use, needed when the deadline passes.
    let mut asked: Option<Arc<Connected>> = None;
    let answer = timeout(deadline, async {
        let connected = &*asked.insert(link.connection().await?);
        let mut redis = connected.redis.clone();
        Some(link.settings.gcra.ask(&cmd, &mut redis).await)
    })
    .await;
    drop(permit);
    let decision = match (answer, asked) {
        (Ok(Some(Ok(decision))), Some(connected)) => {
            Link::answered(&connected);
            Some(decision)
        }
        (Ok(Some(Err(error))), Some(connected)) => {
            if only_this_key(&error) {
                Link::answered(&connected);
            } else {
                link.failed(&connected, lost(&error), &error);
            }
            None
        }
        (Err(_), Some(connected)) => {
            link.failed(&connected, false, &Slow(deadline));
            None
        }
        _ => None,
    };
    if decision.is_none() {
        link.fell_back();
    }
    decision
}

/// Returns `true` if the connection is lost.
fn lost(error: &RedisError) -> bool {
    (error.is_io_error() && !error.is_timeout()) || error.is_unrecoverable_error()
}
