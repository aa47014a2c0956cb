//! What the page, its service and its watchers share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use tokio::time::Instant;

use super::happenings::Happenings;
use crate::allowed_hosts::AllowedHosts;
use crate::events::Events;
use crate::in_flight::InFlightHandle;
use crate::phase::Phase;
use crate::shutdown::Handle;
use crate::single_flight::SingleFlight;

pub(super) struct Shared {
    pub handle: Handle,
    pub title: String,
    pub in_flight: Option<InFlightHandle>,
    pub happenings: Arc<Happenings>,
    /// Feeds them.
    pub listener: Events,
    pub watchers: Arc<AtomicUsize>,
    /// Another number for each process: a page that connects again sees that it is another.
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

/// What a snapshot has seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub phase: Phase,
    pub version: u64,
    /// The report is there: nothing follows.
    pub over: bool,
}

impl Shared {
    pub fn mark(&self) -> Mark {
        Mark {
            phase: self.handle.lifecycle().phase(),
            version: self.happenings.version(),
            over: self.handle.report().is_some(),
        }
    }
}
