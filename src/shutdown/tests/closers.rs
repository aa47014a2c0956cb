use super::*;

#[tokio::test(start_paused = true)]
async fn closers_are_bounded_and_neither_panic_nor_failure_stops_the_next() {
    let log = Log::new();
    let (hangs, after, last) = (log.clone(), log.clone(), log.clone());
    let shutdown = quiet()
        .closer("panics", SECOND, || async {
            if true {
                panic!("in the future");
            }
        })
        .closer("fails", SECOND, || async {
            Err::<(), _>("the pool is gone")
        })
        .closer("hangs", seconds(2), || async move {
            let _aborted = OnDrop(hangs, "hangs aborted");
            std::future::pending::<()>().await;
        })
        .closer("after", SECOND, || async move {
            sleep(SECOND / 2).await;
            after.say("after");
            Ok::<(), std::io::Error>(())
        })
        .flush("stuck", SECOND, std::future::pending::<()>)
        .flush("last", SECOND, || async move { last.say("last") });
    let (handle, running) = run(shutdown, &log);
    handle.drain_now();
    let report = running.await.unwrap();
    assert_eq!(
        ends(&report),
        [
            (Closer, "panics", &Panicked),
            (Closer, "fails", &Failed("the pool is gone".to_owned())),
            (Closer, "hangs", &TimedOut),
            (Closer, "after", &Done),
            (Flush, "stuck", &TimedOut),
            (Flush, "last", &Done),
        ]
    );
    let lines = log.lines();
    assert_eq!(
        lines[1..],
        ["2.0 hangs aborted", "2.5 after", "3.5 last", "3.5 closed"]
    );
    assert!(
        about(report.closers, Duration::from_millis(3_500)),
        "{report}"
    );
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn closer_panic_before_its_future_stops_no_other_closer() {
    let log = Log::new();
    fn broken() -> std::future::Ready<()> {
        panic!("before there is a future")
    }
    let last = log.clone();
    let shutdown = quiet()
        .closer("broken", SECOND, broken)
        .flush("last", SECOND, || async move { last.say("last") });
    let (handle, running) = run(shutdown, &log);
    handle.drain_now();
    let report = running.await.unwrap();
    assert_eq!(
        ends(&report),
        [(Closer, "broken", &Panicked), (Flush, "last", &Done)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_hangs_is_bounded_when_everything_is_cut() {
    let log = Log::new();
    let shutdown = quiet().flush("stuck", SECOND, std::future::pending::<()>);
    let (handle, running) = run(shutdown, &log);
    handle.cut();
    let report = running.await.unwrap();
    assert_eq!(ends(&report), [(Flush, "stuck", &TimedOut)]);
    assert!(about(report.total, SECOND), "{report}");
}
