//! The shared state of the handlers.

use std::time::{Duration, Instant};

use lameduck::{Lifecycle, Phase, in_flight::InFlightHandle};

/// The shared state. It is cheap to clone: every part is a handle.
#[derive(Clone)]
pub struct AppState {
    lifecycle: Lifecycle,
    in_flight: InFlightHandle,
    started: Instant,
}

impl AppState {
    pub fn new(lifecycle: &Lifecycle, in_flight: InFlightHandle) -> Self {
        Self {
            lifecycle: lifecycle.clone(),
            in_flight,
            started: Instant::now(),
        }
    }

    pub fn phase(&self) -> Phase {
        self.lifecycle.phase()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.count()
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
