//! Guards that record the end of an activity exactly once: a counter with a guard, and a body with a guard.
//!
//! [`Tally`] counts activities and can be awaited until there are none, or few enough. [`TrackedBody`] wraps a response body and ends
//! its [`Guard`] exactly once, with [`BodyEnd::Complete`], [`BodyEnd::Error`] or [`BodyEnd::Cancelled`], wherever the body is
//! dropped.
//!
//! ```
//! use lameduck::track::{BodyEnd, Guard, TrackedBody};
//! use bytes::Bytes;
//! use http_body_util::{BodyExt, Full};
//! use std::sync::mpsc;
//!
//! struct Report(mpsc::Sender<BodyEnd>);
//! impl Guard for Report {
//!     fn end(self, how: BodyEnd) {
//!         self.0.send(how).ok();
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (sender, ends) = mpsc::channel();
//! let body = TrackedBody::new(Full::<Bytes>::from("hello"), Report(sender.clone()));
//! body.collect().await.unwrap();
//! assert_eq!(ends.recv(), Ok(BodyEnd::Complete));
//!
//! drop(TrackedBody::new(Full::<Bytes>::from("never read"), Report(sender)));
//! assert_eq!(ends.recv(), Ok(BodyEnd::Cancelled));
//! # }
//! ```

mod body;
mod count;
mod end;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use body::content_length;
pub use body::{Guard, TrackedBody};
pub use end::BodyEnd;
pub use tally::{Tally, TallyGuard};
