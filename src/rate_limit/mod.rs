//! Limits how many requests a client may make.

mod decision;
mod key;
mod quota;
#[cfg(feature = "redis")]
pub mod redis;

pub use key::Key;
pub use quota::{InvalidQuota, Quota};

/// Refuses requests over a quota; see the [module](self).
#[derive(Clone, Debug)]
pub struct RateLimitLayer {}
