//! A process and its signals: a shutdown before there is a runtime, repeated signals, and an exit whatever the process
//! does. Each test runs this binary again, as the process that it sends signals to.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lameduck::shutdown::{EXIT_FORCED, Signal, SignalAction, Signals};
use lameduck::{Phase, Report, Server, Shutdown};

use crate::support::{again, app, ms, reply};

/// The variable that selects one of the processes below.
const ROLE: &str = "LAMEDUCK_TEST_ROLE";
/// A limit longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

// === the processes ===

/// Runs one of the tests' processes; without a role it does nothing.
#[test]
fn process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.as_str() {
        "early" => early(),
        "serve" => serve(Shutdown::new().lame_duck(ms(400))),
        "server" => server(),
        "repeats" => {
            // A second is short on a busy machine.
            let signals = Signals::new().repeat_within(LIMIT);
            serve(Shutdown::with_signals(signals).lame_duck(ms(1_500)));
        }
        "interrupt_drains" => {
            let signals = Signals::new().on(Signal::Interrupt, SignalAction::Drain);
            serve(
                Shutdown::with_signals(signals)
                    .lame_duck(LIMIT)
                    .termination_grace(3 * LIMIT),
            );
        }
        "blocked" => blocked(short(Duration::from_secs(2))),
        "blocked_for_long" => blocked(short(LIMIT)),
        "blocked_with_a_flush" => blocked(short(LIMIT).flush("logs", LIMIT / 2, || async {})),
        "blocked_and_left_alone" => blocked(short(ms(300)).enforce_grace(false)),
        "ordered_by_code" => ordered_by_code(),
        "holds_main" => drop(holds_main(false)),
        "lives_on" => lives_on(),
        "exits" => drop(holds_main(true)),
        "dropped" => dropped(),
        "left_to_others" => left_to_others(),
        "reloads" => reloads(),
        other => panic!("no such role: {other}"),
    }
}

/// Returns a shutdown with this grace and no other budget.
fn short(grace: Duration) -> Shutdown {
    Shutdown::new()
        .lame_duck(Duration::ZERO)
        .drain(Duration::ZERO)
        .workers(Duration::ZERO)
        .margin(Duration::ZERO)
        .termination_grace(grace)
}

fn say(what: &str) {
    println!("{what}");
}

/// Waits for the test to write a line.
fn asked() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn run(shutdown: Shutdown) -> Report {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handle = shutdown.handle();
    tokio::spawn(async move {
        handle.lifecycle().reached(Phase::Ready).await;
        say("ready");
        handle.lifecycle().reached(Phase::LameDuck).await;
        say("leaving");
    });
    let app = app(|_| async { reply(200, "done") });
    lameduck::serve(listener, app)
        .shutdown(shutdown)
        .await
        .unwrap()
}

fn serve(shutdown: Shutdown) {
    let report = run(shutdown);
    say(&format!("{report}"));
    say(&format!("lame duck {}", report.lame_duck.as_millis()));
    report.exit();
}

/// Runs a whole `Server`, whose one request waits for the test.
#[tokio::main]
async fn server() {
    let app = app(|_| async {
        say("came");
        tokio::task::spawn_blocking(asked).await.unwrap();
        reply(200, "done")
    });
    let server = Server::new("shop")
        .shutdown(|shutdown| shutdown.lame_duck(ms(50)).drain(LIMIT))
        .shutdown(|shutdown| shutdown.termination_grace(2 * LIMIT))
        .closer("database", ms(500), || async { say("closed") });
    let running = server.serve("127.0.0.1:0", app).spawn().await.unwrap();
    say(&format!("on {}", running.addr().unwrap()));
    let handle = running.handle().clone();
    tokio::spawn(async move {
        handle.lifecycle().reached(Phase::Draining).await;
        say("draining");
    });
    running.await.unwrap().exit();
}

/// Gets a signal before there is a runtime.
fn early() {
    let shutdown = Shutdown::new().lame_duck(ms(10));
    say("made");
    asked();
    serve(shutdown);
}

/// Blocks its one thread by a worker when it is to leave.
fn blocked(shutdown: Shutdown) {
    let handle = shutdown.handle();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        handle.spawn_worker("blocks", |_| async {
            say("ready");
            std::thread::sleep(2 * LIMIT);
        });
        drop(shutdown.run().await);
    });
}

#[tokio::main(flavor = "current_thread")]
async fn ordered_by_code() {
    let shutdown = short(ms(200));
    shutdown.handle().shutdown();
    let report = shutdown.run().await.unwrap();
    std::thread::sleep(ms(1_000));
    say(&format!("{report}"));
    report.exit();
}

/// Makes a report while `main` would wait for a thread.
#[tokio::main(flavor = "current_thread")]
async fn holds_main(exits: bool) -> Report {
    tokio::task::spawn_blocking(|| std::thread::sleep(2 * LIMIT));
    let shutdown = Shutdown::new().lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    tokio::spawn(async move {
        handle.lifecycle().reached(Phase::Ready).await;
        say("ready");
    });
    let report = shutdown.run().await.unwrap();
    say("reported");
    if exits {
        report.exit();
    }
    report
}

/// Serves a second shutdown after the grace of a first one.
fn lives_on() {
    drop(run(short(ms(700))));
    let handle = Shutdown::new().handle();
    std::thread::sleep(ms(1_000));
    drop(handle);
    say("lives");
    std::process::exit(0);
}

/// Drops the shutdown; none of its handlers may keep the process alive.
fn dropped() {
    drop(Shutdown::new());
    say("ready");
    std::thread::sleep(2 * LIMIT);
}

#[tokio::main(flavor = "current_thread")]
async fn left_to_others() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut ours = signal(SignalKind::terminate()).unwrap();
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    tokio::spawn(async move {
        handle.lifecycle().reached(Phase::Ready).await;
        say("ready");
        ours.recv().await;
        say("ours");
        handle.shutdown();
    });
    let report = shutdown.run().await.unwrap();
    say(&format!("{report}"));
    report.exit();
}

#[tokio::main(flavor = "current_thread")]
async fn reloads() {
    let shutdown = Shutdown::new().lame_duck(Duration::ZERO);
    let mut reloads = shutdown.handle().reloads();
    tokio::spawn(async move {
        say("ready");
        loop {
            reloads.next().await;
            say("reloaded");
        }
    });
    let report = shutdown.run().await.unwrap();
    say(&format!("{report}"));
    report.exit();
}

// === the tests ===

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    fn start(role: &str) -> Process {
        let mut child = again(module_path!(), "process")
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
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
        let stdin = child.stdin.take();
        Process {
            child,
            stdin,
            lines,
            seen: Vec::new(),
        }
    }

    /// Starts the process, and waits until it can be sent a signal.
    fn ready(role: &str) -> Process {
        let mut process = Process::start(role);
        process.says("ready");
        process
    }

    /// Waits for a line that ends so: the test harness may have begun it.
    fn says(&mut self, what: &str) {
        self.waits_for(what, |line| line.ends_with(what));
    }

    fn waits_for(&mut self, what: &str, is: impl Fn(&str) -> bool) {
        while !self.seen.last().is_some_and(|line| is(line)) {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("{what:?} did not come: {:?}", self.seen),
            }
        }
    }

    fn ask(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success(), "kill -s {name}");
    }

    /// Waits for the exit, and returns how long it took.
    fn ended(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.seen.extend(self.lines.iter());
                return (status, began.elapsed());
            }
            std::thread::sleep(ms(5));
        }
        panic!("it did not end: {:?}", self.seen);
    }

    fn assert_clean(&mut self, cause: &str) {
        let (status, _) = self.ended();
        let clean = format!("shutdown ({cause}): clean");
        assert!(self.seen.contains(&clean), "{status}: {:?}", self.seen);
        assert_eq!(status.code(), Some(0), "{:?}", self.seen);
    }

    /// Returns how long its lame duck lasted.
    fn lame_duck(&self) -> Duration {
        let line = self
            .seen
            .iter()
            .find_map(|line| line.strip_prefix("lame duck "));
        ms(line.and_then(|line| line.parse().ok()).unwrap())
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn shutdown_before_the_runtime_starts_is_obeyed() {
    for (signal, cause) in [("TERM", "SIGTERM"), ("INT", "SIGINT"), ("QUIT", "SIGQUIT")] {
        let mut process = Process::start("early");
        process.says("made");
        process.signal(signal);
        // The process must go on; a signal without a handler would have ended it by now.
        std::thread::sleep(ms(50));
        process.ask();
        process.assert_clean(cause);
    }
}

#[test]
fn every_stop_signal_has_a_whole_lame_duck() {
    for (signal, cause) in [("TERM", "SIGTERM"), ("INT", "SIGINT"), ("QUIT", "SIGQUIT")] {
        let mut process = Process::ready("serve");
        process.signal(signal);
        process.assert_clean(cause);
        assert!(
            process.lame_duck() >= ms(400),
            "{signal}: {:?}",
            process.seen
        );
    }
}

#[test]
fn sigterm_of_a_server_finishes_the_request_in_flight() {
    let mut process = Process::start("server");
    process.waits_for("the address", |line| line.contains("on 127.0.0.1:"));
    let line = process.seen.last().unwrap();
    let addr = line.rsplit(' ').next().unwrap().to_owned();
    let mut client = TcpStream::connect(&addr).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    process.says("came");
    process.signal("TERM");
    process.says("draining");
    process.ask();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");
    let (status, _) = process.ended();
    let stderr = process.stderr();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(process.seen.iter().any(|line| line == "closed"));
    let start = format!("serving shop on {addr} timeout=10s");
    let mut lines = stderr.lines();
    assert!(lines.any(|line| line.starts_with(&start)), "{stderr}");
    for report in [
        "shutdown (SIGTERM): clean",
        "1 request on 1 connection served",
    ] {
        assert!(lines.any(|line| line.ends_with(report)), "{stderr}");
    }
}

#[test]
fn repeated_signal_at_once_changes_nothing() {
    for (signal, cause) in [("TERM", "SIGTERM"), ("INT", "SIGINT"), ("QUIT", "SIGQUIT")] {
        let mut process = Process::ready("repeats");
        process.signal(signal);
        process.says("leaving");
        process.signal(signal);
        process.signal(signal);
        process.assert_clean(cause);
        assert!(
            process.lame_duck() >= ms(1_500),
            "{signal}: {:?}",
            process.seen
        );
    }
}

#[test]
fn hangup_ends_nothing() {
    let mut process = Process::ready("serve");
    process.signal("HUP");
    process.signal("HUP");
    std::thread::sleep(ms(50));
    process.signal("TERM");
    process.signal("HUP");
    process.assert_clean("SIGTERM");
}

#[test]
fn hangup_reloads_where_reloads_are_awaited() {
    let mut process = Process::ready("reloads");
    for _ in 0..2 {
        process.signal("HUP");
        process.says("reloaded");
        process.seen.clear();
    }
    process.signal("TERM");
    process.assert_clean("SIGTERM");
}

#[test]
fn signal_actions_can_be_configured() {
    let mut process = Process::ready("interrupt_drains");
    process.signal("INT");
    process.assert_clean("SIGINT");
    assert_eq!(process.lame_duck(), Duration::ZERO);
}

#[test]
fn disabled_signals_are_left_to_others() {
    let mut process = Process::ready("left_to_others");
    process.signal("TERM");
    process.says("ours");
    process.assert_clean("called from code");
}

#[test]
fn blocked_process_ends_within_its_grace() {
    let mut process = Process::ready("blocked");
    process.signal("TERM");
    let (status, took) = process.ended();
    assert_eq!(status.code(), Some(i32::from(EXIT_FORCED)));
    assert!(took > ms(1_900) && took < ms(3_500), "{took:?}");
    let stderr = process.stderr();
    assert!(
        stderr.contains("lameduck: the process is ended with exit code 124"),
        "{stderr}"
    );
    assert!(stderr.contains("termination grace of 2s"), "{stderr}");
}

#[test]
fn second_signal_needs_no_runtime() {
    let mut process = Process::ready("blocked_for_long");
    process.signal("TERM");
    std::thread::sleep(ms(1_100));
    process.signal("TERM");
    let (status, took) = process.ended();
    assert_eq!(status.code(), Some(i32::from(EXIT_FORCED)));
    assert!(took < ms(3_000), "{took:?}");
    assert!(process.stderr().contains("a second signal"));
}

#[test]
fn third_signal_ends_the_process_at_once() {
    let mut process = Process::ready("blocked_with_a_flush");
    process.signal("TERM");
    std::thread::sleep(ms(50));
    process.signal("INT");
    std::thread::sleep(ms(1_100));
    assert_eq!(
        process.child.try_wait().unwrap(),
        None,
        "it may still flush"
    );
    process.signal("TERM");
    let (status, took) = process.ended();
    assert_eq!(status.code(), Some(i32::from(EXIT_FORCED)));
    assert!(took < ms(3_000), "{took:?}");
}

#[test]
fn process_without_enforced_grace_is_not_ended() {
    let mut process = Process::ready("blocked_and_left_alone");
    process.signal("TERM");
    std::thread::sleep(ms(1_000));
    assert_eq!(process.child.try_wait().unwrap(), None);
}

#[test]
fn shutdown_begun_by_code_is_not_forced() {
    let mut process = Process::start("ordered_by_code");
    process.assert_clean("called from code");
}

#[test]
fn signal_after_the_report_ends_the_process() {
    let mut process = Process::ready("holds_main");
    process.signal("TERM");
    process.says("reported");
    std::thread::sleep(ms(1_100));
    assert_eq!(process.child.try_wait().unwrap(), None, "main waits");
    process.signal("TERM");
    let (status, took) = process.ended();
    assert_eq!(status.code(), Some(143));
    assert!(took < ms(1_000), "{took:?}");
}

#[test]
fn process_with_another_shutdown_continues() {
    let mut process = Process::ready("lives_on");
    process.signal("TERM");
    let (status, _) = process.ended();
    assert_eq!(status.code(), Some(0), "{:?}", process.seen);
    assert!(process.seen.iter().any(|line| line == "lives"));
}

#[test]
fn report_can_end_the_process() {
    let mut process = Process::ready("exits");
    process.signal("TERM");
    let (status, took) = process.ended();
    assert_eq!(status.code(), Some(0), "{:?}", process.seen);
    assert!(took < ms(5_000), "{took:?}");
}

#[test]
fn dropped_shutdown_ignores_signals() {
    let mut process = Process::ready("dropped");
    process.signal("TERM");
    let (status, _) = process.ended();
    assert_eq!((status.code(), status.signal()), (Some(143), None));
}
