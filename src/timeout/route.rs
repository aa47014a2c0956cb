use std::time::Duration;

/// The time of one request or one route, in place of the layer's: a request extension, or the value that the function
/// of [`TimeoutLayer::per_request`](super::TimeoutLayer::per_request) returns.
///
/// As an extension it is set by a layer further out, and applies to every [`TimeoutLayer`](super::TimeoutLayer) that
/// the request comes to.
///
/// ```
/// use lameduck::timeout::RouteTimeout;
/// # let mut request = http::Request::new(());
/// request.extensions_mut().insert(RouteTimeout::off());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteTimeout {
    pub(super) after: Option<Duration>,
}

impl RouteTimeout {
    /// Sets this time instead of the layer's, shorter or longer.
    pub const fn after(time: Duration) -> Self {
        RouteTimeout { after: Some(time) }
    }

    /// Removes the server's time limit. A gRPC client's `grpc-timeout` is still honoured, unless the layer does not
    /// honour it at all.
    pub const fn off() -> Self {
        RouteTimeout { after: None }
    }
}
