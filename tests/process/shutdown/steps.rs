//! Workers, closers, a second server, and what begins a shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use lameduck::serve::ServeError;
use lameduck::shutdown::{Cause, StepEnd};
use lameduck::{Phase, Report, Shutdown, Timeouts};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{GET, Log, Running, SLOW, deaf, listener};
use crate::support::{Gate, LIMIT, Raw, app, ms, reply, within};

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
