use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::event_counters::EventCounters;
use super::series::Series;
use super::sources::Sources;
use crate::events::EventSink;

/// A function that derives a request's route from its head.
pub(super) type RouteOf = dyn for<'a> Fn(&'a Parts) -> Option<&'a str> + Send + Sync;

/// The metrics shared by clones of layer, service and handle.
pub(super) struct Shared {
    pub series: Series,
    pub route_of: Option<Box<RouteOf>>,
    /// The counters in an `Arc` of their own: the server keeps the listener, and the sources may keep the server.
    pub counters: Arc<EventCounters>,
    pub listener: EventSink,
    pub sources: Sources,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("series", &self.series.len())
            .finish_non_exhaustive()
    }
}
