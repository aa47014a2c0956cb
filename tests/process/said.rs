//! What a process says on standard error of itself: to the person who presses Ctrl-C, and to one who forgot something.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use lameduck::events::{Event, EventSink};
use lameduck::shutdown::Signals;
use lameduck::{Phase, Server, Shutdown};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{again, app, ms, reply};

/// The variable that selects one of the processes below.
const ROLE: &str = "LAMEDUCK_TEST_SAYS";
/// A limit longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

// === the processes ===

/// Runs one of the tests' processes; without a role it does nothing.
#[test]
fn process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "forgets_a_shutdown" => forgets_a_shutdown().await,
            "has_a_request" => has_a_request().await,
            "is_sent_two" => is_sent_two().await,
            "announces" => has_a_worker_that_fails(Server::for_tests().announce(true)).await,
            "is_flooded" => has_workers_that_fail().await,
            "is_quiet" => has_a_worker_that_fails(Server::for_tests()).await,
            other => panic!("no such role: {other}"),
        }
    });
}

async fn forgets_a_shutdown() {
    let _kept = Shutdown::with_signals(false).closer("database", ms(100), || async {});
    let shutdown = Shutdown::for_tests();
    shutdown.handle().drain_now();
    shutdown.run().await.unwrap().exit();
}

/// Serves one request for ever.
async fn has_a_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app(|_| async {
        println!("ready");
        std::future::pending::<()>().await;
        reply(200, "never")
    });
    let server = tokio::spawn(lameduck::serve(listener, app).into_future());
    let mut client = TcpStream::connect(addr).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let report = server.await.unwrap().unwrap();
    println!("cut {}", report.cut.len());
}

/// Prints the signals as its listener hears of them.
async fn is_sent_two() {
    let signals = Signals::new().repeat_within(LIMIT);
    let events = EventSink::to(|event| {
        if let Event::Signal { .. } = event {
            println!("{event}");
        }
    });
    let shutdown = Shutdown::with_signals(signals)
        .lame_duck(LIMIT / 2)
        .termination_grace(2 * LIMIT)
        .events(events);
    let handle = shutdown.handle();
    tokio::spawn(async move {
        handle.lifecycle().reached(Phase::Ready).await;
        println!("ready");
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = app(|_| async { reply(200, "done") });
    let served = lameduck::serve(listener, app).shutdown(shutdown).await;
    served.unwrap();
}

async fn has_a_worker_that_fails(server: Server) {
    let app = app(|_| async { reply(200, "done") });
    let running = server
        .worker("mailer", |_| async { Err::<(), _>("connection refused") })
        .serve("127.0.0.1:0", app)
        .spawn()
        .await
        .unwrap();
    while running.handle().failed_workers().is_empty() {
        tokio::time::sleep(ms(5)).await;
    }
    running.shutdown().await.unwrap();
}

/// Has 40 workers that fail at once, and one that fails later.
async fn has_workers_that_fail() {
    let mut server = Server::for_tests().announce(true);
    for number in 0..40 {
        let name = format!("early-{number}");
        server = server.worker(&name, |_| async { Err::<(), _>("connection refused") });
    }
    let server = server.worker("late", |_| async {
        tokio::time::sleep(ms(2_200)).await;
        Err::<(), _>("connection refused")
    });
    let handle = server.handle();
    let running = tokio::spawn(server.run());
    while handle.failed_workers().len() < 41 {
        tokio::time::sleep(ms(5)).await;
    }
    handle.drain_now();
    running.await.unwrap().unwrap();
}

// === the tests ===

/// Runs a process to its end, and returns its standard error.
fn stderr_of(role: &str) -> String {
    let ended = again(module_path!(), "process").env(ROLE, role).output();
    String::from_utf8(ended.unwrap().stderr).unwrap()
}

/// A process that is sent signals.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    fn start(mut command: Command, role: &str) -> Process {
        let mut child = command
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Process { child, lines }
    }

    /// Waits for a line that ends so.
    fn says(&self, what: &str) {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            if line.trim_end().ends_with(what) {
                return;
            }
            seen.push(line);
        }
        panic!("{what:?} did not come: {seen:?}");
    }

    fn press_ctrl_c(&mut self) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(b"\x03").unwrap();
        stdin.flush().unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success(), "kill -s {name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn shutdown_that_is_left_at_the_exit_is_reported() {
    let said = stderr_of("forgets_a_shutdown");
    let ours = said.lines().filter(|line| line.starts_with("lameduck: "));
    assert_eq!(ours.count(), 1, "{said}");
    assert!(said.contains("serve(..).shutdown(..)"), "{said}");
}

/// A terminal of its own, by util-linux's `script`, whose driver turns the byte of Ctrl-C into SIGINT.
#[test]
#[cfg(target_os = "linux")]
fn person_is_answered_and_a_second_ctrl_c_cuts() {
    let test = again(module_path!(), "process");
    let words = std::iter::once(test.get_program()).chain(test.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]);
    let mut process = Process::start(script, "has_a_request");
    process.says("ready");
    process.press_ctrl_c();
    process.says("lameduck: SIGINT: draining, 1 request in flight; Ctrl-C again cuts");
    std::thread::sleep(ms(200));
    process.press_ctrl_c();
    process.says("lameduck: SIGINT: cutting, 1 request in flight");
    process.says("cut 1");
}

#[test]
fn every_signal_is_an_event_with_its_effect() {
    let process = Process::start(again(module_path!(), "process"), "is_sent_two");
    process.says("ready");
    process.signal("TERM");
    process.says("SIGTERM: shutting down, 0 requests in flight");
    process.signal("TERM");
    process.says("SIGTERM: ignored, it repeats an earlier signal");
    process.signal("INT");
    process.says("SIGINT: cutting, 0 requests in flight");
}

#[test]
fn warnings_reach_standard_error_without_a_subscriber() {
    let said = stderr_of("announces");
    for line in [
        "serving test on 127.0.0.1:",
        " lame_duck=0s drain=15s grace=30s",
        "lameduck: worker mailer ended: failed: connection refused",
        "shutdown (called from code): NOT CLEAN",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(stderr_of("is_quiet"), "");
}

#[test]
fn flood_of_warnings_is_bounded_and_the_rest_is_counted() {
    let said = stderr_of("is_flooded");
    let named = said.matches("lameduck: worker early-").count();
    // Ten a second, and the failures may come in more than one.
    assert!((1..=20).contains(&named), "{named}: {said}");
    assert!(
        said.contains("lameduck: worker late ended: failed"),
        "{said}"
    );
    let omitted = said.lines().filter_map(|line| {
        let count = line.strip_prefix("lameduck: ")?;
        count
            .strip_suffix(" lines were omitted")?
            .parse::<usize>()
            .ok()
    });
    let omitted: usize = omitted.sum();
    assert!(omitted >= 40 - named, "{omitted} and {named}: {said}");
}
