//! Synchronisation primitives: a lock, wakers, and the atomics and the notification that the crate's lock-free words
//! are built on. They live in one place so that the model checker can replace them (`RUSTFLAGS="--cfg lameduck_loom"`).
//!
//! The cfg is not the usual `loom`, because tokio reads that one too and drops half of itself.

#[allow(clippy::disallowed_types)] // what `Lock` is made of
use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};
#[cfg(feature = "serve")]
use std::task::Waker;

#[cfg(not(lameduck_loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(lameduck_loom))]
pub(crate) use tokio::sync::Notify;

/// A lock around atomics, which the model checker has to know of: it changes threads at each of them.
#[cfg(not(lameduck_loom))]
pub(crate) use Lock as ModelledLock;

#[cfg(lameduck_loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
#[cfg(lameduck_loom)]
pub(crate) use model::{Lock as ModelledLock, Notify};

/// A mutex without poisoning: its data is consistent at every release, including one by a panic.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types)] // the one place
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    #[allow(clippy::disallowed_types)]
    pub(crate) const fn new(value: T) -> Self {
        Lock(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores `waker`, and clones it only if the stored one wakes another task.
#[cfg(feature = "serve")]
pub(crate) fn set_waker(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(kept) => kept.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}

/// A model of `tokio::sync::Notify` for the model checker. It has the one property the crate relies on: a `notified()`
/// future that was enabled before `notify_waiters()` completes.
#[cfg(lameduck_loom)]
mod model {
    use loom::sync::Mutex;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    pub(crate) struct Lock<T>(Mutex<T>);

    impl<T> Lock<T> {
        pub(crate) fn new(value: T) -> Self {
            Lock(Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    #[derive(Default)]
    struct Waiters {
        notified: usize,
        wakers: Vec<Waker>,
    }

    pub(crate) struct Notify(Mutex<Waiters>);

    pub(crate) struct Notified<'a> {
        notify: &'a Notify,
        since: Option<usize>,
    }

    impl Notify {
        pub(crate) fn new() -> Self {
            Notify(Mutex::new(Waiters::default()))
        }

        pub(crate) fn notified(&self) -> Notified<'_> {
            Notified {
                notify: self,
                since: None,
            }
        }

        pub(crate) fn notify_waiters(&self) {
            let mut waiters = self.0.lock().unwrap();
            waiters.notified += 1;
            let wakers = std::mem::take(&mut waiters.wakers);
            drop(waiters);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    impl Notified<'_> {
        pub(crate) fn enable(self: Pin<&mut Self>) -> bool {
            let this = self.get_mut();
            let notified = this.notify.0.lock().unwrap().notified;
            *this.since.get_or_insert(notified) != notified
        }
    }

    impl Future for Notified<'_> {
        type Output = ();
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let this = self.get_mut();
            let mut waiters = this.notify.0.lock().unwrap();
            if *this.since.get_or_insert(waiters.notified) != waiters.notified {
                return Poll::Ready(());
            }
            waiters.wakers.push(cx.waker().clone());
            Poll::Pending
        }
    }
}
