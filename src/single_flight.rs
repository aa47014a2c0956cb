use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex as Turn;

use crate::sync::Lock;

/// A cell that computes a value once for all concurrent callers: one computation runs at a time, and callers that asked
/// before it began share its result. Waiting blocks no thread.
#[derive(Debug)]
pub(crate) struct SingleFlight<T> {
    /// Held while a value is computed.
    turn: Turn<()>,
    begun: AtomicU64,
    /// Held no longer than a clone takes.
    last: Lock<Option<Made<T>>>,
}

#[derive(Clone, Debug)]
struct Made<T> {
    number: u64,
    value: T,
}

impl<T: Clone> SingleFlight<T> {
    pub(crate) fn new() -> Self {
        SingleFlight {
            turn: Turn::new(()),
            begun: AtomicU64::new(0),
            last: Lock::new(None),
        }
    }

    /// Returns the last value if it `still_fits`, or one whose computation begins after this call.
    ///
    /// Cancel safe.
    pub(crate) async fn get(&self, still_fits: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> T {
        // Relaxed: the number is read again under the locks that order the values. A stale, lower number belongs to an
        // older call and only causes another computation.
        let asked = self.begun.load(Ordering::Relaxed);
        let last = || {
            let last = self.last.lock();
            last.clone()
        };
        if let Some(made) = last().filter(|made| still_fits(&made.value)) {
            return made.value;
        }
        let _turn = self.turn.lock().await;
        let shared = |made: &Made<T>| made.number > asked || still_fits(&made.value);
        if let Some(made) = last().filter(shared) {
            return made.value;
        }
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let value = make();
        let made = Made {
            number,
            value: value.clone(),
        };
        let before = {
            let mut last = self.last.lock();
            last.replace(made)
        };
        drop(before);
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn sequential_callers_get_separate_values() {
        let flight = SingleFlight::new();
        for round in 0..3 {
            assert_eq!(flight.get(|_| false, || round).await, round);
        }
        assert_eq!(
            flight.get(|last| *last == 2, || 7).await,
            2,
            "it still fits"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn concurrent_callers_share_and_computations_do_not_overlap() {
        let flight = Arc::new(SingleFlight::new());
        let made = Arc::new(AtomicUsize::new(0));
        let at_once = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(tokio::sync::Barrier::new(50));
        let clients: Vec<_> = (0..50)
            .map(|_| {
                let (flight, made) = (flight.clone(), made.clone());
                let (at_once, asked) = (at_once.clone(), asked.clone());
                tokio::spawn(async move {
                    asked.wait().await;
                    let make = || {
                        assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                        std::thread::sleep(Duration::from_millis(100));
                        at_once.fetch_sub(1, Ordering::SeqCst);
                        made.fetch_add(1, Ordering::SeqCst)
                    };
                    flight.get(|_| false, make).await
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        // Callers that arrive during a computation share the next one: about three computations on an idle machine.
        let made = made.load(Ordering::SeqCst);
        assert!(made < 25, "{made}");
    }
}
