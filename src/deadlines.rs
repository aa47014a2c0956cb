use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::control::{Change, Fact, RequestControl};
use crate::events::{EventSink, RequestInfo};
use crate::min_rate::MinRate;
use crate::phase::Lifecycle;
use crate::track::BodyEnd;

/// A request extension through which a handler moves its own deadlines, like Go's `http.ResponseController`: for long
/// uploads, server-sent events, long polls.
///
/// The settings apply to this request only and override [`Timeouts`](crate::Timeouts). A handle that outlives its
/// request does nothing.
///
/// | use case | setting |
/// |---|---|
/// | a long poll | `set_response_head(None)`, or a time |
/// | an event stream, a long download or upload | nothing, unless `read` or `write` is set |
/// | a request body that pauses | `set_read_stall(None)` |
/// | a websocket | nothing: an upgraded connection has no deadlines |
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use lameduck::serve::{Deadlines, RequestBody};
/// use std::{convert::Infallible, time::Duration};
///
/// async fn upload(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
///     if let Some(deadlines) = request.extensions().get::<Deadlines>() {
///         deadlines.set_read(Duration::from_secs(600)); // ten minutes from now
///         deadlines.set_response_head(None); // off
///     }
///     // ...
///     Ok(Response::default())
/// }
/// # let _ = upload;
/// ```
#[derive(Clone)]
pub struct Deadlines {
    request: Arc<dyn RequestControl>,
    epoch: u64,
}

impl Deadlines {
    pub(crate) fn new(request: Arc<dyn RequestControl>, epoch: u64) -> Self {
        Deadlines { request, epoch }
    }

    /// Returns the request as the server knows it, and its number there.
    pub(crate) fn served(&self) -> (&Arc<dyn RequestControl>, u64) {
        (&self.request, self.epoch)
    }

    /// Moves `read`: the request body must be read within this time from now. `None` turns it off.
    pub fn set_read(&self, timeout: impl Into<Option<Duration>>) {
        self.request.set_read_deadline(self.epoch, timeout.into());
    }

    /// Moves `response_head`: the response must begin within this time from now, or from the next part of the body that
    /// the handler receives. `None` turns it off.
    pub fn set_response_head(&self, timeout: impl Into<Option<Duration>>) {
        let change = Change::ResponseHead(timeout.into());
        self.request.change_deadline(self.epoch, change);
    }

    /// Sets `read_stall`, the longest pause of the client while the body is awaited. `None` turns it off.
    pub fn set_read_stall(&self, timeout: impl Into<Option<Duration>>) {
        let change = Change::ReadStall(timeout.into());
        self.request.change_deadline(self.epoch, change);
    }

    /// Sets `write_stall`, the longest time in which the client takes nothing of the response. `None` turns it off.
    pub fn set_write_stall(&self, timeout: impl Into<Option<Duration>>) {
        let change = Change::WriteStall(timeout.into());
        self.request.change_deadline(self.epoch, change);
    }

    /// Sets `min_read_rate`, the minimum rate of the request body, and restarts its grace period. `None` turns it off.
    pub fn set_min_read_rate(&self, rate: impl Into<Option<MinRate>>) {
        let change = Change::MinReadRate(rate.into());
        self.request.change_deadline(self.epoch, change);
    }

    /// Sets `min_write_rate`, the minimum rate of the response, and restarts its grace period. `None` turns it off.
    pub fn set_min_write_rate(&self, rate: impl Into<Option<MinRate>>) {
        let change = Change::MinWriteRate(rate.into());
        self.request.change_deadline(self.epoch, change);
    }

    /// Moves `write`: the response must be written within this time from now. `None` turns it off.
    pub fn set_write(&self, timeout: impl Into<Option<Duration>>) {
        self.request.set_write_deadline(self.epoch, timeout.into());
    }
}

/// A request of another server, which has no deadlines.
struct Unserved {
    events: EventSink,
}

impl RequestControl for Unserved {
    fn set_read_deadline(&self, _: u64, _: Option<Duration>) {}
    fn set_write_deadline(&self, _: u64, _: Option<Duration>) {}
    fn change_deadline(&self, _: u64, _: Change) {}
    fn describe(&self, _: u64, _: &mut dyn FnMut(RequestInfo<'_>)) -> bool {
        false
    }
    fn is_admitted(&self, _: u64) -> bool {
        false
    }
    fn learn(&self, _: u64, _: Fact<'_>) {}
    fn take_over(&self, _: u64, _: u8) {}
    fn taken_over(&self, _: u64) -> u8 {
        0
    }
    fn event_sink(&self) -> &EventSink {
        &self.events
    }
    fn lifecycle(&self) -> Option<&Lifecycle> {
        None
    }
    fn ends_by(&self, _: u64, _: BodyEnd) {}
    fn ended_by(&self, _: u64) -> Option<BodyEnd> {
        None
    }
}

impl Default for Deadlines {
    /// Returns the deadlines of no request: setting them does nothing.
    fn default() -> Self {
        let events = EventSink::none();
        Deadlines::new(Arc::new(Unserved { events }), 0)
    }
}

/// On another server, and in a test that calls the service by `oneshot`, setting them does nothing.
#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for Deadlines {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines").finish_non_exhaustive()
    }
}
