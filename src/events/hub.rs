use std::fmt;
use std::sync::{Arc, OnceLock};

use super::Event;

pub(super) type Listener = dyn Fn(&Event<'_>) + Send + Sync;

/// One place where an event goes.
#[derive(Clone)]
pub(crate) enum Source {
    Listener(Arc<Listener>),
    Hub(Arc<Hub>),
}

impl Source {
    pub(super) fn has_listener(&self) -> bool {
        match self {
            Source::Listener(_) => true,
            Source::Hub(hub) => hub.has_listener(),
        }
    }

    pub(super) fn is(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Listener(one), Source::Listener(other)) => Arc::ptr_eq(one, other),
            (Source::Hub(one), Source::Hub(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// The listeners of a process. They are added at any time and never removed, so that an event is emitted without a
/// lock.
#[derive(Default)]
pub(crate) struct Hub {
    first: Link,
}

type Link = OnceLock<Box<Node>>;

struct Node {
    source: Source,
    next: Link,
}

impl Hub {
    /// Adds the `sources` that are not present yet.
    pub(super) fn add(self: &Arc<Self>, sources: &[Source]) {
        for source in sources {
            let known = match source {
                Source::Listener(listener) => self.contains(listener),
                // A cycle of hubs would emit an event for ever.
                Source::Hub(other) => other.reaches(self) || self.reaches(other),
            };
            if !known {
                self.push(source.clone());
            }
        }
    }

    fn push(&self, source: Source) {
        let mut node = Box::new(Node {
            source,
            next: Link::new(),
        });
        let mut end = &self.first;
        // Another thread may have added a node meanwhile: the new one follows it.
        loop {
            match end.set(node) {
                Ok(()) => return,
                Err(rejected) => node = rejected,
            }
            match end.get() {
                Some(last) => end = &last.next,
                None => return,
            }
        }
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        let mut next = self.first.get();
        std::iter::from_fn(move || {
            let node = next?;
            next = node.next.get();
            Some(&node.source)
        })
    }

    pub(crate) fn has_listener(&self) -> bool {
        self.sources().any(Source::has_listener)
    }

    pub(crate) fn contains(&self, listener: &Arc<Listener>) -> bool {
        self.sources().any(|source| match source {
            Source::Listener(own) => Arc::ptr_eq(own, listener),
            Source::Hub(hub) => hub.contains(listener),
        })
    }

    fn reaches(self: &Arc<Self>, other: &Arc<Hub>) -> bool {
        Arc::ptr_eq(self, other)
            || self.sources().any(|source| match source {
                Source::Hub(hub) => hub.reaches(other),
                Source::Listener(_) => false,
            })
    }

    pub(crate) fn emit(&self, event: &Event<'_>) {
        emit(|| self.sources(), event);
    }
}

/// Emits to all sources, and to each listener once.
pub(super) fn emit<'a, I>(sources: impl Fn() -> I, event: &Event<'_>)
where
    I: Iterator<Item = &'a Source>,
{
    for source in sources() {
        match source {
            Source::Hub(hub) => hub.emit(event),
            Source::Listener(listener) => {
                // Evaluated per event, because the listener may have been added to a hub after it was passed here.
                let heard =
                    |other: &Source| matches!(other, Source::Hub(hub) if hub.contains(listener));
                if !sources().any(heard) {
                    listener(event);
                }
            }
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Iterative: recursion would overflow the stack on a long list.
        let mut next = self.first.take();
        while let Some(mut node) = next {
            next = node.next.take();
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("listeners", &self.sources().count())
            .finish()
    }
}
