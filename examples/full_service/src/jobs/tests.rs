//! The promises of the workers, on both databases.

mod instance;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Handler, Handlers, JobError, MOST_ATTEMPTS, Outcome, delay, worker::Worker};
use crate::store::{
    Job, NewJob, OrderStatus, Origin, Store,
    tests::{Fresh, created, new_order, on_both},
};

on_both! {
    the_job_of_an_order_confirms_it
    a_hint_comes_before_the_poll
    a_stop_lets_the_current_job_finish_and_claims_no_more
    a_long_job_gives_itself_back_at_the_stop
    the_job_of_a_worker_that_was_killed_is_taken_over_after_its_lease
    a_lease_lasts_as_long_as_the_work
    a_panic_is_a_failed_attempt_and_stops_no_worker
    a_job_that_kills_each_process_is_dead_in_the_end
    the_work_of_a_lost_lease_is_aborted
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(600);

/// Jobs that begin and end as a test says.
#[derive(Clone)]
struct Steps {
    begun: Arc<Semaphore>,
    go_on: Arc<Semaphore>,
    ended: Arc<Semaphore>,
    /// The number of runs that were dropped before their end.
    dropped: Arc<AtomicUsize>,
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Steps {
    fn new() -> Self {
        let none = || Arc::new(Semaphore::new(0));
        Self {
            begun: none(),
            go_on: none(),
            ended: none(),
            dropped: Arc::default(),
        }
    }
}

impl Handler for Steps {
    async fn run(&self, job: &Job, stop: CancellationToken) -> Result<Outcome, JobError> {
        self.begun.add_permits(1);
        match job.kind.as_str() {
            "long" => {
                stop.cancelled().await;
                return Ok(Outcome::GiveBack);
            }
            "panic" => panic!("this job panics"),
            _ => {}
        }
        let guard = Dropped(self.dropped.clone());
        self.go_on.acquire().await?.forget();
        std::mem::forget(guard);
        self.ended.add_permits(1);
        Ok(Outcome::Done)
    }
}

/// Waits for a step.
async fn wait(step: &Semaphore, what: &str) {
    let permit = timeout(PATIENCE, step.acquire()).await;
    permit.expect(what).expect("open").forget();
}

/// Waits until a job has this state.
async fn until(store: &Store, id: Uuid, state: &str) {
    let there = async {
        while store.job_state(id).await.expect("an answer").as_deref() != Some(state) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, there).await.expect(state);
}

async fn enqueue(store: &Store, kind: &'static str) -> Uuid {
    let job = NewJob {
        kind,
        payload: serde_json::json!({}),
        origin: Origin::default(),
    };
    store.enqueue(&job).await.expect("a job")
}

/// Starts a worker that polls often.
fn start<H: Handler>(
    store: &Store,
    handler: &H,
    owner: &str,
    lease: Duration,
) -> (JoinHandle<()>, CancellationToken) {
    start_with(store, handler, owner, lease, Duration::from_millis(20))
}

fn start_with<H: Handler>(
    store: &Store,
    handler: &H,
    owner: &str,
    lease: Duration,
    poll: Duration,
) -> (JoinHandle<()>, CancellationToken) {
    let worker = Worker {
        store: store.clone(),
        handler: handler.clone(),
        owner: owner.to_owned(),
        lease,
        poll,
    };
    let stop = CancellationToken::new();
    (tokio::spawn(worker.run(stop.clone())), stop)
}

async fn ended(worker: JoinHandle<()>) {
    let end = timeout(PATIENCE, worker).await.expect("its end");
    end.expect("no panic");
}

async fn the_job_of_an_order_confirms_it(fresh: Fresh) {
    let store = &fresh.store;
    let (worker, stop) = start(store, &Handlers::new(store.clone()), "one", LONG);
    let new = new_order(fresh.user().await.id);
    let order = created(store.create_order(&new, None, None).await);
    let confirmed = async {
        loop {
            let order = store.order(order.id).await.expect("read").expect("there");
            if order.status == OrderStatus::Confirmed {
                break order;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let confirmed = timeout(PATIENCE, confirmed).await.expect("confirmed");
    assert_eq!(confirmed.version, 2);
    stop.cancel();
    ended(worker).await;
    let done = "SELECT count(*) FROM jobs WHERE state = 'done'";
    assert_eq!(fresh.number(done).await, 1);
}

async fn a_hint_comes_before_the_poll(fresh: Fresh) {
    let steps = Steps::new();
    // On PostgreSQL the hint crosses from one instance to another; on SQLite there is one.
    let other = match &fresh.store {
        Store::Sqlite(_) => fresh.store.clone(),
        Store::Postgres(_) => fresh.again().await,
    };
    let stop_listener = CancellationToken::new();
    let listener = match &other {
        Store::Sqlite(_) => None,
        Store::Postgres(store) => Some(tokio::spawn(store.listener().run(stop_listener.clone()))),
    };
    if let Some(server) = fresh.server() {
        let listening = async {
            let listening = "SELECT count(*) FROM pg_stat_activity
                WHERE query LIKE 'LISTEN%' AND state = 'idle' AND datname = current_database()";
            while server.ask(listening) == "0" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, listening).await.expect("a listener");
    }
    let (worker, stop) = start_with(&other, &steps, "one", LONG, LONG);
    let new = new_order(fresh.user().await.id);
    for _ in 0..3 {
        created(fresh.store.create_order(&new, None, None).await);
        wait(&steps.begun, "a hint").await;
        steps.go_on.add_permits(1);
        wait(&steps.ended, "an end").await;
    }
    stop.cancel();
    ended(worker).await;
    stop_listener.cancel();
    if let (Some(listener), Some(server)) = (listener, fresh.server()) {
        ended(listener).await;
        other.close().await;
        assert!(!server.log().contains("unexpected EOF"));
    }
}

async fn a_stop_lets_the_current_job_finish_and_claims_no_more(fresh: Fresh) {
    let (store, steps) = (&fresh.store, Steps::new());
    let first = enqueue(store, "step").await;
    let second = enqueue(store, "step").await;
    let (worker, stop) = start(store, &steps, "one", LONG);
    wait(&steps.begun, "the first job").await;
    stop.cancel();
    // Both may go on; only the first one has begun.
    steps.go_on.add_permits(2);
    ended(worker).await;
    let state = async |id| store.job_state(id).await.expect("an answer");
    assert_eq!(state(first).await.as_deref(), Some("done"));
    assert_eq!(state(second).await.as_deref(), Some("queued"));
}

async fn a_long_job_gives_itself_back_at_the_stop(fresh: Fresh) {
    let (store, steps) = (&fresh.store, Steps::new());
    let id = enqueue(store, "long").await;
    let (worker, stop) = start(store, &steps, "one", LONG);
    wait(&steps.begun, "the job").await;
    stop.cancel();
    ended(worker).await;
    let job = store.claim("two", LONG).await.expect("an answer");
    let job = job.expect("the job, without a wait");
    assert_eq!((job.id, job.attempts), (id, 1));
}

async fn the_job_of_a_worker_that_was_killed_is_taken_over_after_its_lease(fresh: Fresh) {
    const LEASE: Duration = Duration::from_millis(1_500);
    let (store, steps) = (&fresh.store, Steps::new());
    let id = enqueue(store, "step").await;
    let (killed, _) = start(store, &steps, "killed", LEASE);
    wait(&steps.begun, "the job").await;
    killed.abort();
    let _ = killed.await;
    let (worker, stop) = start(&fresh.again().await, &steps, "next", LEASE);
    wait(&steps.begun, "the job again").await;
    steps.go_on.add_permits(1);
    until(store, id, "done").await;
    stop.cancel();
    ended(worker).await;
    let attempts = "SELECT CAST(attempts AS bigint) FROM jobs";
    assert_eq!(fresh.number(attempts).await, 2);
    assert_eq!(steps.dropped.load(Ordering::SeqCst), 1);
}

async fn a_lease_lasts_as_long_as_the_work(fresh: Fresh) {
    const LEASE: Duration = Duration::from_secs(3);
    let (store, steps) = (&fresh.store, Steps::new());
    let id = enqueue(store, "step").await;
    let workers = [
        start(store, &steps, "one", LEASE),
        start(store, &steps, "two", LEASE),
    ];
    wait(&steps.begun, "the job").await;
    let again = timeout(LEASE * 2, steps.begun.acquire()).await;
    assert!(again.is_err(), "its lease ran out while it worked");
    steps.go_on.add_permits(1);
    until(store, id, "done").await;
    for (worker, stop) in workers {
        stop.cancel();
        ended(worker).await;
    }
}

async fn a_panic_is_a_failed_attempt_and_stops_no_worker(fresh: Fresh) {
    let (store, steps) = (&fresh.store, Steps::new());
    let bad = enqueue(store, "panic").await;
    let good = enqueue(store, "step").await;
    steps.go_on.add_permits(1);
    let (worker, stop) = start(store, &steps, "one", LONG);
    until(store, good, "done").await;
    stop.cancel();
    ended(worker).await;
    let state = store.job_state(bad).await.expect("an answer");
    assert_eq!(state.as_deref(), Some("queued"));
    let panicked = "SELECT count(*) FROM jobs WHERE last_error = 'it panicked'";
    assert_eq!(fresh.number(panicked).await, 1);
}

async fn a_job_that_kills_each_process_is_dead_in_the_end(fresh: Fresh) {
    let (store, steps) = (&fresh.store, Steps::new());
    let id = enqueue(store, "step").await;
    for attempt in 1..=MOST_ATTEMPTS {
        let job = store.claim("killed", Duration::ZERO).await;
        assert_eq!(job.expect("an answer").expect("a job").attempts, attempt);
    }
    let (worker, stop) = start(store, &steps, "one", LONG);
    until(store, id, "dead").await;
    stop.cancel();
    ended(worker).await;
    assert_eq!(steps.begun.available_permits(), 0);
}

async fn the_work_of_a_lost_lease_is_aborted(fresh: Fresh) {
    const LEASE: Duration = Duration::from_millis(900);
    let (store, steps) = (&fresh.store, Steps::new());
    let id = enqueue(store, "step").await;
    let (worker, stop) = start(store, &steps, "late", LEASE);
    wait(&steps.begun, "the job").await;
    // Another worker has it, as after a pause of the machine.
    fresh
        .run("UPDATE jobs SET owner = 'other', attempts = attempts + 1")
        .await;
    let aborted = async {
        while steps.dropped.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, aborted)
        .await
        .expect("the end of its work");
    stop.cancel();
    ended(worker).await;
    let owned = "SELECT count(*) FROM jobs WHERE owner = 'other' AND state = 'running'";
    assert_eq!(fresh.number(owned).await, 1, "{id}");
}

#[test]
fn pauses_double_to_five_minutes_and_end_after_the_last_attempt() {
    let longest = |attempts| delay(attempts, 0.0).map(|delay| delay.as_secs());
    let seconds = [1, 2, 3, 8, 9, 10, 19].map(longest);
    assert_eq!(seconds, [1, 2, 4, 128, 256, 300, 300].map(Some));
    assert_eq!(longest(20), None);
    assert_eq!(longest(21), None);
    assert_eq!(delay(1, 1.0), Some(Duration::from_millis(500)));
}
