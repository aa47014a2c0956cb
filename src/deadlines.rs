use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::served::ServedRequest;

/// The request extension by which a handler moves its own deadlines, as Go's
/// `http.ResponseController` does: for long uploads, server-sent events, long polls.
///
/// The stall deadlines stay: a client that takes nothing for `write_stall` is still cut off.
/// A handle that outlives its request does nothing.
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
///         deadlines.set_write(None); // off
///     }
///     // ...
///     Ok(Response::default())
/// }
/// # let _ = upload;
/// ```
#[derive(Clone)]
pub struct Deadlines {
    request: Arc<dyn ServedRequest>,
    epoch: u64,
}

impl Deadlines {
    pub(crate) fn new(request: Arc<dyn ServedRequest>, epoch: u64) -> Self {
        Deadlines { request, epoch }
    }

    /// The request as the server knows it, and its number there.
    pub(crate) fn served(&self) -> (&Arc<dyn ServedRequest>, u64) {
        (&self.request, self.epoch)
    }

    /// The request body is to be read by this long from now; `None`: whenever.
    pub fn set_read(&self, wait: impl Into<Option<Duration>>) {
        self.request.set_read_deadline(self.epoch, wait.into());
    }

    /// The response is to be written by this long from now; `None`: whenever.
    pub fn set_write(&self, wait: impl Into<Option<Duration>>) {
        self.request.set_write_deadline(self.epoch, wait.into());
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines").finish_non_exhaustive()
    }
}
