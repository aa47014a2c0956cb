use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::series::Series;
use super::sources::Sources;
use super::told::Told;
use crate::events::Events;

/// Finds a request's route in its head.
pub(super) type RouteOf = dyn for<'a> Fn(&'a Parts) -> Option<&'a str> + Send + Sync;

/// All that is measured, by clones of layer, service and handle alike.
pub(super) struct Shared {
    pub series: Series,
    pub route_of: Option<Box<RouteOf>>,
    /// In an Arc of its own: events are kept by the server, which the sources may keep.
    pub told: Arc<Told>,
    pub listener: Events,
    pub sources: Sources,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("series", &self.series.len())
            .finish_non_exhaustive()
    }
}
