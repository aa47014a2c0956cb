use super::*;

on_both! {
    a_job_is_claimed_once_and_its_lease_taken_over
    a_late_worker_writes_nothing
    a_job_given_back_has_lost_no_attempt
    a_failed_job_waits_and_a_dead_one_is_queued_again
    many_workers_claim_each_job_once
    what_is_not_done_is_counted
    what_is_a_day_old_is_swept
    an_instance_is_there_until_it_is_gone
}

const LEASE: Duration = Duration::from_secs(60);
/// A lease that has run out when its claim returns.
const NO_LEASE: Duration = Duration::ZERO;

async fn enqueue(store: &Store) -> Uuid {
    let job = NewJob {
        kind: "test",
        payload: serde_json::json!({ "n": 1 }),
        origin: Origin {
            request_id: Some("r-1"),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        },
    };
    store.enqueue(&job).await.expect("a job")
}

async fn claim(store: &Store, owner: &str, lease: Duration) -> Option<Job> {
    store.claim(owner, lease).await.expect("an answer")
}

async fn state(store: &Store, id: Uuid) -> String {
    let state = store.job_state(id).await.expect("an answer");
    state.expect("a job")
}

async fn a_job_is_claimed_once_and_its_lease_taken_over(fresh: Fresh) {
    let (one, two) = (&fresh.store, &fresh.again().await);
    let id = enqueue(one).await;
    let job = claim(one, "one", LEASE).await.expect("a job");
    assert_eq!((job.id, job.attempts, job.owner.as_str()), (id, 1, "one"));
    assert_eq!(job.payload["n"], 1);
    assert_eq!(job.request_id.as_deref(), Some("r-1"));
    assert!(job.traceparent.is_some());
    assert_eq!(claim(two, "two", LEASE).await, None);

    // The lease ends, as that of a process that was killed does.
    assert!(one.heartbeat(&job, NO_LEASE).await.expect("an end"));
    let taken = claim(two, "two", LEASE).await.expect("the same job");
    assert_eq!((taken.id, taken.attempts), (id, 2));
    assert!(two.done(&taken).await.expect("an end"));
    assert_eq!(state(one, id).await, "done");
    assert_eq!(claim(one, "one", LEASE).await, None);
}

async fn what_is_not_done_is_counted(fresh: Fresh) {
    let store = &fresh.store;
    let counted = async || {
        let counts = store.job_counts().await.expect("an answer");
        let waits = counts.longest_wait;
        ((counts.queued, counts.running, counts.dead), waits)
    };
    assert_eq!(counted().await, ((0, 0, 0), Duration::ZERO));
    for _ in 0..4 {
        enqueue(store).await;
    }
    let claimed = async |lease| claim(store, "one", lease).await.expect("a job");
    let (done, dead, failed) = (
        claimed(LEASE).await,
        claimed(LEASE).await,
        claimed(LEASE).await,
    );
    assert!(store.done(&done).await.expect("an end"));
    assert!(store.fail(&dead, "no", None).await.expect("an end"));
    let (counts, waits) = counted().await;
    assert_eq!(counts, (1, 1, 1));
    assert!(waits > Duration::ZERO && waits < LEASE, "{waits:?}");
    // One that failed is not due, and one that runs has a lease.
    assert!(
        store
            .fail(&failed, "no", Some(LEASE))
            .await
            .expect("an end")
    );
    let running = claimed(LEASE).await;
    assert_eq!(counted().await, ((1, 1, 1), Duration::ZERO));
    // Of a process that was killed.
    assert!(store.heartbeat(&running, NO_LEASE).await.expect("an end"));
    tokio::time::sleep(Duration::from_millis(2)).await;
    let (counts, waits) = counted().await;
    assert_eq!(counts, (1, 1, 1));
    assert!(waits > Duration::ZERO, "{waits:?}");
}

async fn a_late_worker_writes_nothing(fresh: Fresh) {
    let store = &fresh.store;
    let id = enqueue(store).await;
    let late = claim(store, "late", NO_LEASE).await.expect("a job");
    let owner = claim(store, "owner", LEASE).await.expect("the same job");
    // The same worker, in another run of the job, is as late.
    let same = Job {
        owner: "owner".to_owned(),
        ..late.clone()
    };
    for late in [&late, &same] {
        assert!(!store.heartbeat(late, LEASE).await.expect("an end"));
        assert!(!store.done(late).await.expect("an end"));
        assert!(!store.give_back(late).await.expect("an end"));
        assert!(!store.fail(late, "no", None).await.expect("an end"));
        assert_eq!(state(store, id).await, "running");
    }
    assert!(store.done(&owner).await.expect("an end"));
    assert!(!store.fail(&owner, "no", None).await.expect("an end"));
    assert_eq!(state(store, id).await, "done");
}

async fn a_job_given_back_has_lost_no_attempt(fresh: Fresh) {
    let store = &fresh.store;
    enqueue(store).await;
    for _ in 0..3 {
        let job = claim(store, "one", LEASE).await.expect("a job");
        assert_eq!(job.attempts, 1);
        assert!(store.give_back(&job).await.expect("an end"));
    }
}

async fn a_failed_job_waits_and_a_dead_one_is_queued_again(fresh: Fresh) {
    let store = &fresh.store;
    let id = enqueue(store).await;
    let job = claim(store, "one", LEASE).await.expect("a job");
    let delay = Some(Duration::from_secs(3_600));
    assert!(store.fail(&job, "not yet", delay).await.expect("an end"));
    assert_eq!(state(store, id).await, "queued");
    assert_eq!(claim(store, "one", LEASE).await, None);
    assert_eq!(
        store.retry(id).await.expect("an end"),
        Change::Refused("not-dead")
    );

    let other = enqueue(store).await;
    let job = claim(store, "one", LEASE).await.expect("the other");
    assert_eq!(job.id, other);
    let now = Some(Duration::ZERO);
    assert!(store.fail(&job, "once more", now).await.expect("an end"));
    let job = claim(store, "one", LEASE).await.expect("the other");
    assert_eq!((job.id, job.attempts), (other, 2));
    assert!(store.fail(&job, "never", None).await.expect("an end"));
    assert_eq!(state(store, other).await, "dead");
    assert_eq!(claim(store, "one", LEASE).await, None);

    assert_eq!(store.retry(other).await.expect("an end"), Change::Done(()));
    let job = claim(store, "one", LEASE).await.expect("the other");
    assert_eq!((job.id, job.attempts), (other, 1));
    let missing = store.retry(Uuid::now_v7()).await;
    assert_eq!(missing.expect("an end"), Change::Missing);
}

async fn many_workers_claim_each_job_once(fresh: Fresh) {
    const JOBS: usize = 60;
    for _ in 0..JOBS {
        enqueue(&fresh.store).await;
    }
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..6 {
        let store = fresh.store.clone();
        workers.spawn(async move {
            let owner = format!("w-{number}");
            let mut claimed = Vec::new();
            while let Some(job) = claim(&store, &owner, LEASE).await {
                claimed.push(job.id);
            }
            claimed
        });
    }
    let mut claimed = Vec::new();
    while let Some(of_one) = workers.join_next().await {
        claimed.extend(of_one.expect("no panic"));
    }
    claimed.sort();
    claimed.dedup();
    assert_eq!(claimed.len(), JOBS);
    let twice = "SELECT count(*) FROM jobs WHERE attempts > 1";
    assert_eq!(fresh.number(twice).await, 0);
}

async fn what_is_a_day_old_is_swept(fresh: Fresh) {
    let store = &fresh.store;
    let order = new_order(fresh.user().await.id);
    let key = key("old", 1);
    created(store.create_order(&order, Some(&key), None).await);
    let job = claim(store, "one", LEASE).await.expect("a job");
    assert!(store.done(&job).await.expect("an end"));
    assert_eq!(store.sweep().await.expect("an end"), 0);
    let day = match store {
        Store::Sqlite(_) => "86400000001",
        Store::Postgres(_) => "interval '24 hours 1 second'",
    };
    fresh
        .run(&format!(
            "UPDATE idempotency_keys SET created_at = created_at - {day};
             UPDATE jobs SET finished_at = finished_at - {day};"
        ))
        .await;
    assert_eq!(store.sweep().await.expect("an end"), 2);
    assert_eq!(fresh.number("SELECT count(*) FROM orders").await, 1);
}

async fn an_instance_is_there_until_it_is_gone(fresh: Fresh) {
    let instance = Instance {
        id: "one".to_owned(),
        version: "1.2.3".to_owned(),
        schema_version: 5,
        started_at: now(),
    };
    for _ in 0..2 {
        fresh.store.seen(&instance).await.expect("written");
        let needs = "SELECT CAST(sum(schema_version) AS bigint) FROM instances";
        assert_eq!(fresh.number(needs).await, 5);
    }
    fresh.store.gone(&instance).await.expect("written");
    assert_eq!(fresh.number("SELECT count(*) FROM instances").await, 0);
}
