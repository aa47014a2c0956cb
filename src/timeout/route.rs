use std::time::Duration;

/// The time that one request or one route has, in place of the layer's: a request extension, or what the
/// function of [`TimeoutLayer::per_request`](super::TimeoutLayer::per_request) answers.
///
/// As an extension it is set by a layer further out. It is for every [`TimeoutLayer`](super::TimeoutLayer)
/// that the request comes to.
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
    /// This time instead of the layer's, shorter or longer.
    pub const fn after(time: Duration) -> Self {
        RouteTimeout { after: Some(time) }
    }

    /// No time limit by the server. A gRPC client's `grpc-timeout` is still honoured, unless the layer does
    /// not honour it at all.
    pub const fn off() -> Self {
        RouteTimeout { after: None }
    }
}
