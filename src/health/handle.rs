use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::Details;
use super::check::Check;
use super::report::{Component, HealthReport, Status};
use super::runner::{Either, Results, Runner, first};
use crate::error::BoxError;
use crate::events::{Event, EventSink};
use crate::phase::{Lifecycle, Phase};

/// The health of the process; see the [module](super). Clones share the checks and their results.
///
/// Configure it completely before you clone it or create layers and services: later changes do not affect those.
#[doc(alias("healthz", "readyz", "livez", "startupz"))]
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
    readiness: Arc<LastReadiness>,
    /// Held for its drop.
    _claim: Arc<Claim>,
}

/// One of those that answer for the process's health.
#[derive(Debug)]
struct Claim(Lifecycle);

/// What to do about a second one.
pub(crate) const ONE_HEALTH: &str = "a process has one health, but this one has two: what asks one does not see the \
    checks of the other. Clone the first `Health`; with `Server`, use `Server::health`, `Server::check` and \
    `Server::grpc_health`, or `Parts::health`";

impl Claim {
    fn of(lifecycle: &Lifecycle) -> Arc<Self> {
        // Relaxed: it is a count, and publishes nothing.
        if lifecycle.healths().fetch_add(1, Ordering::Relaxed) > 0 {
            let advice = ONE_HEALTH;
            lifecycle
                .event_sink()
                .emit(|| Event::Misconfigured { advice });
        }
        Arc::new(Claim(lifecycle.clone()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.healths().fetch_sub(1, Ordering::Relaxed);
    }
}

/// The last answer to readiness probes, with the sink that receives changes.
#[derive(Debug)]
struct LastReadiness {
    events: EventSink,
    /// 0: never answered; 1: not ready; 2: ready.
    last: AtomicU8,
}

impl LastReadiness {
    fn new(events: EventSink) -> Arc<Self> {
        Arc::new(LastReadiness {
            events,
            last: AtomicU8::new(0),
        })
    }

    fn record(&self, ready: bool, failed: impl FnOnce() -> String) {
        let now = 1 + u8::from(ready);
        // Relaxed: the word orders nothing. Loaded first, because it rarely changes; the swap lets one of several
        // threads emit.
        if self.last.load(Ordering::Relaxed) != now && self.last.swap(now, Ordering::Relaxed) != now
        {
            let failed = failed();
            self.events.emit(|| Event::Readiness {
                ready,
                failed: &failed,
            });
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
    /// Creates the health of this process: without checks, with a deadline of 2 s per check, results cached for 1 s,
    /// and details for [loopback](Details::loopback).
    ///
    /// A process has one, and clones of it. A second one on the same lifecycle is
    /// [`Event::Misconfigured`], and an error at the start of a `Server`, which has one of its own.
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
                readiness: LastReadiness::new(lifecycle.event_sink()),
                _claim: Claim::of(lifecycle),
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

    /// Sets the release that is running, shown among the details.
    #[must_use]
    pub fn version(self, version: impl Into<Arc<str>>) -> Self {
        let version = version.into();
        self.with(|terms| terms.version = Some(version))
    }

    /// Adds a required dependency: readiness fails when its check fails.
    ///
    /// Do not use it for a dependency that all instances share, unless it helps that all of them leave the load
    /// balancer at once; see the [module](super).
    #[must_use]
    pub fn check<F, R, E>(self, name: &str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.with(|terms| terms.checks.push(Check::new(name, false, check)))
    }

    /// Adds an optional dependency: when its check fails, readiness is `warn`, with 200.
    #[must_use]
    pub fn optional_check<F, R, E>(self, name: &str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.with(|terms| terms.checks.push(Check::new(name, true, check)))
    }

    /// Sets the deadline of each check; a check that exceeds it has failed and is dropped. Default: 2 s. The prober's
    /// own timeout should be longer (Kubernetes' default is 1 s).
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        self.with(|terms| terms.deadline = deadline)
    }

    /// Sets the time for which results are reused after a run. Default: 1 s. With zero every probe runs the checks or
    /// joins the current run.
    #[must_use]
    pub fn cache(self, cache: Duration) -> Self {
        self.with(|terms| terms.cache = cache)
    }

    /// Sets the policy for details. Default: [`Details::loopback`]. The checks and their results stay shared with the
    /// original, so that an admin port shows more of the same.
    #[must_use]
    pub fn details(self, details: Details) -> Self {
        Health {
            shared: Arc::new(Shared {
                details,
                ..Shared::clone(&self.shared)
            }),
        }
    }

    /// Emits [`Event::Readiness`] to `events` too when the answer to probes changes. By default only the
    /// [hub](Lifecycle::listen) of the lifecycle receives it. The [checks](Self::check) and their results stay shared
    /// with the original.
    #[must_use]
    pub fn events(self, events: EventSink) -> Self {
        let events = self.shared.lifecycle.event_sink().and(events);
        Health {
            shared: Arc::new(Shared {
                readiness: LastReadiness::new(events),
                ..Shared::clone(&self.shared)
            }),
        }
    }

    /// Returns the problem of its checks, if there is one: two of one name, or no time to run them.
    #[cfg(feature = "serve")]
    pub(crate) fn problem(&self) -> Option<String> {
        let terms = &self.shared.terms;
        if terms.deadline.is_zero() {
            return Some("health: the deadline of checks is zero".to_owned());
        }
        let twice = crate::text::twice(terms.checks.iter().map(Check::name))?;
        Some(format!("check: there are two with the name {twice:?}"))
    }

    /// Returns the report behind [`liveness`](Self::liveness).
    pub fn liveness_report(&self) -> HealthReport {
        self.report(Status::Pass, self.shared.lifecycle.phase(), nothing())
    }

    /// Returns the report behind [`startup`](Self::startup).
    pub fn startup_report(&self) -> HealthReport {
        let lifecycle = &self.shared.lifecycle;
        let phase = lifecycle.phase();
        // A process that leaves without it has never started.
        let started = phase == Phase::Ready || lifecycle.entered(Phase::Ready).is_some();
        let status = match started {
            true => Status::Pass,
            false => Status::Fail,
        };
        self.report(status, phase, nothing())
    }

    /// Returns the report behind [`readiness`](Self::readiness). It runs the checks or joins the current run, unless
    /// the last results are fresh or the phase decides alone. When the process begins to leave, it stops waiting and
    /// reports that.
    ///
    /// Cancel safe; the run continues for other callers. Outside of a tokio runtime every check fails.
    pub async fn readiness_report(&self) -> HealthReport {
        if let Some(report) = self.readiness_now() {
            return report;
        }
        let Shared {
            lifecycle, runner, ..
        } = &*self.shared;
        // The phase is polled first: leaving decides, whatever the checks find.
        let results = match first(lifecycle.draining(), runner.results()).await {
            Either::First(()) => runner.last(),
            Either::Other(results) => results,
        };
        self.readiness_by(results)
    }

    /// Returns readiness if it is known without waiting.
    pub(super) fn readiness_now(&self) -> Option<HealthReport> {
        let Shared {
            lifecycle, runner, ..
        } = &*self.shared;
        match lifecycle.phase() {
            Phase::Ready => Some(self.readiness_by(runner.fresh()?)),
            _ => Some(self.readiness_by(runner.last())),
        }
    }

    /// Returns readiness by these results, fresh or not.
    pub(super) fn readiness_by(&self, results: Results) -> HealthReport {
        // The phase is read last: no response made in the lame-duck phase says `pass`.
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
        self.shared.readiness.record(status != Status::Fail, || {
            // In any other phase the last results decide nothing.
            match phase {
                Phase::Ready => failed(&results.components),
                _ => String::new(),
            }
        });
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

/// Returns the required checks that failed, each with its error.
fn failed(components: &[Component]) -> String {
    let failed = components
        .iter()
        .filter(|component| matches!(component.status, Status::Fail | Status::Unknown));
    let named = failed.map(|component| match &component.error {
        Some(error) => format!("{}: {error}", component.name),
        None => format!("{}: not checked yet", component.name),
    });
    named.collect::<Vec<_>>().join("; ")
}

/// Returns empty results, for probes without dependencies.
fn nothing() -> Results {
    let components: Arc<[Component]> = Arc::default();
    Results {
        components,
        at: None,
    }
}
