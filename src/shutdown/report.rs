use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use super::live::end_all;
use super::request::Seconds;
use super::{Cause, CutRequest, Step, StepEnd, StepKind};

/// The report of a shutdown: the duration of each part, and the requests that were cut.
///
/// Its `Display` is for a person; the fields are for logs. Where there was no server, the display has no lines about
/// requests.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The cause.
    pub cause: Cause,
    /// The duration of the lame-duck phase.
    pub lame_duck: Duration,
    /// The duration of the drain.
    pub drain: Duration,
    /// The time that the workers took to stop.
    pub workers: Duration,
    /// The duration of closers and flushes.
    pub closers: Duration,
    /// The time from the signal to the end.
    pub total: Duration,
    /// The number of requests answered in the process's life, without those that were cut.
    pub requests: u64,
    /// The number of requests, in the process's life, that a deadline of the server or of a layer ended.
    pub timed_out: u64,
    /// The number of requests, in the process's life, whose client left before the response's end.
    pub client_gone: u64,
    /// The number of connections accepted in the process's life.
    pub connections: u64,
    /// The requests that were in flight at the end of the drain and were cut, the oldest first: all of them, some 200
    /// bytes each. There are as many as the server's limits allow (connections, and streams of each), and events name
    /// the oldest 100.
    pub cut: Vec<CutRequest>,
    /// `true` if the shutdown was cut short: by a second signal, by [`ShutdownHandle::cut`](super::ShutdownHandle::cut), or because the
    /// future that drove it was dropped.
    pub at_once: bool,
    /// The workers, closers and flushes, in the order in which they ended.
    pub steps: Vec<Step>,
    /// `true` if there was a server: without one the display has no lines about requests.
    pub(super) served: bool,
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
            timed_out: 0,
            client_gone: 0,
            connections: 0,
            cut: Vec::new(),
            at_once: false,
            steps: Vec::new(),
            served: false,
        }
    }

    /// Creates the part of a server that follows another's shutdown; its cut requests are in the other's report.
    pub(crate) fn of_follower(requests: u64, connections: u64, cause: Cause) -> Self {
        Report {
            requests,
            connections,
            served: true,
            ..Report::new(cause)
        }
    }

    /// Returns `true` if no request was cut and every step ended as it should.
    pub fn is_clean(&self) -> bool {
        self.cut.is_empty()
            && !self.at_once
            && self.steps.iter().all(|step| step.end == StepEnd::Done)
    }

    /// Returns 0 if the report [is clean](Self::is_clean), 1 if a request was cut or a step failed.
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
    /// [`spawn_blocking`](tokio::task::spawn_blocking) has begun, even for a name lookup that hangs: the process would
    /// live on, without a server, until it is killed. When there is a report, all that is worth waiting for has ended.
    /// No value is dropped; standard output is flushed. A [`Shutdown`](crate::Shutdown) with workers or closers that no
    /// server was given is reported first, as at its drop.
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
        end_all();
        std::process::exit(i32::from(!self.is_clean()))
    }
}

/// The number of cut requests that the display names.
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
        if self.served || !self.lame_duck.is_zero() {
            line(f, "lame duck", self.lame_duck)?;
            writeln!(f)?;
        }
        if self.served {
            line(f, "drain", self.drain)?;
            self.write_cut(f)?;
        }
        line(f, "workers", self.workers)?;
        writeln!(f)?;
        self.write_steps(f, |kind| kind == StepKind::Worker)?;
        line(f, "closers", self.closers)?;
        writeln!(f)?;
        self.write_steps(f, |kind| kind != StepKind::Worker)?;
        line(f, "in all", self.total)?;
        if !self.served {
            return Ok(());
        }
        write!(
            f,
            "   {} on {} served",
            Count(self.requests, "request"),
            Count(self.connections, "connection")
        )?;
        if self.timed_out > 0 {
            write!(f, ", {} timed out", self.timed_out)?;
        }
        if self.client_gone > 0 {
            write!(f, ", {} abandoned by the client", self.client_gone)?;
        }
        Ok(())
    }
}

impl Report {
    fn write_cut(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        Ok(())
    }

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

/// Displays counts by state, as in `2 in the handler, 1 upgraded`.
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

/// Displays a count, as in `1 request`, `2 requests`.
struct Count(u64, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}
