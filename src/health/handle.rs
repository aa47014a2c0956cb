use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::Details;
use super::check::Check;
use super::report::{Component, HealthReport, Status};
use super::runner::{Either, Results, Runner, first};
use crate::error::BoxError;
use crate::events::{Event, Events};
use crate::phase::{Lifecycle, Phase};

/// What the process says of its health; see the [module](super). Clones share the checks and what they
/// found.
///
/// Say everything first, and clone or make layers and services afterwards: what is changed later is not
/// changed for those.
#[derive(Clone, Debug)]
pub struct Health {
    pub(super) shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub lifecycle: Lifecycle,
    pub runner: Arc<Runner>,
    pub details: Details,
    terms: Terms,
    told: Arc<Told>,
}

/// What readiness probes were answered last, and who is told when it changes.
#[derive(Debug)]
struct Told {
    events: Events,
    /// 0: never yet; 1: not ready; 2: ready.
    last: AtomicU8,
}

impl Told {
    fn new(events: Events) -> Arc<Self> {
        Arc::new(Told {
            events,
            last: AtomicU8::new(0),
        })
    }

    fn answer(&self, ready: bool) {
        let now = 1 + u8::from(ready);
        // Relaxed: it orders nothing. A look first, because it hardly ever changes; the swap makes one teller
        // of many.
        if self.last.load(Ordering::Relaxed) != now && self.last.swap(now, Ordering::Relaxed) != now
        {
            self.events.tell(|| Event::Readiness { ready });
        }
    }
}

#[derive(Clone, Debug)]
struct Terms {
    created: Instant,
    version: Option<Arc<str>>,
    checks: Vec<Check>,
    deadline: Duration,
    cache: Duration,
}

impl Terms {
    fn runner(&self) -> Runner {
        let checks = self.checks.iter().map(Check::afresh).collect();
        Runner::new(checks, self.deadline, self.cache)
    }
}

impl Health {
    /// Follows this process's phase; without checks, a deadline of 2 s for each, results cached for 1 s,
    /// details to [loopback](Details::loopback).
    pub fn new(lifecycle: &Lifecycle) -> Self {
        let terms = Terms {
            created: Instant::now(),
            version: None,
            checks: Vec::new(),
            deadline: Duration::from_secs(2),
            cache: Duration::from_secs(1),
        };
        Health {
            shared: Arc::new(Shared {
                lifecycle: lifecycle.clone(),
                runner: Arc::new(terms.runner()),
                details: Details::default(),
                terms,
                told: Told::new(lifecycle.event_sink()),
            }),
        }
    }

    fn with(self, change: impl FnOnce(&mut Terms)) -> Self {
        let mut shared = Shared::clone(&self.shared);
        change(&mut shared.terms);
        shared.runner = Arc::new(shared.terms.runner());
        Health {
            shared: Arc::new(shared),
        }
    }

    /// The release that is running, told among the details.
    #[must_use]
    pub fn version(self, version: impl Into<Arc<str>>) -> Self {
        let version = version.into();
        self.with(|terms| terms.version = Some(version))
    }

    /// A dependency without which the process is of no use: when the check fails, readiness does.
    ///
    /// Not what all instances share, unless it would help that all of them leave the load balancer at
    /// once; see the [module](super).
    #[must_use]
    pub fn check<F, R, E>(self, name: &str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.with(|terms| terms.checks.push(Check::new(name, false, check)))
    }

    /// A dependency that the process can do without: when the check fails, readiness says `warn`, with
    /// 200.
    #[must_use]
    pub fn optional_check<F, R, E>(self, name: &str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.with(|terms| terms.checks.push(Check::new(name, true, check)))
    }

    /// How long each check may take; one that takes longer has failed, and is dropped. Default: 2 s.
    /// The prober's own timeout should be longer (Kubernetes' default is 1 s).
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        self.with(|terms| terms.deadline = deadline)
    }

    /// For how long after a run its results are given without another one. Default: 1 s. Zero: every
    /// probe runs the checks, or joins the run that is on.
    #[must_use]
    pub fn cache(self, cache: Duration) -> Self {
        self.with(|terms| terms.cache = cache)
    }

    /// Who is shown more than status and phase. Default: [`Details::loopback`]. The checks and what they found
    /// are shared with the one that it is called on: an admin port shows more of the same.
    #[must_use]
    pub fn details(self, details: Details) -> Self {
        Health {
            shared: Arc::new(Shared {
                details,
                ..Shared::clone(&self.shared)
            }),
        }
    }

    /// Emits [`Event::Readiness`] there too when probes begin to get another answer. Default: to the
    /// [hub](Lifecycle::listen) of the lifecycle. The [checks](Self::check) and what they found stay shared with the
    /// one that it is called on.
    #[must_use]
    pub fn events(self, events: Events) -> Self {
        let events = self.shared.lifecycle.event_sink().and(events);
        Health {
            shared: Arc::new(Shared {
                told: Told::new(events),
                ..Shared::clone(&self.shared)
            }),
        }
    }

    /// What [`liveness`](Self::liveness) says.
    pub fn liveness_report(&self) -> HealthReport {
        self.report(Status::Pass, self.shared.lifecycle.phase(), nothing())
    }

    /// What [`startup`](Self::startup) says.
    pub fn startup_report(&self) -> HealthReport {
        let lifecycle = &self.shared.lifecycle;
        let phase = lifecycle.phase();
        // A process that left without it never started.
        let started = phase == Phase::Ready || lifecycle.entered(Phase::Ready).is_some();
        let status = match started {
            true => Status::Pass,
            false => Status::Fail,
        };
        self.report(status, phase, nothing())
    }

    /// What [`readiness`](Self::readiness) says: runs the checks, or waits for the run that is on,
    /// unless the last results are fresh or the phase has decided it already. The moment the process
    /// begins to leave it stops waiting, and says so.
    ///
    /// Cancel safe; a run goes on for the others. Outside of a tokio runtime every check fails.
    pub async fn readiness_report(&self) -> HealthReport {
        if let Some(report) = self.readiness_now() {
            return report;
        }
        let Shared {
            lifecycle, runner, ..
        } = &*self.shared;
        // Leaving is looked at first: it decides, whatever the checks say.
        let results = match first(lifecycle.draining(), runner.results()).await {
            Either::First(()) => runner.last(),
            Either::Other(results) => results,
        };
        self.readiness_by(results)
    }

    /// Readiness, if it can be told without waiting.
    pub(super) fn readiness_now(&self) -> Option<HealthReport> {
        let Shared {
            lifecycle, runner, ..
        } = &*self.shared;
        match lifecycle.phase() {
            Phase::Ready => Some(self.readiness_by(runner.fresh()?)),
            _ => Some(self.readiness_by(runner.last())),
        }
    }

    /// Readiness by what the checks found, fresh or not.
    pub(super) fn readiness_by(&self, results: Results) -> HealthReport {
        // The phase is read last: no answer that is made in the lame-duck phase says `pass`.
        let phase = self.shared.lifecycle.phase();
        let found = |status| {
            let mut all = results.components.iter();
            all.any(|component| component.status == status)
        };
        let status = if phase != Phase::Ready || found(Status::Fail) || found(Status::Unknown) {
            Status::Fail
        } else if found(Status::Warn) {
            Status::Warn
        } else {
            Status::Pass
        };
        self.shared.told.answer(status != Status::Fail);
        self.report(status, phase, results)
    }

    fn report(&self, status: Status, phase: Phase, results: Results) -> HealthReport {
        let terms = &self.shared.terms;
        HealthReport {
            status,
            phase,
            version: terms.version.clone(),
            uptime: terms.created.elapsed(),
            components: results.components,
            age: results.at.map(|at| at.elapsed()),
        }
    }
}

/// For probes that look at no dependency.
fn nothing() -> Results {
    let components: Arc<[Component]> = Arc::default();
    Results {
        components,
        at: None,
    }
}
