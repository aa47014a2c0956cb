use super::*;

#[tokio::test(start_paused = true)]
async fn everything_in_its_order() {
    let log = Log::new();
    let (one, two) = (log.clone(), log.clone());
    let last = log.clone();
    let shutdown = quiet()
        .flush("traces", SECOND, || async move { last.say("flushed") })
        .closer("pool", SECOND, || async move {
            sleep(SECOND / 2).await;
            one.say("pool closed");
        })
        .closer("broker", SECOND, || async move { two.say("broker closed") });
    let (handle, running) = run(shutdown, &log);
    let server = Arc::new(Fake::new(&log).begin().keep_idle());
    handle.register(server.clone());
    let worker = log.clone();
    handle.spawn_worker("mailer", |stop| async move {
        stop.cancelled().await;
        worker.say("worker asked to stop");
        sleep(SECOND * 2).await;
        worker.say("worker stopped");
    });
    handle.ready();
    sleep(SECOND).await;
    handle.shutdown();
    sleep(SECOND * 8).await;
    server.finish();
    let report = running.await.unwrap();
    assert_eq!(
        log.lines(),
        [
            "0.0 ready",
            "1.0 connections notified",
            "1.0 lame_duck",
            "6.0 connections notified",
            "6.0 draining",
            "9.0 finished",
            "9.0 idle closed",
            "9.0 worker asked to stop",
            "11.0 worker stopped",
            "11.5 pool closed",
            "11.5 broker closed",
            "11.5 flushed",
            "11.5 closed",
        ]
    );
    assert_eq!(
        ends(&report),
        [
            (Worker, "mailer", &Done),
            (Closer, "pool", &Done),
            (Closer, "broker", &Done),
            (Flush, "traces", &Done),
        ]
    );
    assert!(report.is_clean() && report.cut.is_empty() && !report.at_once);
    assert!(about(report.lame_duck, seconds(5)), "{report}");
    assert!(about(report.drain, seconds(3)), "{report}");
    assert_eq!((report.requests, report.connections), (7, 3));
    assert_eq!(report.cause, Cause::Called);
    assert_eq!(handle.lifecycle().phase(), Phase::Closed);
}

#[tokio::test(start_paused = true)]
async fn with_nothing_in_flight_it_leaves_at_once() {
    let log = Log::new();
    let (handle, running) = run(quiet(), &log);
    handle.register(Arc::new(Fake::new(&log).keep_idle()));
    handle.drain_now();
    let report = running.await.unwrap();
    assert!(report.total < Duration::from_millis(10), "{report}");
    assert_eq!(report.lame_duck.as_millis(), 0);
    assert_eq!(
        log.lines(),
        [
            "0.0 connections notified",
            "0.0 draining",
            "0.0 idle closed",
            "0.0 closed"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn idle_connections_wait_for_the_in_flight_work_of_every_server() {
    let log = Log::new();
    let (handle, running) = run(quiet(), &log);
    let (app, admin) = (
        Arc::new(Fake::new(&log).begin().keep_idle()),
        Arc::new(Fake::new(&log).begin()),
    );
    handle.register(app.clone());
    handle.register(admin.clone());
    handle.drain_now();
    sleep(SECOND).await;
    app.finish();
    sleep(SECOND).await;
    admin.finish();
    assert!(running.await.unwrap().is_clean());
    let after = &log.lines()[3..];
    let expected = [
        "1.0 finished",
        "2.0 finished",
        "2.0 idle closed",
        "2.0 idle closed",
    ];
    assert_eq!(after[..4], expected);
}

#[tokio::test(start_paused = true)]
async fn deadline_cuts_and_names_requests_oldest_first() {
    let log = Log::new();
    let (handle, running) = run(quiet().drain(seconds(3)), &log);
    let cut = |what: &str, age| cut_request(what, seconds(age), None, "in the handler");
    let mut app = Fake::new(&log).begin();
    app.cut = vec![cut("GET /young", 1), cut("GET /old", 9)];
    let mut admin = Fake::new(&log).begin();
    admin.cut = vec![cut("GET /middle", 5)];
    handle.register(Arc::new(app));
    handle.register(Arc::new(admin));
    handle.drain_now();
    let report = running.await.unwrap();
    let paths: Vec<_> = report.cut.iter().map(|cut| cut.path.as_str()).collect();
    assert_eq!(paths, ["/old", "/middle", "/young"]);
    assert!(about(report.drain, seconds(3)), "{report}");
    assert!(!report.is_clean() && !report.at_once);
}

#[tokio::test(start_paused = true)]
async fn stubborn_requests_do_not_delay_the_end() {
    let log = Log::new();
    let (handle, running) = run(quiet().drain(seconds(3)), &log);
    let mut server = Fake::new(&log).begin();
    server.stubborn = true;
    handle.register(Arc::new(server));
    handle.drain_now();
    let report = running.await.unwrap();
    assert!(report.total < Duration::from_millis(3_500), "{report}");
}

#[tokio::test(start_paused = true)]
async fn without_a_lame_duck_window_there_is_no_lame_duck() {
    let log = Log::new();
    let (handle, running) = run(quiet().lame_duck(Duration::ZERO), &log);
    handle.shutdown();
    running.await.unwrap();
    assert_eq!(log.lines(), ["0.0 draining", "0.0 closed"]);
}

#[tokio::test(start_paused = true)]
async fn readiness_before_any_listener_is_emitted_once() {
    let log = Log::new();
    let shutdown = Shutdown::new().signals(false).starting();
    let handle = shutdown.handle();
    // Start-up work that is done before the server is first polled.
    handle.ready();
    let sequence = shutdown.events(log.event_sink()).start().unwrap();
    assert_eq!(log.lines(), ["0.0 ready"]);
    handle.ready();
    handle.drain_now();
    sequence.run().await;
    assert_eq!(log.lines(), ["0.0 ready", "0.0 draining", "0.0 closed"]);
}

#[tokio::test(start_paused = true)]
async fn phase_that_others_move_is_where_the_sequence_goes_on() {
    let cases = [
        (Phase::LameDuck, seconds(5), false, Done),
        (Phase::Draining, Duration::ZERO, false, Done),
        (Phase::Closed, Duration::ZERO, true, Skipped),
    ];
    for (phase, lame_duck, at_once, closed) in cases {
        let log = Log::new();
        let shutdown = quiet()
            .lame_duck(seconds(5))
            .closer("pool", SECOND, || async {});
        let (handle, running) = run(shutdown, &log);
        handle.register(Arc::new(Fake::new(&log).keep_idle()));
        sleep(SECOND).await;
        handle.lifecycle().advance(phase);
        let report = tokio::time::timeout(seconds(60), running).await;
        let report = report.expect("it ends").unwrap();
        assert_eq!((report.cause, report.at_once), (Cause::Called, at_once));
        assert!(about(report.lame_duck, lame_duck), "{phase}: {report}");
        assert_eq!(ends(&report), [(Closer, "pool", &closed)], "{phase}");
    }
}

#[tokio::test(start_paused = true)]
async fn lame_duck_and_drain_end_when_others_move_the_phase_on() {
    let log = Log::new();
    let (handle, running) = run(quiet().lame_duck(seconds(5)), &log);
    let mut server = Fake::new(&log).begin();
    server.cut = vec![cut_request("GET /slow", SECOND, None, "in the handler")];
    handle.register(Arc::new(server));
    handle.shutdown();
    sleep(SECOND).await;
    handle.lifecycle().advance(Phase::Draining);
    sleep(SECOND).await;
    handle.lifecycle().advance(Phase::Closed);
    let report = running.await.unwrap();
    assert!(about(report.lame_duck, SECOND), "{report}");
    assert!(about(report.drain, SECOND), "{report}");
    assert!(report.at_once && report.cut.len() == 1, "{report}");
}
