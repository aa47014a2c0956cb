mod budgets;
mod closers;
mod drain;
mod orders;
mod report;
mod sequence;
mod signals;
mod workers;

use super::StepEnd::{CutShort, Done, Failed, Panicked, Skipped, TimedOut};
use super::StepKind::{Closer, Flush, Worker};
use super::*;
use crate::events::{Event, EventSink, RequestInfo};
use crate::phase::Phase;
use crate::track::{Tally, TallyGuard};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A log of events with their times, in tenths of a second since its start.
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

    fn event_sink(&self) -> EventSink {
        let log = self.clone();
        EventSink::to(move |event| {
            if let Event::Phase(phase) = event {
                log.say(phase.as_str());
            }
        })
    }
}

/// A guard that logs its drop.
struct OnDrop(Log, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

/// A server whose requests in flight a test sets.
struct Fake {
    log: Log,
    busy: Arc<Tally>,
    all: Arc<Tally>,
    running: Mutex<Vec<(TallyGuard, TallyGuard)>>,
    idle: Mutex<Vec<TallyGuard>>,
    cut: Vec<CutRequest>,
    /// `true` if cut requests do not end.
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

impl DrainServer for Fake {
    fn phase_moved(&self) {
        self.log.say("connections notified");
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

    fn timed_out(&self) -> u64 {
        0
    }
    fn client_gone(&self) -> u64 {
        0
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

fn run(shutdown: Shutdown, log: &Log) -> (ShutdownHandle, JoinHandle<Report>) {
    let handle = shutdown.handle();
    let sequence = shutdown.events(log.event_sink()).start().unwrap();
    (handle, tokio::spawn(sequence.run()))
}

fn ends(report: &Report) -> Vec<(StepKind, &str, &StepEnd)> {
    let steps = report.steps.iter();
    steps
        .map(|step| (step.kind, step.name.as_str(), &step.end))
        .collect()
}

/// Returns `true` if the durations are equal but for the timers' rounding.
fn about(took: Duration, expected: Duration) -> bool {
    took + Duration::from_millis(20) > expected && took < expected + Duration::from_millis(50)
}

/// Creates a request of `GET /path`, or an empty one.
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
