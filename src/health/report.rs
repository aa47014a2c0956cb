use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::phase::Phase;

/// How a component, or the process as a whole, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Well.
    Pass,
    /// In service, but something optional is broken.
    Warn,
    /// Not fit for traffic.
    Fail,
    /// Of a component: it has not been checked yet, because checks run only in [`Phase::Ready`].
    Unknown,
}

impl Status {
    /// `pass`, `warn`, `fail` (the words of draft-inadarei-api-health-check), or `unknown`.
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

/// What one check found when it last ran.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Component {
    /// The check's name.
    pub name: Arc<str>,
    /// [`Status::Fail`] of a required check, [`Status::Warn`] of an optional one: it failed.
    pub status: Status,
    /// It is told, but does not fail readiness.
    pub optional: bool,
    /// How long the check took; zero as long as it is unknown.
    pub duration: Duration,
    /// Why it failed: the error and its sources, at most 512 bytes.
    pub error: Option<Arc<str>>,
}

/// The answer to a probe, before it is spelt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthReport {
    /// The whole: what the probe's HTTP status goes by.
    pub status: Status,
    /// The process's phase.
    pub phase: Phase,
    /// The release, where [`version`](super::Health::version) named one.
    pub version: Option<Arc<str>>,
    /// Since [`Health::new`](super::Health::new).
    pub uptime: Duration,
    /// The checks, in the order in which they were added. Empty but for readiness.
    pub components: Arc<[Component]>,
    /// How long ago the checks ended; `None` if none has been run.
    pub age: Option<Duration>,
}

impl HealthReport {
    /// Whether the probe is answered with 200: nothing failed but what is optional.
    pub fn is_ok(&self) -> bool {
        matches!(self.status, Status::Pass | Status::Warn)
    }
}

/// One line: `fail (ready); database: connection refused`.
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
