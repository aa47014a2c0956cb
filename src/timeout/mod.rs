//! Gives a request a time to be answered in.

/// Answers a request that takes too long; see the [module](self).
#[derive(Clone, Debug)]
pub struct TimeoutLayer {}
