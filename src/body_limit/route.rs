/// The request extension by which an outer layer sets another limit for one request.
///
/// ```
/// use lameduck::body_limit::RouteBodyLimit;
///
/// fn route<B>(request: &mut http::Request<B>) {
///     if request.uri().path() == "/import" {
///         request.extensions_mut().insert(RouteBodyLimit::bytes(1 << 30));
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteBodyLimit {
    pub(super) limit: Option<u64>,
}

impl RouteBodyLimit {
    /// At most so many bytes; 0 takes no body at all.
    pub const fn bytes(most: u64) -> Self {
        RouteBodyLimit { limit: Some(most) }
    }

    /// No limit.
    pub const fn off() -> Self {
        RouteBodyLimit { limit: None }
    }
}
