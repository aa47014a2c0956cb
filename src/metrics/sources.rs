use std::time::{Duration, Instant};

use super::event_counters::{EventCounters, phase_index};
use crate::in_flight::InFlightHandle;
use crate::phase::{Lifecycle, Phase};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitHandle;
#[cfg(feature = "serve")]
use crate::shutdown::{ConnectionCounts, ShutdownHandle};
use crate::sync::Lock;

/// The values read from their owners at each scrape. Only scrapes take the lock, never requests.
#[derive(Debug, Default)]
pub(super) struct Sources {
    handles: Lock<Handles>,
}

#[derive(Clone, Debug, Default)]
struct Handles {
    lifecycle: Option<Lifecycle>,
    #[cfg(feature = "serve")]
    shutdown: Option<ShutdownHandle>,
    in_flight: Vec<InFlightHandle>,
    #[cfg(feature = "rate-limit")]
    rate_limits: Vec<RateLimitHandle>,
}

impl Sources {
    /// Clones the sources out, so that no foreign code is called under the lock.
    fn handles(&self) -> Handles {
        self.with(|handles| handles.clone())
    }

    fn with<T>(&self, with: impl FnOnce(&mut Handles) -> T) -> T {
        with(&mut self.handles.lock())
    }

    pub(crate) fn lifecycle(&self, lifecycle: &Lifecycle) {
        self.with(|handles| handles.lifecycle = Some(lifecycle.clone()));
    }

    #[cfg(feature = "serve")]
    pub(crate) fn shutdown(&self, handle: &ShutdownHandle) {
        self.with(|handles| {
            handles.lifecycle = Some(handle.lifecycle().clone());
            handles.shutdown = Some(handle.clone());
        });
    }

    pub(crate) fn in_flight(&self, handle: InFlightHandle) {
        self.with(|handles| handles.in_flight.push(handle));
    }

    #[cfg(feature = "rate-limit")]
    pub(crate) fn rate_limit(&self, handle: RateLimitHandle) {
        self.with(|handles| handles.rate_limits.push(handle));
    }

    /// Returns the index of the phase.
    pub(crate) fn phase(&self, counters: &EventCounters) -> usize {
        match self.handles().lifecycle {
            Some(lifecycle) => phase_index(lifecycle.phase()),
            None => counters.phase(),
        }
    }

    /// Returns the duration of the drain, so far or in total.
    #[allow(clippy::disallowed_methods)] // once a scrape
    pub(crate) fn drain(&self, counters: &EventCounters) -> Duration {
        if let Some(took) = counters.drained() {
            return took;
        }
        let handles = self.handles();
        #[cfg(feature = "serve")]
        if let Some(took) = handles.shutdown.and_then(|handle| handle.drained()) {
            return took;
        }
        let (began, over) = match handles.lifecycle {
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
    pub(crate) fn connections(&self) -> Option<ConnectionCounts> {
        Some(self.handles().shutdown?.connections())
    }

    /// Returns the number of requests in flight and its peak; `None` without a handle.
    pub(crate) fn requests(&self) -> Option<(usize, usize)> {
        let handles = self.handles();
        let add =
            |(count, peak), handle: &InFlightHandle| (count + handle.count(), peak + handle.peak());
        (!handles.in_flight.is_empty()).then(|| handles.in_flight.iter().fold((0, 0), add))
    }

    /// Returns the number of keys that the rate limits track; `None` without a handle.
    #[cfg(feature = "rate-limit")]
    pub(crate) fn keys(&self) -> Option<usize> {
        let handles = self.handles();
        let keys = handles.rate_limits.iter().map(RateLimitHandle::keys).sum();
        (!handles.rate_limits.is_empty()).then_some(keys)
    }
}
