use std::time::{Duration, Instant};

use super::event_counters::{EventCounters, phase_index};
use crate::in_flight::InFlightHandle;
use crate::phase::{Lifecycle, Phase};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitHandle;
#[cfg(feature = "serve")]
use crate::shutdown::{ConnectionCounts, Handle};
use crate::sync::Lock;

/// The values read from their owners at each scrape. Only scrapes take the lock, never requests.
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
    /// Clones the sources out, so that no foreign code is called under the lock.
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

    /// Returns the index of the phase.
    pub fn phase(&self, counters: &EventCounters) -> usize {
        match self.given().lifecycle {
            Some(lifecycle) => phase_index(lifecycle.phase()),
            None => counters.phase(),
        }
    }

    /// Returns the duration of the drain, so far or in total.
    pub fn drain(&self, counters: &EventCounters) -> Duration {
        if let Some(took) = counters.drained() {
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
            None => counters.drain(),
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

    /// Returns the number of requests in flight and its peak; `None` without a handle.
    pub fn requests(&self) -> Option<(usize, usize)> {
        let given = self.given();
        let add =
            |(count, peak), handle: &InFlightHandle| (count + handle.count(), peak + handle.peak());
        (!given.in_flight.is_empty()).then(|| given.in_flight.iter().fold((0, 0), add))
    }

    /// Returns the number of keys that the rate limits track; `None` without a handle.
    #[cfg(feature = "rate-limit")]
    pub fn keys(&self) -> Option<usize> {
        let given = self.given();
        let keys = given.rate_limits.iter().map(RateLimitHandle::keys).sum();
        (!given.rate_limits.is_empty()).then_some(keys)
    }
}
