//! Limits the size of a request's body.

/// Refuses a request body that is too large; see the [module](self).
#[derive(Clone, Debug)]
pub struct BodyLimitLayer {}
