//! The state shared by the page, its service and its watchers.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use tokio::time::Instant;

use super::recent_events::RecentEvents;
use crate::allowed_hosts::AllowedHosts;
use crate::events::EventSink;
use crate::in_flight::InFlightHandle;
use crate::phase::Phase;
use crate::shutdown::ShutdownHandle;
use crate::single_flight::SingleFlight;

pub(super) struct Shared {
    pub handle: ShutdownHandle,
    pub title: String,
    pub in_flight: Option<InFlightHandle>,
    pub recent_events: Arc<RecentEvents>,
    /// The listener that records recent events.
    pub listener: EventSink,
    pub watchers: Arc<AtomicUsize>,
    /// A number unique to this process, by which a page that reconnects notices a restart.
    pub instance: u64,
    pub hosts: AllowedHosts,
    pub snapshots: SingleFlight<Snapshot>,
}

#[derive(Clone)]
pub(super) struct Snapshot {
    pub event: Bytes,
    pub made: Instant,
    pub of: Mark,
}

/// The position up to which a snapshot covers events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub phase: Phase,
    pub version: u64,
    /// `true` if the report is included, so that nothing follows.
    pub over: bool,
}

impl Shared {
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            phase: self.handle.lifecycle().phase(),
            version: self.recent_events.version(),
            over: self.handle.report().is_some(),
        }
    }
}
