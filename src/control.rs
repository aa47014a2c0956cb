//! What may be asked of the server about a request, without knowing the server.

use std::net::IpAddr;
#[cfg(feature = "serve")]
use std::time::Duration;

#[cfg(feature = "serve")]
use crate::events::RequestInfo;
use crate::id::RequestId;
#[cfg(feature = "serve")]
use crate::min_rate::MinRate;
use crate::route::Route;
#[cfg(feature = "serve")]
use crate::track::End;

/// A request, as the server that serves it keeps it. `epoch` is its number on its connection: what belongs to
/// another request than the one of now is ignored.
#[cfg(feature = "serve")]
pub(crate) trait RequestControl: Send + Sync {
    fn set_read_deadline(&self, epoch: u64, wait: Option<Duration>);
    fn set_write_deadline(&self, epoch: u64, wait: Option<Duration>);
    fn change_deadline(&self, epoch: u64, change: Change);
    /// Shows it to `with`, if it is still the request of now.
    fn describe(&self, epoch: u64, with: &mut dyn FnMut(RequestInfo<'_>)) -> bool;
    /// Whether it is to be served although the server drains.
    fn is_admitted(&self, epoch: u64) -> bool;
    /// A layer has learnt this of it.
    fn learn(&self, epoch: u64, fact: Fact<'_>);
    /// Ends for this reason, unless there has been another before.
    fn ends_by(&self, epoch: u64, end: End);
    /// Why it has been given up; `None` if the server has not done so.
    #[cfg_attr(not(any(feature = "metrics", feature = "tracing")), allow(dead_code))]
    fn ended_by(&self, epoch: u64) -> Option<End>;
}

/// What a layer learns of a request.
#[cfg_attr(not(feature = "serve"), allow(dead_code))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact<'a> {
    Client(IpAddr),
    Route(&'a Route),
    Id(&'a RequestId),
}

/// A deadline that a handler has changed, beside the two totals.
#[cfg(feature = "serve")]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    ResponseHead(Option<Duration>),
    ReadStall(Option<Duration>),
    WriteStall(Option<Duration>),
    MinReadRate(Option<MinRate>),
    MinWriteRate(Option<MinRate>),
}
