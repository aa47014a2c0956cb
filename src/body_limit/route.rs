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
    /// Sets a limit in bytes; with 0 any body is refused.
    pub const fn bytes(most: u64) -> Self {
        RouteBodyLimit { limit: Some(most) }
    }

    /// Removes the limit.
    pub const fn off() -> Self {
        RouteBodyLimit { limit: None }
    }
}
