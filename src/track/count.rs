//! A count whose falls can be awaited.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::sync::{AtomicUsize, ModelledLock, Ordering};

/// The lowest bit: a task waits for a lower count.
const WATCHED: usize = 1;
/// The unit of the count, above that bit.
const ONE: usize = 2;

/// One atomic word (the design of `tokio_util::task::TaskTracker`), and the tasks that wait for a lower count.
pub(super) struct Count {
    word: AtomicUsize,
    /// The highest count that a task waits for; written under the lock.
    highest: AtomicUsize,
    /// The tasks that wait. The bit is set while there are any.
    watchers: ModelledLock<Slab<Watcher>>,
}

struct Watcher {
    most: usize,
    /// `None` once it has been woken.
    waker: Option<Waker>,
}

impl Count {
    pub(crate) fn new() -> Self {
        Count {
            word: AtomicUsize::new(0),
            highest: AtomicUsize::new(0),
            watchers: ModelledLock::new(Slab::new()),
        }
    }

    /// Increments the count, and returns it.
    pub(crate) fn add(&self) -> usize {
        // Relaxed: entering publishes nothing. A task that waits synchronises with the leaving, below.
        self.word.fetch_add(ONE, Ordering::Relaxed) / ONE + 1
    }

    pub(crate) fn remove(&self) {
        // AcqRel. Release: what was done while counted happens before what the waiter does on seeing the count (Acquire
        // in `get`). Acquire: the last guard to leave has all the others' work behind it when it wakes the waiter.
        let before = self.word.fetch_sub(ONE, Ordering::AcqRel);
        if before & WATCHED != 0 {
            self.wake(before / ONE - 1);
        }
    }

    pub(crate) fn get(&self) -> usize {
        self.word.load(Ordering::Acquire) / ONE
    }

    pub(crate) fn at_most(&self, most: usize) -> AtMost<'_> {
        AtMost {
            count: self,
            most,
            place: None,
        }
    }

    /// Wakes those that wait for this count.
    #[cold]
    fn wake(&self, lowered_to: usize) {
        // Relaxed: published by the step that set the bit.
        if lowered_to > self.highest.load(Ordering::Relaxed) {
            return;
        }
        let mut woken = Vec::new();
        let mut watchers = self.watchers.lock();
        // Read again: by now it may be another one, and the tasks others.
        let now = self.get();
        for (_, watcher) in watchers.iter_mut().filter(|(_, it)| now <= it.most) {
            woken.extend(watcher.waker.take());
        }
        drop(watchers);
        // A waker may run and drop what it likes, one that waits here too.
        woken.into_iter().for_each(Waker::wake);
    }
}

/// A future that waits until a count is low enough.
pub(super) struct AtMost<'a> {
    count: &'a Count,
    most: usize,
    /// The place among the watchers, from the first poll on.
    place: Option<usize>,
}

impl AtMost<'_> {
    fn leave(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let mut watchers = self.count.watchers.lock();
        let watcher = watchers.try_remove(place);
        let highest = watchers.iter().map(|(_, watcher)| watcher.most).max();
        self.count
            .highest
            .store(highest.unwrap_or(0), Ordering::Relaxed);
        if highest.is_none() {
            self.count.word.fetch_and(!WATCHED, Ordering::AcqRel);
        }
        drop(watchers);
        // Its waker may own what waits here too: not under the lock.
        drop(watcher);
    }
}

impl Future for AtMost<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Count {
            word,
            highest,
            watchers,
        } = this.count;
        if this.place.is_none() && this.count.get() <= this.most {
            return Poll::Ready(());
        }
        let waker = Some(cx.waker().clone());
        let mut watchers = watchers.lock();
        let (reached, earlier) = match this.place.and_then(|place| watchers.get_mut(place)) {
            Some(Watcher { waker: None, .. }) => (true, waker),
            Some(watcher) => (false, std::mem::replace(&mut watcher.waker, waker)),
            None => {
                let most = this.most;
                this.place = Some(watchers.insert(Watcher { most, waker }));
                if most > highest.load(Ordering::Relaxed) {
                    highest.store(most, Ordering::Relaxed);
                }
                // The bit is set in one step with reading the count. A guard that leaves after this step sees the bit;
                // the effect of one that left before is read here. AcqRel for the pairing named in `remove`, and to
                // publish `highest`.
                let count = word.fetch_or(WATCHED, Ordering::AcqRel) / ONE;
                (count <= most, None)
            }
        };
        drop(watchers);
        drop(earlier);
        if !reached {
            return Poll::Pending;
        }
        this.leave();
        Poll::Ready(())
    }
}

impl Drop for AtMost<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
