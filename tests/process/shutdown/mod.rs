//! The whole sequence with a real server: signals, shutdown from code, workers, closers, a second server.

mod signals;
mod start;
mod steps;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use lameduck::serve::ServeError;
use lameduck::shutdown::{Cause, ShutdownHandle, StepEnd};
use lameduck::{Phase, Report, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{App, Gate, How, LIMIT, Raw, ms, within};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";

/// Serializes tests: a signal is sent to the whole process.
static SIGNALS: Mutex<()> = Mutex::const_new(());

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
