use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Grace;
use super::subscriber::{State, Subscriber};
use super::thread::{THREAD, Thread, UNSUBSCRIBED};
use crate::shutdown::ShutdownHandle;
use crate::shutdown::signals::{Heard, Signals};
use crate::sync::Lock;

/// A subscription of a shutdown to signals, until it is dropped.
pub(in crate::shutdown) struct Subscription {
    thread: &'static Thread,
    subscriber: Arc<Subscriber>,
    /// The treatment of signals after the drop.
    left: Left,
}

/// The record of a shutdown that leaves the signals to others.
pub(in crate::shutdown) struct Unsubscribed(());

/// The end of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// It was dropped: a signal ends the process, as it would without a handler.
    Dropped,
    /// It was withdrawn: signals are left to others.
    Withdrawn,
    /// The shutdown is over, and so is the process, except for the work that still holds it.
    Finished,
}

impl Subscription {
    /// Installs the handlers, the first time in the process.
    pub(crate) fn new(handle: ShutdownHandle, signals: Signals, grace: Grace) -> io::Result<Self> {
        let thread = Thread::get()?;
        let subscriber = Arc::new(Subscriber {
            handle,
            state: Lock::new(State {
                signals,
                grace,
                heard: Heard::default(),
            }),
        });
        let mut subscribers = thread.subscribers.lock();
        subscribers.live.push(subscriber.clone());
        subscribers.finished.clear();
        drop(subscribers);
        Ok(Subscription {
            thread,
            subscriber,
            left: Left::Dropped,
        })
    }

    pub(crate) fn set(&self, signals: Signals, grace: Grace) {
        let mut state = self.subscriber.state.lock();
        (state.signals, state.grace) = (signals, grace);
        let armed = state.heard.first.is_some();
        drop(state);
        if armed {
            self.thread.wake();
        }
    }

    /// Returns the time at which the process is ended, if a signal has begun its end.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.subscriber.deadline()
    }

    /// Leaves the signals to others.
    pub(crate) fn withdraw(mut self) {
        self.left = Left::Withdrawn;
    }

    /// Finishes, once the report is made: the process has the rest of its grace to end.
    pub(crate) fn finish(mut self) {
        self.left = Left::Finished;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribers = self.thread.subscribers.lock();
        subscribers
            .live
            .retain(|live| !Arc::ptr_eq(live, &self.subscriber));
        if self.left != Left::Withdrawn {
            subscribers.last = Some(self.subscriber.clone());
        }
        if self.left == Left::Finished && self.subscriber.deadline().is_some() {
            subscribers.finished.push(self.subscriber.clone());
        }
        drop(subscribers);
        // It may have waited for a deadline that no longer exists.
        self.thread.wake();
    }
}

impl Unsubscribed {
    pub(crate) fn new() -> Self {
        // Relaxed: a count that orders nothing.
        UNSUBSCRIBED.fetch_add(1, Ordering::Relaxed);
        if let Some(Ok(thread)) = THREAD.get() {
            thread.subscribers.lock().finished.clear();
        }
        Unsubscribed(())
    }
}

impl Drop for Unsubscribed {
    fn drop(&mut self) {
        UNSUBSCRIBED.fetch_sub(1, Ordering::Relaxed);
    }
}
