//! The interface through which layers and handlers control a request, without a dependency on the server.

use std::net::IpAddr;
#[cfg(feature = "serve")]
use std::time::Duration;

#[cfg(feature = "serve")]
use crate::events::{EventSink, RequestInfo};
use crate::id::RequestId;
#[cfg(feature = "serve")]
use crate::min_rate::MinRate;
#[cfg(feature = "serve")]
use crate::phase::Lifecycle;
use crate::route::Route;
#[cfg(feature = "serve")]
use crate::track::BodyEnd;

/// A request as kept by the server that serves it. `epoch` is its number on its connection: calls about a request other
/// than the current one are ignored.
#[cfg(feature = "serve")]
pub(crate) trait RequestControl: Send + Sync {
    fn set_read_deadline(&self, epoch: u64, wait: Option<Duration>);
    fn set_write_deadline(&self, epoch: u64, wait: Option<Duration>);
    fn change_deadline(&self, epoch: u64, change: Change);
    /// Passes the request's info to `with` if the request is still the current one.
    fn describe(&self, epoch: u64, with: &mut dyn FnMut(RequestInfo<'_>)) -> bool;
    /// Returns `true` if the request must be served although the server drains.
    fn is_admitted(&self, epoch: u64) -> bool;
    /// Records a fact that a layer has learnt.
    fn learn(&self, epoch: u64, fact: Fact<'_>);
    /// A route's own layer takes these over from the layers further out.
    fn take_over(&self, epoch: u64, what: u8);
    /// The takeovers.
    fn taken_over(&self, epoch: u64) -> u8;
    /// The sink of the server's events.
    fn event_sink(&self) -> &EventSink;
    /// The phase of the server's process.
    fn lifecycle(&self) -> Option<&Lifecycle>;
    /// Records this end, unless another was recorded before.
    fn ends_by(&self, epoch: u64, end: BodyEnd);
    /// Returns the end that the server decided; `None` if it has not ended the request.
    #[cfg_attr(not(any(feature = "metrics", feature = "tracing")), allow(dead_code))]
    fn ended_by(&self, epoch: u64) -> Option<BodyEnd>;
}

/// A fact that a layer learns about a request.
#[cfg_attr(not(feature = "serve"), allow(dead_code))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact<'a> {
    Client(IpAddr),
    Route(&'a Route),
    Id(&'a RequestId),
}

/// A deadline changed by a handler, other than the two totals.
#[cfg(feature = "serve")]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    ResponseHead(Option<Duration>),
    ReadStall(Option<Duration>),
    WriteStall(Option<Duration>),
    MinReadRate(Option<MinRate>),
    MinWriteRate(Option<MinRate>),
}
