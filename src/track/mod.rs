//! What begins must end, exactly once, and say how: a counter with a guard, and a body with a guard.
//!
//! [`Tally`] counts what is going on and can be waited on until it is nothing. [`TrackedBody`] wraps a
//! response body and ends its [`Guard`] exactly once, with [`End::Complete`], [`End::Error`] or
//! [`End::Cancelled`], wherever the body is dropped.
//!
//! ```
//! use lameduck::track::{End, Guard, TrackedBody};
//! use bytes::Bytes;
//! use http_body_util::{BodyExt, Full};
//! use std::sync::mpsc;
//!
//! struct Tell(mpsc::Sender<End>);
//! impl Guard for Tell {
//!     fn end(self, how: End) {
//!         self.0.send(how).ok();
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (tell, told) = mpsc::channel();
//! let body = TrackedBody::new(Full::<Bytes>::from("hello"), Tell(tell.clone()));
//! body.collect().await.unwrap();
//! assert_eq!(told.recv(), Ok(End::Complete));
//!
//! drop(TrackedBody::new(Full::<Bytes>::from("nobody reads me"), Tell(tell)));
//! assert_eq!(told.recv(), Ok(End::Cancelled));
//! # }
//! ```

mod body;
mod end;
mod tally;
#[cfg(test)]
mod tests;

#[cfg(any(feature = "metrics", feature = "tracing"))]
pub(crate) use body::content_length;
pub use body::{Guard, TrackedBody};
pub use end::End;
pub use tally::{Tally, TallyGuard};
