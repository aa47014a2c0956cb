use std::error::Error;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Body;
use http_body_util::{Full, LengthLimitError, Limited};

use crate::error::BoxError;

/// Returns `true` if a body ended with this error because it was over a limit: the error, or one of its sources, is
/// [`LengthLimitError`], of this layer or of any other that uses `http-body-util`.
///
/// ```
/// use lameduck::body_limit::is_too_large;
///
/// fn status(error: &(dyn std::error::Error + 'static)) -> u16 {
///     if is_too_large(error) { 413 } else { 400 }
/// }
/// ```
pub fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Returns the error that axum's extractors recognise by its type. It has no constructor: it comes from a body that is
/// over its limit.
pub(super) fn too_large() -> BoxError {
    let body = pin!(Limited::new(Full::new(Bytes::from_static(b"x")), 0));
    match body.poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Err(error))) => error,
        _ => BoxError::from("length limit exceeded"),
    }
}
