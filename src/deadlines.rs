use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::control::{Change, RequestControl};
use crate::min_rate::MinRate;

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

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines").finish_non_exhaustive()
    }
}
