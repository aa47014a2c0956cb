/// What becomes of a new key when [`max_keys`](RateLimitLayer::max_keys) are kept and all of them still count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// An older key gives way: of a sample of 16 the one that is nearest to having its full quota back, which
    /// it then gets early. So somebody who makes keys up can loosen the limit of others, but shuts nobody
    /// out. Default.
    #[default]
    Forget,
    /// The new key is refused, with the earliest time at which one of the others can be forgotten without loss
    /// as `Retry-After`: if that one goes on, the new key is refused again. So the limit holds strictly, but somebody who makes keys up shuts out who is new.
    Refuse,
}
