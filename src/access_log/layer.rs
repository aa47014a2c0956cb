use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{Extensions, HeaderMap, Request};
use tower_layer::Layer;

use super::AccessLog;
use super::line::Line;
use super::shared::Shared;

/// A layer that logs one line per request; see the [module](super).
#[doc(alias("TraceLayer"))]
#[derive(Clone)]
pub struct AccessLogLayer {
    /// `None` if the layer is off.
    shared: Option<Arc<Shared>>,
}

impl AccessLogLayer {
    /// Creates a layer that logs the peer as the client, unless a [`RealIpLayer`](crate::RealIpLayer) further out has
    /// found another address.
    pub fn new() -> Self {
        AccessLogLayer {
            shared: Some(Arc::default()),
        }
    }

    /// Creates a layer of the same type that does nothing, whatever is set on it afterwards.
    pub const fn off() -> Self {
        AccessLogLayer { shared: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// Sets the function that finds the client's address from the socket's peer and the request's headers:
    /// `move |peer, headers| resolver.resolve(peer, headers).ip`, with the [`Resolver`](crate::real_ip::Resolver) of
    /// the stack. It is called on the request path and must not block.
    #[must_use]
    pub fn client(
        self,
        client: impl Fn(Option<SocketAddr>, &HeaderMap) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.client = Some(Arc::new(client)))
    }

    /// Sets the function that finds the socket's peer on a server other than this crate's, as in
    /// [`RealIpLayer::peer`](crate::RealIpLayer::peer). Default: the peer in [`ConnInfo`](crate::ConnInfo), or with
    /// feature `axum` in axum's `ConnectInfo<SocketAddr>`.
    #[must_use]
    pub fn peer(
        self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.peer = Some(Arc::new(peer)))
    }
}

impl AccessLogLayer {
    pub(crate) fn line<B>(&self, request: &Request<B>, is_grpc: bool) -> Option<Line> {
        Shared::line(self.shared.as_deref(), request, is_grpc)
    }
}

impl Default for AccessLogLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> AccessLog<S> {
        AccessLog {
            inner,
            shared: self.shared.clone(),
        }
    }
}

impl fmt::Debug for AccessLogLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessLogLayer").field(&self.shared).finish()
    }
}
