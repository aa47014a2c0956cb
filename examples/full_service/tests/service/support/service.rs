//! The service as operators run it: a process with an environment, an output and signals.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{client, wait_for};

pub struct Service {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    readers: Option<(JoinHandle<()>, JoinHandle<Vec<String>>)>,
    pub address: SocketAddr,
    admin: Option<SocketAddr>,
    /// Where it works, and keeps its database.
    _folder: TempDir,
}

/// The remains of the service after its end.
pub struct Ended {
    pub status: ExitStatus,
    pub output: Vec<String>,
    /// Standard error.
    pub errors: Vec<String>,
}

/// Returns the binary with only the test's environment.
pub fn command(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME"))));
    command.env_clear().envs(environment.iter().copied());
    // Its database is a file there, unless the environment names another.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

// === impl Service ===

impl Service {
    /// Starts the service on a free port, and waits until it listens.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let folder = folder();
        let mut child = command(&[("LOG_FORMAT", "json")])
            .current_dir(&folder)
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("ADMIN_PORT", "0")])
            .envs(environment.iter().copied())
            // A terminal would change the meaning of SIGINT.
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");

        let stderr = BufReader::new(child.stderr.take().expect("a piped stderr"));
        let errors = std::thread::spawn(|| {
            let shown = |line: &String| eprintln!("{line}");
            stderr
                .lines()
                .map_while(Result::ok)
                .inspect(shown)
                .collect()
        });
        let stdout = BufReader::new(child.stdout.take().expect("a piped stdout"));
        let output = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let output = Arc::clone(&output);
            move || {
                for line in stdout.lines().map_while(Result::ok) {
                    output.lock().expect("output").push(line);
                }
            }
        });
        let mut service = Self {
            child,
            output,
            readers: Some((reader, errors)),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            admin: None,
            _folder: folder,
        };
        let listening = service.logged("message", "listening");
        let address = |name| listening[name].as_str()?.parse().ok();
        service.address = address("address").expect("an address in the log");
        service.admin = address("admin");
        service
    }

    /// Starts the service, and waits until it is ready.
    pub fn start_ready(environment: &[(&str, &str)]) -> Self {
        let service = Self::start(environment);
        service.phase("ready");
        service
    }

    /// Returns the address of its admin port.
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("an admin port in the log")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the service is there");
    }

    /// Waits until `/readyz` names this phase.
    pub fn phase(&self, phase: &str) {
        wait_for(phase, || {
            let answer = client::get(self.address, "/readyz").ok()?;
            (answer.json()["phase"] == phase).then_some(())
        });
    }

    /// Waits for a log line with this field.
    pub fn logged(&self, field: &str, value: &str) -> Value {
        wait_for(&format!("{field}={value} in the log"), || {
            find(&self.output.lock().expect("output"), field, value)
        })
    }

    /// Waits for the end of the process.
    pub fn ended(mut self) -> Ended {
        let status = wait_for("the end of the process", || {
            self.child.try_wait().expect("a child to wait for")
        });
        let (reader, errors) = self.readers.take().expect("not ended before");
        reader.join().expect("the output is read");
        let errors = errors.join().expect("the output is read");
        let output = std::mem::take(&mut *self.output.lock().expect("output"));
        Ended {
            status,
            output,
            errors,
        }
    }
}

/// Kills the process, so that no test leaves one behind.
impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The service with an output whose reader reads only the beginning.
pub struct Unread {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    _folder: TempDir,
    pub address: SocketAddr,
}

impl Unread {
    /// Starts the service without a limit for clients, and waits until it listens.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let folder = folder();
        let mut child = command(&[("LOG_FORMAT", "json"), ("RATE_LIMIT", "off")])
            .current_dir(&folder)
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("ADMIN_PORT", "off")])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a piped stdout"));
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).expect("text"), 0, "an end");
        }
        let listening: Value = serde_json::from_str(&line).expect("JSON");
        let address = listening["address"]
            .as_str()
            .and_then(|text| text.parse().ok());
        Self {
            child,
            _stdout: stdout,
            _folder: folder,
            address: address.expect("an address in the log"),
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the service is there");
    }

    pub fn ended(mut self) -> ExitStatus {
        wait_for("the end of the process", || {
            self.child.try_wait().expect("a child to wait for")
        })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Ended ===

impl Ended {
    pub fn logged(&self, field: &str, value: &str) -> Option<Value> {
        find(&self.output, field, value)
    }

    /// Returns the lines for a person: those that are not log lines.
    pub fn printed(&self) -> String {
        let lines = self.output.iter().filter(|line| !line.starts_with('{'));
        lines.map(|line| format!("{line}\n")).collect()
    }

    pub fn assert_clean(&self) {
        assert!(self.status.success(), "{}: {:#?}", self.status, self.output);
        let report = self
            .logged("message", "shutdown report")
            .expect("a report in the log");
        assert_eq!(report["clean"], true, "{report}");
        assert!(!self.printed().trim().is_empty(), "a printed report");
    }
}

fn find(output: &[String], field: &str, value: &str) -> Option<Value> {
    output
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line[field] == value)
}

/// Runs a service that must refuse to start: returns its exit code and its output.
pub fn refused(environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut child = command(environment)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the service starts");
    let status = wait_for("a refusal to start", || {
        child.try_wait().expect("a child to wait for")
    });
    let mut stderr = String::new();
    for pipe in [
        child
            .stdout
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read>),
        child
            .stderr
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read>),
    ] {
        pipe.expect("a piped output")
            .read_to_string(&mut stderr)
            .expect("text");
    }
    (status.code(), stderr)
}

/// Returns the time that `work` took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}
