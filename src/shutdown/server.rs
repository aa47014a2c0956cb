use std::sync::Arc;

use super::{ConnectionCounts, CutRequest};
use crate::track::Tally;

/// A server, as the coordinator drains it.
pub(crate) trait DrainServer: Send + Sync {
    /// Notifies connections that the phase has moved.
    fn phase_moved(&self);
    /// Returns the tally that the drain waits for: connections with a request in flight.
    fn busy(&self) -> Arc<Tally>;
    /// Returns the tally of all connections.
    fn all(&self) -> Arc<Tally>;
    /// Allows idle connections to close: no request is in flight.
    fn close_idle(&self);
    /// Ends all remaining connections at once, and names the requests in flight.
    fn cut(&self) -> Vec<CutRequest>;
    /// Returns the requests in flight.
    fn in_flight(&self) -> Vec<CutRequest>;
    /// Returns the number of requests in flight, and at most so many of the oldest ones: only these are named.
    #[cfg(feature = "status")]
    fn oldest(&self, most: usize) -> (usize, Vec<CutRequest>);
    /// Counts each connection by its state.
    fn count(&self, counts: &mut ConnectionCounts);
    /// Returns the number of requests served so far.
    fn requests(&self) -> u64;
    /// Returns the number of requests so far that a deadline ended.
    fn timed_out(&self) -> u64;
    /// Returns the number of requests so far whose client left.
    fn client_gone(&self) -> u64;
    /// Returns the number of connections accepted so far.
    fn connections(&self) -> u64;
}
