//! The whole sequence with a real server: signals, shutdown from code, workers, closers, a second server.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex as StdMutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lameduck::events::{Event, EventSink};
use lameduck::serve::{Connections, ServeError};
use lameduck::shutdown::{Cause, ShutdownHandle, Signal, SignalAction, Signals, StepEnd};
use lameduck::{Limits, Phase, Report, Shutdown, Timeouts};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{App, Door, Gate, How, LIMIT, Raw, again, app, ms, reply, within};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";

// === a server and its shutdown ===

struct Running {
    addr: SocketAddr,
    handle: ShutdownHandle,
    report: JoinHandle<Result<Report, ServeError>>,
}

impl Running {
    /// Starts the server and waits until it listens (for signals too).
    async fn start(shutdown: Shutdown, app: App) -> Running {
        let running = Running::begin(shutdown, app).await;
        let ready = running.handle.lifecycle().reached(Phase::Ready);
        within(LIMIT, "ready", ready).await;
        running
    }

    async fn begin(shutdown: Shutdown, app: App) -> Running {
        let (listener, addr) = listener().await;
        let handle = shutdown.handle();
        let serve = lameduck::serve(listener, app).shutdown(shutdown);
        let report = tokio::spawn(async move { serve.await });
        Running {
            addr,
            handle,
            report,
        }
    }

    async fn connect(&self) -> Raw {
        Raw::connect(self.addr).await
    }

    async fn report(self) -> Report {
        let report = within(LIMIT, "the report", self.report).await;
        report.expect("no panic").expect("it started")
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A shutdown without signals: other tests of the process are sent some.
fn deaf() -> Shutdown {
    Shutdown::new().signals(false).lame_duck(Duration::ZERO)
}

/// A log of what happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<StdMutex<Vec<String>>>);

impl Log {
    fn say(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn same(left: ExitCode, right: ExitCode) -> bool {
    format!("{left:?}") == format!("{right:?}")
}

// === signals ===

/// Serializes tests: a signal is sent to the whole process.
static SIGNALS: Mutex<()> = Mutex::const_new(());

fn signal(name: &str) {
    let kill = format!("kill -{name} {}", std::process::id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success(), "{kill}");
}

#[tokio::test]
async fn sigterm_runs_the_whole_sequence() {
    let _alone = SIGNALS.lock().await;
    let running = Running::start(Shutdown::new().lame_duck(ms(300)), Gate::new().app()).await;
    let mut client = running.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    signal("TERM");
    let lame_duck = running.handle.lifecycle().reached(Phase::LameDuck);
    assert_eq!(
        within(LIMIT, "the lame duck", lame_duck).await,
        Phase::LameDuck
    );
    let mut late = running.connect().await;
    assert_eq!(late.ask(GET).await.status, 200, "served on");
    let report = running.report().await;
    assert_eq!(report.cause, Cause::Sigterm);
    assert!(report.lame_duck >= ms(290), "{report}");
    assert!(report.is_clean() && same(report.exit_code(), ExitCode::SUCCESS));
    assert!(
        report
            .to_string()
            .starts_with("shutdown (SIGTERM): clean\n"),
        "{report}"
    );
}

#[tokio::test]
async fn sigint_skips_the_lame_duck_if_configured() {
    let _alone = SIGNALS.lock().await;
    // This is the default where standard input is a terminal.
    let signals = Signals::new().on(Signal::Interrupt, SignalAction::Drain);
    let running = Running::start(Shutdown::with_signals(signals), Gate::new().app()).await;
    let began = Instant::now();
    signal("INT");
    let report = running.report().await;
    assert!(began.elapsed() < ms(1_000), "{:?}", began.elapsed());
    assert_eq!(
        (report.cause, report.lame_duck.as_millis()),
        (Cause::Sigint, 0)
    );
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn second_signal_cuts_at_once() {
    let _alone = SIGNALS.lock().await;
    // The same signal at once is a repetition; a second later it is a second one.
    let later = ms(1_100);
    let pairs = [
        ("TERM", "TERM", later),
        ("TERM", "INT", Duration::ZERO),
        ("INT", "INT", later),
    ];
    for (first, second, after) in pairs {
        let gate = Gate::new();
        let flushed = Log::default();
        let flush = flushed.clone();
        let shutdown = Shutdown::new()
            .closer("pool", ms(1_000), || async {})
            .flush("logs", ms(1_000), || async move { flush.say("flushed") });
        let running = Running::start(shutdown, gate.app()).await;
        let mut client = running.connect().await;
        client.send(SLOW).await;
        gate.came().await;
        signal(first);
        let leaving = running.handle.lifecycle().reached(Phase::LameDuck);
        within(LIMIT, "the first signal", leaving).await;
        tokio::time::sleep(after).await;
        let cut = Instant::now();
        signal(second);
        let report = running.report().await;
        assert!(
            cut.elapsed() < ms(800),
            "{first}, {second}: {:?}",
            cut.elapsed()
        );
        assert!(
            report.at_once && !report.is_clean(),
            "{first}, {second}: {report}"
        );
        assert!(same(report.exit_code(), ExitCode::FAILURE));
        assert_eq!(report.cut.len(), 1, "{first}, {second}: {report}");
        assert_eq!(report.cut[0].path, "/slow");
        assert_eq!(report.steps[0].end, StepEnd::Skipped);
        assert_eq!(flushed.lines(), ["flushed"]);
        assert_eq!(client.read_until_close().await.how, How::Reset);
    }
}

#[tokio::test]
async fn signals_can_be_left_to_others() {
    let _alone = SIGNALS.lock().await;
    let mut ours =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    let running = Running::start(deaf(), Gate::new().app()).await;
    signal("TERM");
    within(LIMIT, "the signal", ours.recv()).await;
    tokio::time::sleep(ms(30)).await;
    assert_eq!(running.handle.lifecycle().phase(), Phase::Ready);
    let mut client = running.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    running.handle.shutdown();
    assert_eq!(running.report().await.cause, Cause::Called);
}

/// A container's stop hook begins the drain by an admin call; the orchestrator's signal follows.
#[tokio::test]
async fn first_signal_after_an_admin_shutdown_cuts_nothing() {
    let _alone = SIGNALS.lock().await;
    let gate = Gate::new();
    let shutdown = Shutdown::new().lame_duck(ms(200)).drain(ms(3_000));
    let running = Running::start(shutdown, gate.app()).await;
    let mut client = running.connect().await;
    client.send(SLOW).await;
    gate.came().await;
    running.handle.shutdown();
    tokio::time::sleep(ms(30)).await;
    signal("TERM");
    tokio::time::sleep(ms(400)).await;
    gate.let_one_go();
    let answer = client.try_read_response().await;
    let report = running.report().await;
    assert_eq!(answer.unwrap().status, 200, "{report}");
    assert!(report.is_clean(), "{report}");
}

// === orders from code ===

#[tokio::test]
async fn idle_shutdown_ends_at_once() {
    let shutdown = deaf().lame_duck(ms(200));
    let running = Running::start(shutdown, Gate::new().app()).await;
    let mut idle = running.connect().await;
    assert_eq!(idle.ask(GET).await.status, 200);
    let handle = running.handle.clone();
    let began = Instant::now();
    handle.shutdown();
    let report = running.report().await;
    assert!(
        report.lame_duck >= ms(200) && report.lame_duck < ms(400),
        "{report}"
    );
    assert!(report.drain < ms(100), "{report}");
    assert!(began.elapsed() < ms(600), "{:?}", began.elapsed());
    assert_eq!(handle.lifecycle().phase(), Phase::Closed);
    assert_eq!((report.requests, report.connections), (1, 1));
}

#[tokio::test]
async fn shutdown_ends_with_the_last_byte() {
    let gate = Gate::new();
    let running = Running::start(deaf(), gate.app()).await;
    let mut client = running.connect().await;
    client.send(SLOW).await;
    gate.came().await;
    running.handle.drain_now();
    tokio::time::sleep(ms(100)).await;
    gate.let_one_go();
    let let_go = Instant::now();
    let report = running.report().await;
    assert!(let_go.elapsed() < ms(150), "{:?}", let_go.elapsed());
    assert!(report.is_clean(), "{report}");
    assert_eq!(client.read_response().await.text(), "/slow");
}

#[tokio::test]
async fn drain_begun_by_moving_the_phase_ends_with_a_report() {
    let gate = Gate::new();
    let shutdown = deaf().closer("pool", ms(1_000), || async {});
    let running = Running::start(shutdown, gate.app()).await;
    let mut client = running.connect().await;
    client.send(SLOW).await;
    gate.came().await;
    let handle = running.handle.clone();
    handle.lifecycle().advance(Phase::Draining);
    gate.let_one_go();
    assert_eq!(client.read_response().await.text(), "/slow");
    let report = running.report().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.cause, report.requests), (Cause::Called, 1));
    assert_eq!(report.steps[0].end, StepEnd::Done);
    assert_eq!(handle.lifecycle().phase(), Phase::Closed);
}

#[tokio::test]
async fn cut_from_code_ends_everything() {
    let gate = Gate::new();
    let running = Running::start(deaf(), gate.app()).await;
    let mut client = running.connect().await;
    client.send(SLOW).await;
    gate.came().await;
    let began = Instant::now();
    running.handle.cut();
    let report = running.report().await;
    assert!(began.elapsed() < ms(800), "{:?}", began.elapsed());
    assert!(report.at_once && report.cut.len() == 1, "{report}");
    assert_eq!(client.read_until_close().await.how, How::Reset);
}

#[tokio::test]
async fn starting_server_is_not_ready_until_marked_ready() {
    let running = Running::begin(deaf().starting(), Gate::new().app()).await;
    let mut client = running.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    assert_eq!(running.handle.lifecycle().phase(), Phase::Starting);
    assert!(!running.handle.lifecycle().is_ready());
    running.handle.ready();
    assert!(running.handle.lifecycle().is_ready());
    running.handle.drain_now();
    assert!(running.report().await.is_clean());
}

#[tokio::test]
async fn shutdown_may_come_before_readiness() {
    let running = Running::begin(deaf().starting(), Gate::new().app()).await;
    let mut client = running.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    running.handle.shutdown();
    assert!(running.report().await.is_clean());
}

#[tokio::test]
async fn shutdown_ordered_before_the_start_is_obeyed() {
    let shutdown = deaf();
    shutdown.handle().drain_now();
    let running = Running::begin(shutdown, Gate::new().app()).await;
    let report = running.report().await;
    assert!(report.is_clean() && report.total < ms(500), "{report}");
}

// === workers and closers ===

#[tokio::test]
async fn request_in_flight_can_use_workers_and_pools_to_its_end() {
    let log = Log::default();
    let (jobs, mut queue) = mpsc::unbounded_channel::<oneshot::Sender<&'static str>>();
    let gate = Gate::new();
    let (hold, served) = (gate.clone(), log.clone());
    let app = app(move |_| {
        let (jobs, hold, served) = (jobs.clone(), hold.clone(), served.clone());
        async move {
            hold.hold().await;
            let (answer, answered) = oneshot::channel();
            jobs.send(answer).unwrap();
            let text = answered.await.expect("the worker works");
            served.say("served");
            reply(200, text)
        }
    });
    let (pool, cache, traces) = (log.clone(), log.clone(), log.clone());
    let shutdown = deaf()
        .closer("pool", ms(1_000), || async move { pool.say("pool closed") })
        .closer("cache", ms(1_000), || async move {
            cache.say("cache closed");
            Err::<(), _>("it was not there")
        })
        .flush("traces", ms(1_000), || async move { traces.say("flushed") });
    let running = Running::start(shutdown, app).await;
    let worker = log.clone();
    running.handle.spawn_worker("mailer", |stop| async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(job) = queue.recv() => job.send("by the worker").unwrap(),
            }
        }
        worker.say("worker stopped");
    });
    running.handle.spawn_worker("broken", |stop| async move {
        stop.cancelled().await;
        panic!("a worker's panic, as it should");
    });
    let mut client = running.connect().await;
    client.send(GET).await;
    gate.came().await;
    running.handle.drain_now();
    running.handle.lifecycle().reached(Phase::Draining).await;
    tokio::time::sleep(ms(50)).await;
    assert!(!running.handle.stop_token().is_cancelled());
    gate.let_one_go();
    assert_eq!(client.read_response().await.text(), "by the worker");
    let report = running.report().await;
    assert_eq!(
        log.lines(),
        [
            "served",
            "worker stopped",
            "pool closed",
            "cache closed",
            "flushed"
        ]
    );
    let mut workers: Vec<_> = report.steps[..2]
        .iter()
        .map(|step| (step.name.as_str(), step.end.clone()))
        .collect();
    workers.sort_by_key(|(name, _)| *name);
    let done = StepEnd::Done;
    assert_eq!(
        workers,
        [("broken", StepEnd::Panicked), ("mailer", done.clone())]
    );
    let closers: Vec<_> = report.steps[2..]
        .iter()
        .map(|step| (step.name.as_str(), step.end.clone()))
        .collect();
    let failed = StepEnd::Failed("it was not there".to_owned());
    assert_eq!(
        closers,
        [("pool", done.clone()), ("cache", failed), ("traces", done)]
    );
    assert!(!report.is_clean() && report.cut.is_empty());
    let text = report.to_string();
    for line in [
        "shutdown (called from code): NOT CLEAN\n",
        "nothing was cut\n",
        "worker broken: PANICKED (",
        "closer cache: FAILED: it was not there (",
        "flush traces: done (",
        "1 request on 1 connection served",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_worker_and_closer_are_aborted_at_their_budget() {
    let shutdown = deaf()
        .workers(ms(150))
        .closer("hangs", ms(150), std::future::pending::<()>)
        .closer("good", ms(150), || async {})
        .flush("hangs too", ms(150), std::future::pending::<()>);
    let running = Running::start(shutdown, Gate::new().app()).await;
    running
        .handle
        .spawn_worker("deaf", |_| std::future::pending::<()>());
    running.handle.drain_now();
    let report = running.report().await;
    let ends: Vec<_> = report.steps.iter().map(|step| step.end.clone()).collect();
    let late = StepEnd::TimedOut;
    assert_eq!(ends, [late.clone(), late.clone(), StepEnd::Done, late]);
    assert!(
        report.total >= ms(440) && report.total < ms(1_200),
        "{report}"
    );
    for step in &report.steps {
        assert!(step.took < ms(500), "{report}");
    }
}

// === a second server ===

struct Two {
    app: Running,
    admin_addr: SocketAddr,
    admin: JoinHandle<Result<Report, ServeError>>,
}

async fn two(shutdown: Shutdown, app: &Gate, admin: &Gate) -> Two {
    let app = Running::start(shutdown, app.app()).await;
    let (listener, admin_addr) = listener().await;
    let serve = lameduck::serve(listener, admin.app()).follow(&app.handle);
    let admin = tokio::spawn(async move { serve.await });
    Two {
        app,
        admin_addr,
        admin,
    }
}

#[tokio::test]
async fn second_server_drains_with_the_first() {
    let (gate, admin_gate) = (Gate::new(), Gate::new());
    let two = two(deaf().lame_duck(ms(250)), &gate, &admin_gate).await;
    let mut admin = Raw::connect(two.admin_addr).await;
    assert_eq!(admin.ask(GET).await.status, 200);
    let mut client = two.app.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    two.app.handle.shutdown();
    two.app.handle.lifecycle().reached(Phase::LameDuck).await;
    let mut late = Raw::connect(two.admin_addr).await;
    assert_eq!(
        late.ask(GET).await.status,
        200,
        "served in the lame-duck phase"
    );
    late.send(SLOW).await;
    admin_gate.came().await;
    two.app.handle.lifecycle().reached(Phase::Draining).await;
    tokio::time::sleep(ms(150)).await;
    assert!(
        !two.app.report.is_finished(),
        "it waits for the other's requests"
    );
    admin_gate.let_one_go();
    assert_eq!(late.read_response().await.status, 200);
    let admin_report = within(LIMIT, "the follower's report", two.admin).await;
    let admin_report = admin_report.unwrap().unwrap();
    assert_eq!((admin_report.requests, admin_report.connections), (3, 2));
    let report = two.app.report().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.connections), (4, 3), "of both");
}

#[tokio::test]
async fn requests_of_a_second_server_are_cut_and_reported_by_the_first() {
    let (gate, admin_gate) = (Gate::new(), Gate::new());
    let two = two(deaf().drain(ms(200)), &gate, &admin_gate).await;
    let mut admin = Raw::connect(two.admin_addr).await;
    admin.send(SLOW).await;
    admin_gate.came().await;
    let mut client = two.app.connect().await;
    client
        .send("GET /slow?app HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    gate.came().await;
    two.app.handle.drain_now();
    let report = two.app.report().await;
    let peers: Vec<_> = report.cut.iter().map(|cut| cut.peer).collect();
    let expected = [admin.stream(), client.stream()].map(|s| s.local_addr().ok());
    assert_eq!(peers, expected, "the oldest first: {report}");
    within(LIMIT, "the follower's end", two.admin)
        .await
        .unwrap()
        .unwrap();
}

// === a future that begins it, a task of its own ===

#[tokio::test]
async fn any_of_the_given_futures_begins_the_shutdown() {
    let (first, second) = (oneshot::channel::<()>(), oneshot::channel::<()>());
    let ends = |receiver: oneshot::Receiver<()>| async move { drop(receiver.await) };
    let shutdown = deaf()
        .shutdown_on(ends(first.1))
        .shutdown_on(ends(second.1))
        .shutdown_on(std::future::pending());
    let running = Running::start(shutdown, Gate::new().app()).await;
    let mut client = running.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    assert_eq!(running.handle.lifecycle().phase(), Phase::Ready);
    second.0.send(()).unwrap();
    let report = running.report().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.cause, Cause::Called);
    assert!(first.0.is_closed(), "the others are dropped");
}

#[tokio::test]
async fn spawned_server_outlives_the_drop_of_its_task() {
    let (listener, addr) = listener().await;
    let serve = lameduck::serve(listener, Gate::new().app()).shutdown(deaf());
    let task = serve.spawn().unwrap();
    let handle = task.handle().clone();
    drop(task);
    let mut client = Raw::connect(addr).await;
    assert_eq!(client.ask(GET).await.status, 200);
    handle.shutdown();
    let report = within(LIMIT, "the report", handle.reported()).await;
    assert!(report.is_clean() && report.requests == 1, "{report}");
}

#[tokio::test]
async fn spawned_server_returns_its_report_or_the_error_of_its_start() {
    let (first, addr) = listener().await;
    let serve = lameduck::serve(first, Gate::new().app()).shutdown(deaf());
    let task = serve.spawn().unwrap();
    let mut client = Raw::connect(addr).await;
    assert_eq!(client.ask(GET).await.status, 200);
    let report = within(LIMIT, "the report", task.shutdown()).await.unwrap();
    assert!(report.is_clean() && report.requests == 1, "{report}");

    let (listener, _) = listener().await;
    let serve = lameduck::serve(listener, Gate::new().app())
        .shutdown(deaf())
        .timeouts(Timeouts::default().read(Duration::ZERO));
    let error = serve.spawn().unwrap_err();
    assert!(matches!(error, ServeError::Timeout(_)), "{error}");
}

// === what no one drives ===

type Wire = fn(Shutdown) -> Option<ShutdownHandle>;

/// The ways to rely on a shutdown that no one drives.
const UNDRIVEN: [Wire; 5] = [
    |shutdown| {
        drop(shutdown.closer("pool", ms(10), || async {}));
        None
    },
    |shutdown| {
        let handle = shutdown.handle();
        handle.spawn_worker("mailer", |stop| async move { stop.cancelled().await });
        drop(shutdown);
        Some(handle)
    },
    |shutdown| {
        let handle = shutdown.handle();
        drop(shutdown);
        handle.shutdown();
        handle.shutdown();
        Some(handle)
    },
    |shutdown| {
        let handle = shutdown.handle();
        drop(shutdown);
        let (timeouts, limits) = (Timeouts::default(), Limits::default());
        drop(Connections::new(timeouts, limits).unwrap().follow(&handle));
        Some(handle)
    },
    |shutdown| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let shutdown = shutdown.flush("logs", ms(10), || async {});
        drop(lameduck::serve(listener, Gate::new().app()).shutdown(shutdown));
        None
    },
];

/// Returns a shutdown, and the advice that is emitted about it.
fn advised() -> (Shutdown, Log) {
    let log = Log::default();
    let heard = log.clone();
    let events = EventSink::to(move |event| {
        if let Event::Misconfigured { advice } = event {
            heard.say(advice);
        }
    });
    (deaf().events(events), log)
}

#[tokio::test]
async fn shutdown_that_is_used_and_never_driven_is_reported_once() {
    for (case, wire) in UNDRIVEN.into_iter().enumerate() {
        let (shutdown, advice) = advised();
        let _handle = wire(shutdown);
        let advice = advice.lines();
        assert_eq!(advice.len(), 1, "{case}: {advice:?}");
        assert!(advice[0].contains("serve(..).shutdown(..)"), "{advice:?}");
    }
}

#[tokio::test]
async fn shutdown_that_is_unused_or_driven_is_not_reported() {
    let (shutdown, advice) = advised();
    let handle = shutdown.handle();
    drop(shutdown);
    assert_eq!(handle.lifecycle().phase(), Phase::Starting);
    assert!(advice.lines().is_empty());

    let (shutdown, advice) = advised();
    let shutdown = shutdown.closer("pool", ms(10), || async {});
    let running = Running::start(shutdown, Gate::new().app()).await;
    running.handle.shutdown();
    running.report().await;
    assert!(advice.lines().is_empty());

    // Made to be checked only, as a service does before it starts.
    let (shutdown, advice) = advised();
    let shutdown = shutdown.closer("pool", ms(10), || async {});
    shutdown.check().unwrap();
    drop(shutdown);
    assert!(advice.lines().is_empty());

    // The error of a start is loud enough.
    let (shutdown, advice) = advised();
    let shutdown = shutdown.closer("pool", ms(90_000), || async {});
    shutdown.run().await.unwrap_err();
    assert!(advice.lines().is_empty());
    let (shutdown, advice) = advised();
    let shutdown = shutdown.closer("pool", ms(10), || async {});
    let (listener, _) = listener().await;
    let serve = lameduck::serve(listener, Gate::new().app())
        .timeouts(Timeouts::default().read(Duration::ZERO))
        .shutdown(shutdown);
    serve.into_future().await.unwrap_err();
    assert!(advice.lines().is_empty());
}

#[tokio::test]
async fn second_shutdown_that_receives_the_same_signals_is_reported() {
    let _alone = SIGNALS.lock().await;
    let start = async |shutdown| Running::start(shutdown, Gate::new().app()).await;
    let (deaf, no_advice) = advised();
    let signalled = || {
        let (shutdown, advice) = advised();
        (shutdown.signals(true), advice)
    };
    let (one, first_advice) = signalled();
    let (two, second_advice) = signalled();
    let one = start(one).await;
    let (two, deaf) = (start(two).await, start(deaf).await);
    let advice = second_advice.lines();
    assert_eq!(advice.len(), 1, "{advice:?}");
    assert!(advice[0].contains("`follow`"), "{advice:?}");
    for running in [one, two, deaf] {
        running.handle.shutdown();
        running.report().await;
    }
    assert!(first_advice.lines().is_empty() && no_advice.lines().is_empty());

    // One after the other is right.
    let (next, advice) = signalled();
    let next = start(next).await;
    next.handle.shutdown();
    next.report().await;
    assert!(advice.lines().is_empty());
}

#[test]
fn undriven_shutdown_writes_one_line_to_standard_error() {
    const CHILD: &str = "LAMEDUCK_TEST_UNDRIVEN";
    if std::env::var_os(CHILD).is_some() {
        drop(deaf().closer("pool", ms(10), || async {}));
        return;
    }
    let name = "undriven_shutdown_writes_one_line_to_standard_error";
    let child = again(module_path!(), name)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&child.stderr);
    let ours = errors.lines().filter(|line| line.starts_with("lameduck: "));
    assert!(child.status.success(), "{errors}");
    assert_eq!(ours.count(), 1, "{errors}");
}

// === what does not start ===

/// Polls once: an error of the start needs no more.
fn first_poll<F: IntoFuture>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future.into_future());
    let mut context = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn runtime_without_timers_or_io_does_not_start_and_says_what_to_enable() {
    let whole = tokio::runtime::Runtime::new().unwrap();
    let with_io = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let with_time = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let serve = || {
        let (listener, _) = whole.block_on(listener());
        lameduck::serve(listener, Gate::new().app()).shutdown(deaf())
    };

    let none = first_poll(serve()).expect("an error at once").unwrap_err();
    let spawned = serve().spawn().unwrap_err();
    let no_timers = with_io.block_on(serve().into_future()).unwrap_err();
    let no_io = with_time.block_on(serve().into_future()).unwrap_err();
    for error in [none, spawned, no_timers, no_io] {
        assert!(matches!(error, ServeError::Runtime(_)), "{error:?}");
        assert!(error.to_string().contains("enable_all"), "{error}");
    }

    let none = first_poll(deaf().run()).expect("an error at once");
    let no_timers = with_io.block_on(deaf().run());
    for error in [none.unwrap_err(), no_timers.unwrap_err()] {
        assert!(error.to_string().contains("enable_all"), "{error}");
    }
}

#[test]
fn listener_in_memory_needs_no_io() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (_door, listener) = Door::new();
    let shutdown = deaf();
    let handle = shutdown.handle();
    handle.drain_now();
    let serve = lameduck::serve(listener, Gate::new().app()).shutdown(shutdown);
    assert!(runtime.block_on(serve.into_future()).unwrap().is_clean());
}

#[tokio::test]
async fn invalid_settings_do_not_start_and_say_what_to_change() {
    let refused = |change: fn(Shutdown) -> Shutdown, timeouts: Timeouts, limits: Limits| async move {
        let (listener, _) = listener().await;
        let serve = lameduck::serve(listener, Gate::new().app())
            .shutdown(change(deaf()))
            .timeouts(timeouts)
            .limits(limits);
        let serve = async move { serve.await };
        within(LIMIT, "the refusal", serve).await.unwrap_err()
    };
    let (timeouts, limits) = (Timeouts::default(), Limits::default());

    let error = refused(|s| s.termination_grace(ms(10_000)), timeouts, limits).await;
    assert!(matches!(error, ServeError::Shutdown(_)));
    let text = error.to_string();
    assert!(
        text.contains("needs 21s") && text.contains("stopTimeout"),
        "{text}"
    );

    let error = refused(|s| s, timeouts.read(Duration::ZERO), limits).await;
    assert!(matches!(error, ServeError::Timeout(_)));
    assert!(error.to_string().contains("`read` is zero"), "{error}");

    let error = refused(|s| s, timeouts, limits.max_connections(0)).await;
    assert!(matches!(error, ServeError::Limit(_)));
    assert!(error.to_string().contains("`max_connections`"), "{error}");
}
