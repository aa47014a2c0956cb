use std::sync::Arc;

use super::{ConnectionCounts, CutRequest};
use crate::track::Tally;

/// A server, as the coordinator drains it.
pub(crate) trait DrainServer: Send + Sync {
    /// The phase has moved: connections are to look at it.
    fn phase_moved(&self);
    /// What the drain waits for: connections with something in flight.
    fn busy(&self) -> Arc<Tally>;
    /// All connections.
    fn all(&self) -> Arc<Tally>;
    /// Nothing is in flight: idle connections may close.
    fn close_idle(&self);
    /// Ends what is left at once, and names what was in flight.
    fn cut(&self) -> Vec<CutRequest>;
    /// What is in flight.
    fn in_flight(&self) -> Vec<CutRequest>;
    /// How many there are in flight, and the oldest of them, at most so many: only these are named.
    #[cfg(feature = "status")]
    fn oldest(&self, most: usize) -> (usize, Vec<CutRequest>);
    /// Counts each connection by what it does.
    fn count(&self, counts: &mut ConnectionCounts);
    /// Requests served so far.
    fn requests(&self) -> u64;
    /// Requests so far that a deadline ended.
    fn timed_out(&self) -> u64;
    /// Requests so far whose client was gone.
    fn client_gone(&self) -> u64;
    /// Connections accepted so far.
    fn connections(&self) -> u64;
}
