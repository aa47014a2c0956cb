//! What happened, told once.
//!
//! A room tells an [`Event`] and never knows who listens; logs, metrics and a status page are
//! listeners. Without a listener an event costs one branch: it is not even made.
//!
//! ```
//! use lameduck::events::{Event, Events};
//! use lameduck::Phase;
//!
//! let events = Events::to(|event: &Event<'_>| println!("{event}"));
//! events.tell(|| Event::Phase(Phase::Draining));
//! ```

mod event;
mod request;

pub use event::{Closed, Event, Timeout};
pub use request::RequestInfo;
pub(crate) use request::target;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

type Listener = dyn Fn(&Event<'_>) + Send + Sync;

/// Where events go: nowhere by default, or to listeners. Clones share them.
#[derive(Clone, Default)]
pub struct Events {
    listener: Option<Arc<Listener>>,
}

impl Events {
    /// Tells nobody.
    pub const fn none() -> Self {
        Events { listener: None }
    }

    /// Tells `listener`, on the thread and in the moment of the event: it must be quick and must not
    /// block.
    ///
    /// A panic in it ends with it: what emits the event (the accept loop, a connection, the shutdown) goes on,
    /// and other listeners hear the event.
    pub fn to(listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Events {
            listener: Some(Arc::new(move |event: &Event<'_>| {
                // The panic hook has reported it. Unwind safe: nothing of ours is seen half done by it.
                let _ = catch_unwind(AssertUnwindSafe(|| listener(event)));
            })),
        }
    }

    /// Tells `other` too, after those who listen already.
    #[must_use]
    pub fn and(self, other: Events) -> Self {
        match (self.listener, other.listener) {
            (Some(first), Some(second)) => Events {
                listener: Some(Arc::new(move |event: &Event<'_>| {
                    first(event);
                    second(event);
                })),
            },
            (first, second) => Events {
                listener: first.or(second),
            },
        }
    }

    /// Whether there is a listener: what only an event needs is looked up for one alone.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        self.listener.is_some()
    }

    /// Calls `emit` if there is a listener, for an event that borrows what only it needs.
    #[cfg(feature = "serve")]
    pub(crate) fn tell_with(&self, emit: impl FnOnce(&dyn Fn(&Event<'_>))) {
        if let Some(listener) = &self.listener {
            emit(&**listener);
        }
    }

    /// Tells the event, which is made only if somebody listens.
    #[inline]
    pub fn tell<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if let Some(listener) = &self.listener {
            listener(&event());
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("listened_to", &self.listener.is_some())
            .finish()
    }
}

#[cfg(test)]
#[test]
fn a_listener_that_panics_harms_nothing_else() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let heard = Arc::new(AtomicUsize::new(0));
    let count = || {
        let heard = heard.clone();
        Events::to(move |_| {
            heard.fetch_add(1, Ordering::Relaxed);
        })
    };
    let panics = Events::to(|_| panic!("a listener's own fault"));
    let events = count().and(panics).and(count());
    for _ in 0..2 {
        events.tell(|| Event::RateLimitRestored);
    }
    assert_eq!(heard.load(Ordering::Relaxed), 4);
}
