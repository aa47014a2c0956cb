use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::StepOutput;
use super::order::{Order, Orders};
use super::{Step, StepEnd, StepKind};
use crate::sync::Lock;
use crate::track::{Tally, TallyGuard};

/// The workers of a process. Those that end by themselves leave nothing behind.
pub(super) struct Workers {
    stop: CancellationToken,
    running: Arc<Tally>,
    shared: Arc<Lock<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// The workers by number. A number is never used again: a worker that has ended leaves nothing that could be
    /// mistaken for a later one.
    named: BTreeMap<u64, Worker>,
    next: u64,
    /// The steps to report of ended workers: those that stopped on request, and those that panicked.
    ended: Vec<Step>,
    asked: Option<Instant>,
    /// The first early end under each name that failed or panicked.
    failed: Vec<(String, StepEnd)>,
}

/// Called with the name and the end of a worker that ended before it was to stop.
pub(crate) type OnEnd = Box<dyn FnOnce(&str, &StepEnd) + Send>;

impl Shared {
    fn enter(&mut self, name: &str) -> u64 {
        let number = self.next;
        self.next += 1;
        let worker = Worker {
            name: name.to_owned(),
            abort: None,
        };
        self.named.insert(number, worker);
        number
    }
}

struct Worker {
    name: String,
    abort: Option<AbortHandle>,
}

impl Workers {
    pub(crate) fn new() -> Self {
        Workers {
            stop: CancellationToken::new(),
            running: Arc::default(),
            shared: Arc::default(),
        }
    }

    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    pub(crate) fn failed(&self) -> Vec<(String, StepEnd)> {
        self.shared().failed.clone()
    }

    pub(crate) fn spawn<F, R>(&self, name: &str, work: F, on_end: OnEnd)
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output: StepOutput> + Send + 'static,
    {
        let work = work(self.stop.child_token());
        let number = self.shared().enter(name);
        let guard = RunningGuard {
            number,
            shared: self.shared.clone(),
            finished: None,
            on_end: Some(on_end),
            _running: Tally::enter(&self.running),
        };
        let task = tokio::spawn(async move {
            // The whole of it, or the block would copy the flag and leave the guard behind.
            let mut guard = guard;
            guard.finished = Some(work.await.into_end());
        });
        let mut shared = self.shared();
        match shared.named.get_mut(&number) {
            Some(worker) => worker.abort = Some(task.abort_handle()),
            // It has ended already, or its time was up while it was being spawned.
            None => task.abort(),
        }
    }

    /// Asks all to stop, waits, aborts the rest, and reports.
    pub(crate) async fn stop(&self, budget: Duration, orders: &Orders) -> Vec<Step> {
        let asked = Instant::now();
        self.shared().asked = Some(asked);
        self.stop.cancel();
        // The report of those that have not ended by then.
        let end = tokio::select! {
            biased;
            () = self.running.idle() => StepEnd::TimedOut,
            () = orders.at_least(Order::Cut) => StepEnd::CutShort,
            () = tokio::time::sleep(budget) => StepEnd::TimedOut,
        };
        self.abort_the_rest(asked, end)
    }

    /// Asks all to stop, and aborts them.
    pub(crate) fn abort(&self) -> Vec<Step> {
        let asked = *self.shared().asked.get_or_insert_with(Instant::now);
        self.stop.cancel();
        self.abort_the_rest(asked, StepEnd::CutShort)
    }

    fn abort_the_rest(&self, asked: Instant, end: StepEnd) -> Vec<Step> {
        let mut shared = self.shared();
        let mut steps = std::mem::take(&mut shared.ended);
        for worker in std::mem::take(&mut shared.named).into_values() {
            if let Some(abort) = worker.abort {
                abort.abort();
            }
            let took = asked.elapsed();
            let kind = StepKind::Worker;
            steps.push(Step::new(kind, worker.name, took, end.clone()));
        }
        steps
    }
}

/// The registration of a running worker; dropped with its task, however that ends.
struct RunningGuard {
    number: u64,
    shared: Arc<Lock<Shared>>,
    finished: Option<StepEnd>,
    on_end: Option<OnEnd>,
    _running: TallyGuard,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        // Absent: it was aborted, and is reported already.
        let Some(worker) = shared.named.remove(&self.number) else {
            return;
        };
        let took = shared.asked.map(|asked| asked.elapsed());
        // Without a panic of its own it was dropped with its runtime.
        let ended = self.finished.is_some() || std::thread::panicking();
        let end = self.finished.take().unwrap_or(StepEnd::Panicked);
        let early = took.is_none();
        // One that ended well by itself long before the end leaves nothing to report.
        if !early || end != StepEnd::Done {
            let is_known = |(name, _): &(String, StepEnd)| *name == worker.name;
            if early && ended && !shared.failed.iter().any(is_known) {
                shared.failed.push((worker.name.clone(), end.clone()));
            }
            let took = took.unwrap_or_default();
            let step = Step::new(StepKind::Worker, worker.name.clone(), took, end.clone());
            shared.ended.push(step);
        }
        drop(shared);
        if early && ended {
            if let Some(on_end) = self.on_end.take() {
                on_end(&worker.name, &end);
            }
        }
    }
}
