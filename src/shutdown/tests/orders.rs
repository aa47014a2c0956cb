use super::*;

#[tokio::test(start_paused = true)]
async fn an_order_to_drain_now_ends_the_lame_duck() {
    let log = Log::new();
    let (handle, running) = run(quiet().lame_duck(seconds(5)), &log);
    handle.shutdown();
    sleep(SECOND).await;
    handle.shutdown();
    sleep(SECOND).await;
    assert_eq!(
        handle.lifecycle().phase(),
        Phase::LameDuck,
        "the same order again is none"
    );
    handle.drain_now();
    let report = running.await.unwrap();
    assert!(about(report.lame_duck, seconds(2)), "{report}");
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn an_order_to_cut_ends_everything_but_the_flush() {
    // 1 s: lame duck. 6 s: drain. 9 s: workers. 11 s: the first closer.
    for (at, skipped) in [(1, 2), (6, 2), (9, 2), (11, 1)] {
        let log = Log::new();
        let flushed = log.clone();
        let closing = log.clone();
        let shutdown = quiet()
            .closer("pool", seconds(4), || async move {
                let _aborted = OnDrop(closing, "pool ended");
                sleep(seconds(3)).await;
            })
            .closer("broker", SECOND, || async {})
            .flush("traces", SECOND, || async move { flushed.say("flushed") });
        let (handle, running) = run(shutdown, &log);
        let server = Arc::new(Fake::new(&log).begin());
        handle.register(server.clone());
        handle.spawn_worker("mailer", |stop| async move {
            stop.cancelled().await;
            sleep(seconds(2)).await;
        });
        handle.shutdown();
        let finish = tokio::spawn(async move {
            sleep(seconds(8)).await;
            server.finish();
        });
        sleep(seconds(at)).await;
        handle.cut();
        let report = running.await.unwrap();
        finish.abort();
        assert!(about(report.total, seconds(at)), "cut at {at}: {report}");
        assert!(
            report.at_once && !report.is_clean(),
            "cut at {at}: {report}"
        );
        let closers: Vec<_> = report
            .steps
            .iter()
            .filter(|step| step.kind != Worker)
            .map(|step| (step.name.as_str(), &step.end))
            .collect();
        let pool = if skipped == 2 { &Skipped } else { &CutShort };
        let expected = [("pool", pool), ("broker", &Skipped), ("traces", &Done)];
        assert_eq!(closers, expected, "cut at {at}");
        let lines = log.lines();
        assert!(
            lines.contains(&format!("{at}.0 flushed")),
            "cut at {at}: {lines:?}"
        );
        assert_eq!(lines.last().unwrap(), &format!("{at}.0 closed"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_to_cut_that_comes_first_is_the_whole_shutdown() {
    let log = Log::new();
    let (handle, running) = run(quiet(), &log);
    handle.register(Arc::new(Fake::new(&log).begin()));
    handle.cut();
    let report = running.await.unwrap();
    assert!(report.total < Duration::from_millis(10), "{report}");
    assert!(report.at_once);
}

#[tokio::test(start_paused = true)]
async fn the_first_to_order_is_the_cause_and_orders_only_grow() {
    let handle = ShutdownHandle::new();
    handle.orders().give(order::Order::LeaveNow, Cause::Sigint);
    handle.orders().give(order::Order::Leave, Cause::Sigterm);
    assert_eq!(handle.orders().cause(), Some(Cause::Sigint));
    assert_eq!(handle.orders().current(), order::Order::LeaveNow);
}

#[tokio::test(start_paused = true)]
async fn starting_lasts_until_ready_and_ready_does_not_go_back() {
    let shutdown = quiet().starting();
    let handle = shutdown.handle();
    let sequence = shutdown.start().unwrap();
    assert!(sequence.waits_for_ready());
    assert_eq!(handle.lifecycle().phase(), Phase::Starting);
    handle.ready();
    assert_eq!(handle.lifecycle().phase(), Phase::Ready);
    handle.drain_now();
    sequence.run().await;
    handle.ready();
    assert_eq!(handle.lifecycle().phase(), Phase::Closed);
    assert!(!quiet().start().unwrap().waits_for_ready());
}
