use super::report::StepEnd::{CutShort, Done, Failed, Panicked, Skipped, TimedOut};
use super::report::StepKind::{Closer, Flush, Worker};
use super::*;
use crate::events::{Event, RequestInfo};
use crate::phase::Phase;
use crate::track::{Tally, TallyGuard};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// === what is watched ===

/// What happened and when, in tenths of a second since the log began.
#[derive(Clone)]
struct Log {
    began: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    fn new() -> Self {
        Log {
            began: Instant::now(),
            lines: Arc::default(),
        }
    }

    fn say(&self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        self.lines.lock().unwrap().push(format!("{at:.1} {what}"));
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn events(&self) -> Events {
        let log = self.clone();
        Events::to(move |event| {
            if let Event::Phase(phase) = event {
                log.say(phase.as_str());
            }
        })
    }
}

/// Says when it is dropped.
struct OnDrop(Log, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

/// A server of which a test says what is in flight.
struct Fake {
    log: Log,
    busy: Arc<Tally>,
    all: Arc<Tally>,
    running: Mutex<Vec<(TallyGuard, TallyGuard)>>,
    idle: Mutex<Vec<TallyGuard>>,
    cut: Vec<CutRequest>,
    /// What is cut does not fall.
    stubborn: bool,
}

impl Fake {
    fn new(log: &Log) -> Self {
        Fake {
            log: log.clone(),
            busy: Arc::default(),
            all: Arc::default(),
            running: Mutex::default(),
            idle: Mutex::default(),
            cut: Vec::new(),
            stubborn: false,
        }
    }

    fn begin(self) -> Self {
        let guards = (Tally::enter(&self.busy), Tally::enter(&self.all));
        self.running.lock().unwrap().push(guards);
        self
    }

    fn keep_idle(self) -> Self {
        let guard = Tally::enter(&self.all);
        self.idle.lock().unwrap().push(guard);
        self
    }

    fn finish(&self) {
        self.log.say("finished");
        self.running.lock().unwrap().clear();
    }
}

impl Drains for Fake {
    fn phase_moved(&self) {
        self.log.say("connections told");
    }

    fn busy(&self) -> Arc<Tally> {
        self.busy.clone()
    }

    fn all(&self) -> Arc<Tally> {
        self.all.clone()
    }

    fn close_idle(&self) {
        self.log.say("idle closed");
        self.idle.lock().unwrap().clear();
    }

    fn cut(&self) -> Vec<CutRequest> {
        self.log.say("cut");
        if !self.stubborn {
            self.running.lock().unwrap().clear();
            self.idle.lock().unwrap().clear();
        }
        self.cut.clone()
    }

    fn in_flight(&self) -> Vec<CutRequest> {
        self.cut.clone()
    }

    #[cfg(feature = "status")]
    fn oldest(&self, most: usize) -> (usize, Vec<CutRequest>) {
        let oldest = self.cut.iter().take(most).cloned();
        (self.cut.len(), oldest.collect())
    }

    fn count(&self, counts: &mut ConnectionCounts) {
        let running = self.running.lock().unwrap().len();
        for _ in 0..running {
            counts.add(ConnectionState::Handler);
        }
    }

    fn requests(&self) -> u64 {
        7
    }

    fn connections(&self) -> u64 {
        3
    }
}

fn quiet() -> Shutdown {
    Shutdown::new()
        .signals(false)
        .termination_grace(seconds(60))
}

fn run(shutdown: Shutdown, log: &Log) -> (Handle, JoinHandle<Report>) {
    let handle = shutdown.handle();
    let sequence = shutdown.start(log.events()).unwrap();
    (handle, tokio::spawn(sequence.run()))
}

fn ends(report: &Report) -> Vec<(StepKind, &str, &StepEnd)> {
    let steps = report.steps.iter();
    steps
        .map(|step| (step.kind, step.name.as_str(), &step.end))
        .collect()
}

/// Whether a duration is this one, give or take what the timers round.
fn about(took: Duration, expected: Duration) -> bool {
    took + Duration::from_millis(20) > expected && took < expected + Duration::from_millis(50)
}

// === the order of things ===

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
    handle.enlist(server.clone());
    let worker = log.clone();
    handle.spawn_worker("mailer", |stop| async move {
        stop.cancelled().await;
        worker.say("worker told");
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
            "1.0 connections told",
            "1.0 lame_duck",
            "6.0 connections told",
            "6.0 draining",
            "9.0 finished",
            "9.0 idle closed",
            "9.0 worker told",
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
    handle.enlist(Arc::new(Fake::new(&log).keep_idle()));
    handle.drain_now();
    let report = running.await.unwrap();
    assert!(report.total < Duration::from_millis(10), "{report}");
    assert_eq!(report.lame_duck.as_millis(), 0);
    assert_eq!(
        log.lines(),
        [
            "0.0 connections told",
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
    handle.enlist(app.clone());
    handle.enlist(admin.clone());
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
async fn what_is_in_flight_at_the_deadline_is_cut_and_named_the_oldest_first() {
    let log = Log::new();
    let (handle, running) = run(quiet().drain(seconds(3)), &log);
    let cut = |what: &str, age| cut_request(what, seconds(age), None, "in the handler");
    let mut app = Fake::new(&log).begin();
    app.cut = vec![cut("GET /young", 1), cut("GET /old", 9)];
    let mut admin = Fake::new(&log).begin();
    admin.cut = vec![cut("GET /middle", 5)];
    handle.enlist(Arc::new(app));
    handle.enlist(Arc::new(admin));
    handle.drain_now();
    let report = running.await.unwrap();
    let paths: Vec<_> = report.cut.iter().map(|cut| cut.path.as_str()).collect();
    assert_eq!(paths, ["/old", "/middle", "/young"]);
    assert!(about(report.drain, seconds(3)), "{report}");
    assert!(!report.is_clean() && !report.at_once);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fall_when_it_is_cut_holds_nobody_up() {
    let log = Log::new();
    let (handle, running) = run(quiet().drain(seconds(3)), &log);
    let mut server = Fake::new(&log).begin();
    server.stubborn = true;
    handle.enlist(Arc::new(server));
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

// === orders ===

#[tokio::test(start_paused = true)]
async fn an_order_to_drain_now_ends_the_lame_duck() {
    let log = Log::new();
    let (handle, running) = run(quiet(), &log);
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
        handle.enlist(server.clone());
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
    handle.enlist(Arc::new(Fake::new(&log).begin()));
    handle.cut();
    let report = running.await.unwrap();
    assert!(report.total < Duration::from_millis(10), "{report}");
    assert!(report.at_once);
}

#[tokio::test(start_paused = true)]
async fn the_first_to_order_is_the_cause_and_orders_only_grow() {
    let handle = Handle::new();
    handle.orders().give(order::Order::LeaveNow, Cause::Sigint);
    handle.orders().give(order::Order::Leave, Cause::Sigterm);
    assert_eq!(handle.orders().cause(), Some(Cause::Sigint));
    assert_eq!(handle.orders().current(), order::Order::LeaveNow);
}

#[tokio::test(start_paused = true)]
async fn starting_until_told_and_ready_is_no_way_back() {
    let shutdown = quiet().starting();
    let handle = shutdown.handle();
    let sequence = shutdown.start(Events::none()).unwrap();
    assert!(sequence.waits_for_ready());
    assert_eq!(handle.lifecycle().phase(), Phase::Starting);
    handle.ready();
    assert_eq!(handle.lifecycle().phase(), Phase::Ready);
    handle.drain_now();
    sequence.run().await;
    handle.ready();
    assert_eq!(handle.lifecycle().phase(), Phase::Closed);
    assert!(!quiet().start(Events::none()).unwrap().waits_for_ready());
}

// === workers ===

#[tokio::test(start_paused = true)]
async fn workers_are_not_told_before_the_drain_is_over() {
    let log = Log::new();
    let (handle, running) = run(quiet(), &log);
    let server = Arc::new(Fake::new(&log).begin());
    handle.enlist(server.clone());
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
async fn a_panic_in_a_worker_stops_nobody_and_is_reported() {
    let log = Log::new();
    let (handle, running) = run(quiet(), &log);
    handle.spawn_worker("early", |_| async { panic!("long before the end") });
    handle.spawn_worker("done", |_| async {});
    handle.spawn_worker("late", |stop| async move {
        stop.cancelled().await;
        panic!("when it was told");
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
async fn a_worker_that_is_begun_too_late_is_told_at_once() {
    let handle = Handle::new();
    let orders = handle.orders();
    handle.workers_of().stop(SECOND, orders).await;
    let told = Arc::new(AtomicBool::new(false));
    let tell = told.clone();
    handle.spawn_worker("late", |stop| async move {
        stop.cancelled().await;
        tell.store(true, Ordering::Relaxed);
    });
    tokio::task::yield_now().await;
    assert!(told.load(Ordering::Relaxed));
}

// === closers ===

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
async fn a_closer_that_panics_before_it_has_a_future_stops_nobody() {
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

// === budgets ===

#[test]
fn budgets_that_fit_exactly_do() {
    let budgets = Budgets::default();
    assert!(budgets.check(seconds(4), seconds(30)).is_ok());
    assert!(
        budgets
            .check(seconds(4) + Duration::from_nanos(1), seconds(30))
            .is_err()
    );
    assert!(
        Shutdown::new().check().is_ok(),
        "the default fits the default grace"
    );
}

#[test]
fn closers_and_flushes_count() {
    let shutdown = Shutdown::new()
        .closer("pool", seconds(3), || async {})
        .flush("traces", seconds(2), || async {});
    let error = shutdown.check().unwrap_err().to_string();
    assert_eq!(
        error,
        "the shutdown needs 31s (lame_duck 5s + drain 15s + workers 5s + closers 5s + margin 1s) but the \
         termination grace is 30s: raise the grace (ECS stopTimeout, Kubernetes \
         terminationGracePeriodSeconds) to 31s, or lower drain to 14s"
    );
    assert!(shutdown.termination_grace(seconds(31)).check().is_ok());
}

#[test]
fn nothing_is_advised_that_would_not_do() {
    let shutdown = Shutdown::new()
        .drain(seconds(4))
        .termination_grace(seconds(10));
    let error = shutdown.check().unwrap_err().to_string();
    assert!(error.contains("needs 15s"), "{error}");
    assert!(
        error.ends_with("to 15s"),
        "no one part of 5 s or less can give 5 s: {error}"
    );
}

#[test]
fn absurd_budgets_are_an_error_and_no_overflow() {
    let shutdown = Shutdown::new()
        .drain(Duration::MAX)
        .closer("a", Duration::MAX, || async {})
        .closer("b", Duration::MAX, || async {});
    assert!(shutdown.check().is_err());
}

#[test]
fn a_shutdown_that_does_not_fit_does_not_start() {
    let shutdown = quiet().termination_grace(SECOND);
    let error = shutdown.start(Events::none()).err().unwrap();
    assert!(matches!(error, StartError::Budgets(_)), "{error}");
}

// === the report ===

fn report() -> Report {
    Report {
        lame_duck: seconds(5),
        drain: Duration::from_millis(37),
        total: Duration::from_millis(5_040),
        requests: 1_200,
        connections: 64,
        ..Report::new(Cause::Sigterm)
    }
}

#[test]
fn a_clean_report_as_a_person_reads_it() {
    let report = report();
    assert!(report.is_clean());
    assert_eq!(
        format!("{:?}", report.exit_code()),
        format!("{:?}", ExitCode::SUCCESS)
    );
    assert_eq!(
        report.to_string(),
        "shutdown (SIGTERM): clean\n\
         \x20 lame duck     5.0 s\n\
         \x20 drain         37 ms   nothing was cut\n\
         \x20 workers        0 ms\n\
         \x20 closers        0 ms\n\
         \x20 in all        5.0 s   1200 requests on 64 connections served"
    );
}

#[test]
fn a_report_that_is_not_clean_names_what_was_cut_and_what_failed() {
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    let step = |kind, name: &str, took, end| Step::new(kind, name.to_owned(), took, end);
    let report = Report {
        drain: seconds(15),
        workers: seconds(5),
        closers: Duration::from_millis(1_250),
        total: Duration::from_millis(21_250),
        at_once: true,
        cut: vec![
            cut_request(
                "GET /events",
                seconds(75),
                Some(peer),
                "sending the response",
            ),
            cut_request("GET /ws", seconds(20), None, "upgraded"),
            cut_request("", Duration::from_millis(480), None, "reading the head"),
        ],
        steps: vec![
            step(Worker, "mailer", seconds(5), TimedOut),
            step(
                Closer,
                "pool",
                Duration::from_millis(1_200),
                Failed("no such host".to_owned()),
            ),
            step(Closer, "broker", Duration::ZERO, Skipped),
            step(Closer, "cache", Duration::from_millis(3), Panicked),
            step(Flush, "traces", Duration::from_millis(50), Done),
        ],
        ..report()
    };
    assert!(!report.is_clean());
    assert_eq!(
        format!("{:?}", report.exit_code()),
        format!("{:?}", ExitCode::FAILURE)
    );
    assert_eq!(
        report.to_string(),
        "shutdown (SIGTERM): NOT CLEAN, ended at once by a second order\n\
         \x20 lame duck     5.0 s\n\
         \x20 drain        15.0 s   3 requests were CUT (1 reading the head, 1 sending the response, 1 upgraded):\n\
         \x20            GET /events, 75.0 s old, sending the response, from 192.0.2.1:4711\n\
         \x20            GET /ws, 20.0 s old, upgraded\n\
         \x20            (no complete head), 480 ms old, reading the head\n\
         \x20 workers       5.0 s\n\
         \x20            worker mailer: ABORTED, its time was up (5.0 s)\n\
         \x20 closers       1.2 s\n\
         \x20            closer pool: FAILED: no such host (1.2 s)\n\
         \x20            closer broker: SKIPPED (0 ms)\n\
         \x20            closer cache: PANICKED (3 ms)\n\
         \x20            flush traces: done (50 ms)\n\
         \x20 in all       21.2 s   1200 requests on 64 connections served"
    );
}

#[test]
fn a_long_list_of_cut_requests_is_cut_short() {
    let one = cut_request("GET /", SECOND, None, "in the handler");
    let report = Report {
        cut: vec![one; 23],
        ..report()
    };
    let text = report.to_string();
    assert!(
        text.contains("23 requests were CUT (23 in the handler):"),
        "{text}"
    );
    assert_eq!(text.matches("GET /, 1.0 s old, in the handler").count(), 20);
    assert!(text.contains("             and 3 more\n"), "{text}");
}

#[test]
fn every_blemish_makes_it_unclean() {
    let with = |change: fn(&mut Report)| {
        let mut report = report();
        change(&mut report);
        report.is_clean()
    };
    assert!(with(|_| {}));
    assert!(!with(|report| report.at_once = true));
    assert!(!with(|report| {
        let one = cut_request("GET /", SECOND, None, "in the handler");
        report.cut.push(one);
    }));
    for end in [Failed(String::new()), Panicked, TimedOut, CutShort, Skipped] {
        let mut report = report();
        let step = Step::new(Closer, "pool".to_owned(), SECOND, end.clone());
        report.steps.push(step);
        assert!(!report.is_clean(), "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_ready_before_anybody_listens_is_told_once() {
    let log = Log::new();
    let shutdown = Shutdown::new().signals(false).starting();
    let handle = shutdown.handle();
    // Start-up work that is done before the server is first polled.
    handle.ready();
    let sequence = shutdown.start(log.events()).unwrap();
    assert_eq!(log.lines(), ["0.0 ready"]);
    handle.ready();
    handle.drain_now();
    sequence.run().await;
    assert_eq!(log.lines(), ["0.0 ready", "0.0 draining", "0.0 closed"]);
}

/// `GET /path`, or nothing.
fn cut_request(
    what: &str,
    age: Duration,
    peer: Option<SocketAddr>,
    state: &'static str,
) -> CutRequest {
    let mut request = RequestInfo::from_peer(peer);
    if let Some((method, path)) = what.split_once(' ') {
        request.method = Some(method);
        request.path = Some(path);
    }
    CutRequest::new(request, age, state)
}

/// What a client sent reaches a terminal as visible ASCII.
#[test]
fn a_report_cannot_steer_the_terminal() {
    let nasty = "/a\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{200b}\u{7f}\r\n\tb";
    let mut request = RequestInfo::from_peer(None);
    request.method = Some("G\u{1b}T");
    request.path = Some(nasty);
    request.request_id = Some(nasty);
    let cut = CutRequest::new(request, SECOND, "in the handler");
    assert_eq!(cut.path, nasty, "the field is what came");
    let report = Report {
        cut: vec![cut.clone()],
        ..report()
    };
    for text in [cut.to_string(), report.to_string()] {
        let visible = |c: char| c == '\n' || (' '..='~').contains(&c);
        assert!(text.chars().all(visible), "{text:?}");
        assert!(text.contains("/a%1B[2J"), "{text:?}");
    }
    assert_eq!(cut.to_string().lines().count(), 1);
}
