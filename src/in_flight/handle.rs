use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;

use super::registry::{Entry, Registry};

/// A handle that reads the counts of an [`InFlightLayer`](super::InFlightLayer). Clones share them.
#[derive(Clone)]
pub struct InFlightHandle {
    pub(super) registry: Arc<Registry>,
}

/// A request in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InFlightRequest {
    /// The method.
    pub method: Method,
    /// The path, without the query (which may hold secrets).
    pub path: String,
    /// The matched route, if the router exposes it (feature `axum`).
    pub route: Option<String>,
    /// The time since the request arrived.
    pub age: Duration,
    /// The remote end of the connection.
    pub peer: Option<SocketAddr>,
}

impl InFlightHandle {
    /// Returns the number of requests in flight.
    pub fn count(&self) -> usize {
        self.registry.tally.count()
    }

    /// Returns the highest number of requests that were in flight at once.
    pub fn peak(&self) -> usize {
        self.registry.peak.load(Ordering::Relaxed)
    }

    /// Waits until no request is in flight; returns at once if none is.
    pub async fn wait_idle(&self) {
        self.registry.tally.idle().await;
    }

    /// Waits until at most `most` requests are in flight; returns at once if there are no more now. Others may have
    /// arrived when the caller runs. Cancel safe.
    ///
    /// ```
    /// # async fn run(in_flight: lameduck::in_flight::InFlightHandle) {
    /// in_flight.wait_at_most(100).await; // then begin the heavy job
    /// # }
    /// ```
    pub async fn wait_at_most(&self, most: usize) {
        self.registry.tally.at_most(most).await;
    }

    /// Visits the known routes with the methods and paths of their requests. Holds a lock meanwhile.
    #[cfg(feature = "status")]
    pub(crate) fn visit_routes(&self, mut visit: impl FnMut(&str, &str, &str)) {
        self.registry.visit(|entry| {
            if let Some(route) = &entry.route {
                let path = entry.target.as_ref().map_or("", |to| to.path());
                visit(entry.method.as_str(), path, route.as_str());
            }
        });
    }

    /// Returns the requests in flight, the oldest first.
    pub fn requests(&self) -> Vec<InFlightRequest> {
        let mut requests = Vec::with_capacity(self.count());
        self.registry
            .visit(|entry| requests.push(InFlightRequest::from(entry)));
        requests.sort_by_key(|request| std::cmp::Reverse(request.age));
        requests
    }
}

impl From<&Entry> for InFlightRequest {
    fn from(entry: &Entry) -> Self {
        InFlightRequest {
            method: entry.method.clone(),
            path: entry.target.as_ref().map_or("", |to| to.path()).to_owned(),
            route: entry.route.as_ref().map(|it| it.as_str().to_owned()),
            age: entry.started.elapsed(),
            peer: entry.peer,
        }
    }
}

impl fmt::Debug for InFlightHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightHandle")
            .field("count", &self.count())
            .field("peak", &self.peak())
            .finish()
    }
}
