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
mod subject;

pub use event::{Closed, Event, Timeout};
pub use request::RequestInfo;
pub(crate) use request::target;
pub(crate) use subject::Subject;

use std::fmt;
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
    pub fn to(listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Events {
            listener: Some(Arc::new(listener)),
        }
    }

    /// Tells `other` too, after those who listen already.
    #[must_use]
    pub fn and(self, other: Events) -> Self {
        match (self.listener, other.listener) {
            (Some(first), Some(second)) => Events::to(move |event| {
                first(event);
                second(event);
            }),
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
