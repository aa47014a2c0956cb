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

/// The interval of snapshots while nothing happens, which updates the ages.
const PERIOD: Duration = Duration::from_millis(500);

/// The minimum time between two snapshots, however much happens.
const GAP: Duration = Duration::from_millis(100);

/// The maximum number of concurrent watchers.
pub(super) const MAX_WATCHERS: usize = 64;

/// The body of the page's responses.
pub struct StatusBody(Kind);

enum Kind {
    /// Empty once it has been read.
    Whole(Bytes),
    Live(Live),
    /// No length is declared, because the response to a GET has none.
    Nothing,
}

/// A future of a snapshot, as a server-sent event, and of the mark it covers.
type Next = Pin<Box<dyn Future<Output = (Bytes, Mark)> + Send>>;

/// A stream of snapshots, each made on demand: a slow reader misses some, and none is queued.
struct Live {
    shared: Arc<Shared>,
    /// The next snapshot, ready when there is something new. One allocation each.
    next: Option<Next>,
    _watcher: Watcher,
}

/// A slot of a watcher, which its drop releases.
pub(super) struct Watcher(Arc<AtomicUsize>);

impl Watcher {
    /// Returns `None` if all slots are taken.
    pub(crate) fn enter(watchers: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |count| (count < MAX_WATCHERS).then_some(count + 1);
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

/// Waits until there is something new since `seen`.
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
        shared.recent_events.since(seen.version).await;
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
