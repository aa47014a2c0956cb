use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::state::{Mark, Shared};
use crate::phase::Phase;

/// How often the ages are told when nothing happens.
const PERIOD: Duration = Duration::from_millis(500);

/// How much time there is between two snapshots, however much happens.
const GAP: Duration = Duration::from_millis(100);

/// How many may watch at once.
pub(super) const MOST_WATCHERS: usize = 64;

/// The body of the page's answers.
pub struct StatusBody(Kind);

enum Kind {
    /// Empty when it has been read.
    Whole(Bytes),
    Live(Live),
    /// Without a length, because what a GET would get has none.
    Nothing,
}

/// A snapshot, as an event, and what it has seen.
type Next = Pin<Box<dyn Future<Output = (Bytes, Mark)> + Send>>;

/// Snapshots, each made when it is asked for: whoever reads slowly misses some, and none waits.
struct Live {
    shared: Arc<Shared>,
    /// The next one, when there is something to tell. One allocation for each.
    next: Option<Next>,
    _watcher: Watcher,
}

/// One of those who watch; there is room for another when it is dropped.
pub(super) struct Watcher(Arc<AtomicUsize>);

impl Watcher {
    /// `None`: there are enough.
    pub fn enter(watchers: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |count| (count < MOST_WATCHERS).then_some(count + 1);
        // Relaxed: a count that orders nothing.
        watchers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Watcher(watchers.clone()))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl StatusBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        StatusBody(Kind::Whole(bytes.into()))
    }

    pub(super) fn nothing() -> Self {
        StatusBody(Kind::Nothing)
    }

    pub(super) fn live(shared: Arc<Shared>, watcher: Watcher) -> Self {
        let first = shared.clone();
        StatusBody(Kind::Live(Live {
            shared,
            next: Some(Box::pin(async move { first.event().await })),
            _watcher: watcher,
        }))
    }
}

/// Until there is something to tell who has seen `seen`.
async fn change(shared: Arc<Shared>, seen: Mark) {
    let moved = async {
        let next = match seen.phase {
            Phase::Starting => Phase::Ready,
            Phase::Ready => Phase::LameDuck,
            Phase::LameDuck => Phase::Draining,
            Phase::Draining => Phase::Closed,
            Phase::Closed => return std::future::pending().await,
        };
        shared.handle.lifecycle().reached(next).await;
    };
    let happened = async {
        tokio::time::sleep(GAP).await;
        shared.happenings.since(seen.version).await;
    };
    tokio::select! {
        _ = shared.handle.reported() => {}
        () = moved => {}
        () = happened => {}
        () = tokio::time::sleep(PERIOD) => {}
    }
}

impl Live {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        let (event, seen) = ready!(next.as_mut().poll(cx));
        let shared = self.shared.clone();
        self.next = (!seen.over).then(|| -> Next {
            Box::pin(async move {
                change(shared.clone(), seen).await;
                shared.event().await
            })
        });
        Poll::Ready(Some(event))
    }
}

impl Body for StatusBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut self.get_mut().0 {
            Kind::Whole(bytes) if bytes.is_empty() => None,
            Kind::Whole(bytes) => Some(std::mem::take(bytes)),
            Kind::Live(live) => ready!(live.poll(cx)),
            Kind::Nothing => None,
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Live(live) => live.next.is_none(),
            Kind::Nothing => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Live(_) | Kind::Nothing => SizeHint::default(),
        }
    }
}

impl fmt::Debug for StatusBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Whole(_) => "StatusBody::Whole",
            Kind::Live(_) => "StatusBody::Live",
            Kind::Nothing => "StatusBody::Nothing",
        })
    }
}
