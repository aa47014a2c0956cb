use std::time::{Duration, Instant};

use super::told::{Told, phase_index};
use crate::in_flight::InFlightHandle;
use crate::phase::{Lifecycle, Phase};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitHandle;
#[cfg(feature = "serve")]
use crate::shutdown::{ConnectionCounts, Handle};
use crate::sync::Lock;

/// What is read at a scrape, where it is. The lock is that of scrapes, never of requests.
#[derive(Debug, Default)]
pub(super) struct Sources {
    given: Lock<Given>,
}

#[derive(Clone, Debug, Default)]
struct Given {
    lifecycle: Option<Lifecycle>,
    #[cfg(feature = "serve")]
    shutdown: Option<Handle>,
    in_flight: Vec<InFlightHandle>,
    #[cfg(feature = "rate-limit")]
    rate_limits: Vec<RateLimitHandle>,
}

impl Sources {
    /// What is given is cloned out, so that nothing foreign is called under the lock.
    fn given(&self) -> Given {
        self.with(|given| given.clone())
    }

    fn with<T>(&self, with: impl FnOnce(&mut Given) -> T) -> T {
        with(&mut self.given.lock())
    }

    pub fn lifecycle(&self, lifecycle: &Lifecycle) {
        self.with(|given| given.lifecycle = Some(lifecycle.clone()));
    }

    #[cfg(feature = "serve")]
    pub fn shutdown(&self, handle: &Handle) {
        self.with(|given| {
            given.lifecycle = Some(handle.lifecycle().clone());
            given.shutdown = Some(handle.clone());
        });
    }

    pub fn in_flight(&self, handle: InFlightHandle) {
        self.with(|given| given.in_flight.push(handle));
    }

    #[cfg(feature = "rate-limit")]
    pub fn rate_limit(&self, handle: RateLimitHandle) {
        self.with(|given| given.rate_limits.push(handle));
    }

    /// The place of the phase among its names.
    pub fn phase(&self, told: &Told) -> usize {
        match self.given().lifecycle {
            Some(lifecycle) => phase_index(lifecycle.phase()),
            None => told.phase(),
        }
    }

    /// How long the drain has been going on, or took.
    pub fn drain(&self, told: &Told) -> Duration {
        if let Some(took) = told.drained() {
            return took;
        }
        let given = self.given();
        #[cfg(feature = "serve")]
        if let Some(took) = given.shutdown.and_then(|handle| handle.drained()) {
            return took;
        }
        let (began, over) = match given.lifecycle {
            Some(lifecycle) => {
                let over = lifecycle.entered(Phase::Closed);
                (lifecycle.entered(Phase::Draining), over)
            }
            None => told.drain(),
        };
        let Some(began) = began else {
            return Duration::ZERO;
        };
        over.unwrap_or_else(Instant::now)
            .saturating_duration_since(began)
    }

    #[cfg(feature = "serve")]
    pub fn connections(&self) -> Option<ConnectionCounts> {
        Some(self.given().shutdown?.connections())
    }

    /// How many requests are in flight, and the most that have been; `None` without a handle.
    pub fn requests(&self) -> Option<(usize, usize)> {
        let given = self.given();
        let add =
            |(count, peak), handle: &InFlightHandle| (count + handle.count(), peak + handle.peak());
        (!given.in_flight.is_empty()).then(|| given.in_flight.iter().fold((0, 0), add))
    }

    /// How many keys the rate limits keep; `None` without a handle.
    #[cfg(feature = "rate-limit")]
    pub fn keys(&self) -> Option<usize> {
        let given = self.given();
        let keys = given.rate_limits.iter().map(RateLimitHandle::keys).sum();
        (!given.rate_limits.is_empty()).then_some(keys)
    }
}
