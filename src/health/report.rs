use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::phase::Phase;

/// The status of a component or of the process as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Healthy.
    Pass,
    /// Fit for traffic, but an optional dependency is broken.
    Warn,
    /// Unfit for traffic.
    Fail,
    /// Not checked yet, because checks run only in [`Phase::Ready`]. Components only.
    Unknown,
}

impl Status {
    /// Returns `pass`, `warn`, `fail` (the words of draft-inadarei-api-health-check), or `unknown`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The last result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Component {
    /// The check's name.
    pub name: Arc<str>,
    /// The status; a failure is [`Status::Fail`] for a required check, [`Status::Warn`] for an optional one.
    pub status: Status,
    /// `true` if a failure is reported but does not fail readiness.
    pub optional: bool,
    /// The duration of the check; zero while it is unknown.
    pub duration: Duration,
    /// The cause of a failure: the error and its sources, at most 512 bytes.
    pub error: Option<Arc<str>>,
}

/// The answer to a probe, independent of its encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthReport {
    /// The overall status, which decides the probe's HTTP status.
    pub status: Status,
    /// Returns the process's phase.
    pub phase: Phase,
    /// The release, if [`version`](super::Health::version) set one.
    pub version: Option<Arc<str>>,
    /// The time since [`Health::new`](super::Health::new).
    pub uptime: Duration,
    /// The checks in the order in which they were added; empty except for readiness.
    pub components: Arc<[Component]>,
    /// The time since the checks ended; `None` if none has run.
    pub age: Option<Duration>,
}

impl HealthReport {
    /// Returns `true` if the probe is answered with 200: no required check failed.
    pub fn is_ok(&self) -> bool {
        matches!(self.status, Status::Pass | Status::Warn)
    }
}

/// Writes one line: `fail (ready); database: connection refused`.
impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.status, self.phase)?;
        for component in self.components.iter() {
            if let Some(error) = &component.error {
                write!(f, "; {}: {error}", component.name)?;
            }
        }
        Ok(())
    }
}
