/// The treatment of a new key when [`max_keys`](super::RateLimitLayer::max_keys) keys are tracked and all of them still
/// count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// Evicts an older key: of a sample of 16, the one nearest to its full quota, which it then regains early. A client
    /// that invents keys can loosen the limit of others, but locks out no one. This is the default.
    #[default]
    Forget,
    /// Refuses the new key, with the earliest time at which another key can be dropped without loss as `Retry-After`;
    /// if that key is used again, the new key is refused again. The limit is strict, but a client that invents keys can
    /// lock out new clients.
    Refuse,
}
