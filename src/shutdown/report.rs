use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use super::sequence::Drains;
use crate::events::RequestInfo;
use crate::text;

/// What began a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// SIGTERM: the orchestrator.
    Sigterm,
    /// SIGINT: a person at a terminal, or a platform whose stop signal it is.
    Sigint,
    /// SIGQUIT: an image whose stop signal it is.
    Sigquit,
    /// SIGHUP, where it was set to begin the shutdown.
    Sighup,
    /// The future that drove the shutdown was dropped before its end.
    Dropped,
    /// A call of the [`Handle`](super::Handle).
    Called,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Sigterm => "SIGTERM",
            Cause::Sigint => "SIGINT",
            Cause::Sigquit => "SIGQUIT",
            Cause::Sighup => "SIGHUP",
            Cause::Dropped => "its future was dropped",
            Cause::Called => "called from code",
        })
    }
}

/// How a process ended: how long each part took, and what was cut.
///
/// Its `Display` is for a person; the fields are for logs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What began it.
    pub cause: Cause,
    /// How long the lame-duck phase lasted.
    pub lame_duck: Duration,
    /// How long the drain took.
    pub drain: Duration,
    /// How long the workers took to stop.
    pub workers: Duration,
    /// How long closers and flushes took.
    pub closers: Duration,
    /// From the signal to the end.
    pub total: Duration,
    /// Requests answered in the process's life; what was cut is not among them.
    pub requests: u64,
    /// Connections accepted in the process's life.
    pub connections: u64,
    /// What was in flight at the end of the drain and was cut, the oldest first: all of it, some 200 bytes each.
    /// There are as many as the server's limits allow (connections, and streams of each), and events name the
    /// oldest 100.
    pub cut: Vec<CutRequest>,
    /// Whether it was cut short: by a second signal, by [`Handle::cut`](super::Handle::cut), or because the future
    /// that drove it was dropped.
    pub at_once: bool,
    /// Workers, closers and flushes, in the order in which they ended.
    pub steps: Vec<Step>,
}

/// A request that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutRequest {
    /// Its method; empty when its head was not complete.
    pub method: String,
    /// Its path, without the query; empty when its head was not complete.
    pub path: String,
    /// How old it was.
    pub age: Duration,
    /// Who had asked.
    pub peer: Option<SocketAddr>,
    /// Where it stood: `in the handler`, `sending the response`, `upgraded`.
    pub state: &'static str,
    /// The route that it matched (feature `axum`).
    pub route: Option<String>,
    /// The client's address, where [`real_ip`](crate::real_ip) found one.
    pub client: Option<IpAddr>,
    /// The id that [`RequestIdLayer`](crate::RequestIdLayer) gave it.
    pub request_id: Option<String>,
}

impl CutRequest {
    pub(crate) fn new(request: RequestInfo<'_>, age: Duration, state: &'static str) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        CutRequest {
            method: owned(request.method).unwrap_or_default(),
            path: owned(request.path).unwrap_or_default(),
            age,
            peer: request.peer,
            state,
            route: owned(request.route),
            client: request.client,
            request_id: owned(request.request_id),
        }
    }

    /// What an event says of it.
    pub(super) fn info(&self) -> RequestInfo<'_> {
        let mut info = RequestInfo::from_peer(self.peer);
        if !self.method.is_empty() {
            info.method = Some(&self.method);
            info.path = Some(&self.path);
        }
        info.route = self.route.as_deref();
        info.client = self.client;
        info.request_id = self.request_id.as_deref();
        info
    }
}

impl CutRequest {
    /// `GET /path`, or what is known when its head was not complete.
    fn what(&self) -> Cow<'static, str> {
        if self.method.is_empty() {
            Cow::Borrowed("(no complete head)")
        } else {
            let (method, path) = (text::path(&self.method, 32), text::path(&self.path, 256));
            Cow::Owned(format!("{method} {path}"))
        }
    }
}

impl fmt::Display for CutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} old, {}",
            self.what(),
            Seconds(self.age),
            self.state
        )?;
        // The client's own address, and the proxy between.
        match (self.client, self.peer) {
            (Some(client), Some(peer)) if client != peer.ip() => {
                write!(f, ", from {client} via {peer}")?;
            }
            (_, Some(peer)) => write!(f, ", from {peer}")?,
            (Some(client), None) => write!(f, ", from {client}")?,
            (None, None) => {}
        }
        match &self.request_id {
            Some(id) => write!(f, ", id {}", text::path(id, 128)),
            None => Ok(()),
        }
    }
}

/// A worker, a closer or a flush, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Which of the three.
    pub kind: StepKind,
    /// The name that it was given.
    pub name: String,
    /// How long it took from when it was told.
    pub took: Duration,
    /// How it ended.
    pub end: StepEnd,
}

impl Step {
    pub(super) fn new(kind: StepKind, name: String, took: Duration, end: StepEnd) -> Self {
        Step {
            kind,
            name,
            took,
            end,
        }
    }
}

/// What a [`Step`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// A worker that was told to stop.
    Worker,
    /// A closer.
    Closer,
    /// A flush.
    Flush,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StepKind::Worker => "worker",
            StepKind::Closer => "closer",
            StepKind::Flush => "flush",
        })
    }
}

/// How a [`Step`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepEnd {
    /// As it should.
    Done,
    /// With this error.
    Failed(String),
    /// In a panic.
    Panicked,
    /// It had not ended when its time was up, and was aborted.
    TimedOut,
    /// It had not ended when an order to end at once came, and was aborted.
    CutShort,
    /// It was not begun, because of an order to end at once.
    Skipped,
}

impl fmt::Display for StepEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepEnd::Done => f.write_str("done"),
            StepEnd::Failed(error) => write!(f, "FAILED: {error}"),
            StepEnd::Panicked => f.write_str("PANICKED"),
            StepEnd::TimedOut => f.write_str("ABORTED, its time was up"),
            StepEnd::CutShort => f.write_str("ABORTED, it was to end at once"),
            StepEnd::Skipped => f.write_str("SKIPPED"),
        }
    }
}

impl Report {
    pub(super) fn new(cause: Cause) -> Self {
        Report {
            cause,
            lame_duck: Duration::ZERO,
            drain: Duration::ZERO,
            workers: Duration::ZERO,
            closers: Duration::ZERO,
            total: Duration::ZERO,
            requests: 0,
            connections: 0,
            cut: Vec::new(),
            at_once: false,
            steps: Vec::new(),
        }
    }

    /// The part of a server that follows another's shutdown; what was cut of it stands in the other's
    /// report.
    pub(crate) fn of_follower(server: &dyn Drains, cause: Cause) -> Self {
        Report {
            requests: server.requests(),
            connections: server.connections(),
            ..Report::new(cause)
        }
    }

    /// Whether nothing was cut and every step ended as it should.
    pub fn is_clean(&self) -> bool {
        self.cut.is_empty()
            && !self.at_once
            && self.steps.iter().all(|step| step.end == StepEnd::Done)
    }

    /// 0 when it [is clean](Self::is_clean), 1 when something was cut or failed.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_clean() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// Ends the process with [`exit_code`](Self::exit_code), at once.
    ///
    /// A `main` that returns under `#[tokio::main]` drops the runtime, and that waits for every closure that
    /// [`spawn_blocking`](tokio::task::spawn_blocking) has begun, and for no less than a name lookup that
    /// hangs: the process would live on, without a server, until it is killed. Everything worth waiting
    /// for has been waited for when there is a report. Nothing is dropped; standard output is flushed.
    ///
    /// ```no_run
    /// #[tokio::main]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     # let app = axum::Router::new();
    ///     let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
    ///     let report = lameduck::serve(listener, app).await?;
    ///     println!("{report}");
    ///     report.exit()
    /// }
    /// ```
    pub fn exit(&self) -> ! {
        std::process::exit(i32::from(!self.is_clean()))
    }
}

/// How many of the cut requests are named to a person.
const NAMED: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, took| {
            write!(f, "  {name:<10} {:>8}", Seconds(took).to_string())
        };
        let verdict = if self.is_clean() {
            "clean"
        } else {
            "NOT CLEAN"
        };
        write!(f, "shutdown ({}): {verdict}", self.cause)?;
        if self.at_once {
            f.write_str(", ended at once by a second order")?;
        }
        writeln!(f)?;
        line(f, "lame duck", self.lame_duck)?;
        writeln!(f)?;
        line(f, "drain", self.drain)?;
        match self.cut.len() {
            0 => writeln!(f, "   nothing was cut")?,
            1 => writeln!(f, "   1 request was CUT:")?,
            cut => writeln!(f, "   {cut} requests were CUT ({}):", ByState(&self.cut))?,
        }
        for cut in self.cut.iter().take(NAMED) {
            writeln!(f, "             {cut}")?;
        }
        if self.cut.len() > NAMED {
            writeln!(f, "             and {} more", self.cut.len() - NAMED)?;
        }
        line(f, "workers", self.workers)?;
        writeln!(f)?;
        self.write_steps(f, |kind| kind == StepKind::Worker)?;
        line(f, "closers", self.closers)?;
        writeln!(f)?;
        self.write_steps(f, |kind| kind != StepKind::Worker)?;
        line(f, "in all", self.total)?;
        write!(
            f,
            "   {} on {} served",
            Count(self.requests, "request"),
            Count(self.connections, "connection")
        )
    }
}

impl Report {
    fn write_steps(
        &self,
        f: &mut fmt::Formatter<'_>,
        which: impl Fn(StepKind) -> bool,
    ) -> fmt::Result {
        for step in self.steps.iter().filter(|step| which(step.kind)) {
            let Step {
                kind, name, end, ..
            } = step;
            writeln!(
                f,
                "             {kind} {name}: {end} ({})",
                Seconds(step.took)
            )?;
        }
        Ok(())
    }
}

/// `2 in the handler, 1 upgraded`
struct ByState<'a>(&'a [CutRequest]);

impl fmt::Display for ByState<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for cut in self.0 {
            *states.entry(cut.state).or_default() += 1;
        }
        for (index, (state, count)) in states.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{count} {state}")?;
        }
        Ok(())
    }
}

/// `1 request`, `2 requests`
struct Count(u64, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

/// A duration as a person reads it: milliseconds, and seconds from one on.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        }
    }
}
