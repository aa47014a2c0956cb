//! Finds the client's address behind trusted proxies.

/// Finds the client's address; see the [module](self).
#[derive(Clone, Debug)]
pub struct RealIpLayer {}
