use super::*;

#[tokio::test(start_paused = true)]
async fn workers_stop_only_after_the_drain() {
    let log = Log::new();
    let (handle, running) = run(quiet(), &log);
    let server = Arc::new(Fake::new(&log).begin());
    handle.register(server.clone());
    let token = handle.stop_token();
    handle.shutdown();
    sleep(seconds(10)).await;
    assert_eq!(handle.lifecycle().phase(), Phase::Draining);
    assert!(!token.is_cancelled());
    server.finish();
    running.await.unwrap();
    assert!(token.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn workers_have_their_budget_and_are_aborted_after_it() {
    let log = Log::new();
    let (handle, running) = run(quiet().workers(seconds(2)), &log);
    let dropped = log.clone();
    handle.spawn_worker("deaf", |_| async move {
        let _aborted = OnDrop(dropped, "deaf aborted");
        std::future::pending::<()>().await;
    });
    handle.spawn_worker("good", |stop| async move { stop.cancelled().await });
    handle.spawn_worker("slow", |stop| async move {
        stop.cancelled().await;
        sleep(SECOND).await;
    });
    tokio::task::yield_now().await;
    handle.drain_now();
    let report = running.await.unwrap();
    assert_eq!(
        ends(&report),
        [
            (Worker, "good", &Done),
            (Worker, "slow", &Done),
            (Worker, "deaf", &TimedOut)
        ]
    );
    assert!(about(report.workers, seconds(2)), "{report}");
    assert!(!report.is_clean());
    tokio::task::yield_now().await;
    assert!(log.lines().contains(&"2.0 deaf aborted".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn worker_panic_is_reported_and_stops_no_other_worker() {
    let log = Log::new();
    let (handle, running) = run(quiet(), &log);
    handle.spawn_worker("early", |_| async { panic!("long before the end") });
    handle.spawn_worker("done", |_| async {});
    handle.spawn_worker("late", |stop| async move {
        stop.cancelled().await;
        panic!("when it was asked to stop");
    });
    handle.spawn_worker("good", |stop| async move {
        stop.cancelled().await;
        sleep(SECOND).await;
    });
    sleep(SECOND).await;
    handle.drain_now();
    let report = running.await.unwrap();
    assert_eq!(
        ends(&report),
        [
            (Worker, "early", &Panicked),
            (Worker, "late", &Panicked),
            (Worker, "good", &Done),
        ],
        "one that ended by itself is not spoken of"
    );
    assert!(about(report.workers, SECOND));
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn worker_begun_too_late_is_stopped_at_once() {
    let handle = ShutdownHandle::new();
    let orders = handle.orders();
    handle.workers_of().stop(SECOND, orders).await;
    let asked = Arc::new(AtomicBool::new(false));
    let set_asked = asked.clone();
    handle.spawn_worker("late", |stop| async move {
        stop.cancelled().await;
        set_asked.store(true, Ordering::Relaxed);
    });
    tokio::task::yield_now().await;
    assert!(asked.load(Ordering::Relaxed));
}
