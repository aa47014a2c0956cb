use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, Request, Response};
use tower_layer::Layer;

use super::shared::Shared;
use super::{ClientIpHeader, RealIp, Resolver, TrustedProxies};
use crate::events::EventSink;
use crate::reply::{RefusalReason, Reply};

/// A layer that finds the client's address; see the [module](super).
#[doc(alias("X-Forwarded-For", "X-Real-IP", "Forwarded"))]
#[derive(Clone)]
pub struct RealIpLayer {
    /// `None` if the layer is off.
    shared: Option<Arc<Shared>>,
}

impl RealIpLayer {
    /// Creates a layer that trusts these proxies, in `X-Forwarded-For`; see [`Resolver::new`].
    pub fn new(trusted: TrustedProxies) -> Self {
        Resolver::new(trusted).into()
    }

    /// Creates a layer that trusts any peer, with this number of proxies always in front; see [`Resolver::hops`].
    pub fn hops(proxies: usize) -> Self {
        Resolver::hops(proxies).into()
    }

    /// Creates a layer that does nothing: requests are not changed, and the client is the peer everywhere.
    pub fn off() -> Self {
        RealIpLayer { shared: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Arc::make_mut(shared));
        }
        self
    }

    /// Sets the header that the proxies write. Default: `X-Forwarded-For`.
    #[must_use]
    pub fn header(self, header: ClientIpHeader) -> Self {
        self.with(|shared| shared.resolver = shared.resolver.clone().header(header))
    }

    /// Refuses requests whose client has no address, [`RefusalReason::ClientUnknown`]: 400, for gRPC INVALID_ARGUMENT.
    /// Default: they pass without an address.
    #[must_use]
    pub fn refuse_unknown(self) -> Self {
        self.with(|shared| shared.refusal = Some(Reply::new(RefusalReason::ClientUnknown)))
    }

    /// Sets the function that finds the socket's peer on a server other than this crate's. Default: the peer in
    /// [`ConnInfo`](crate::ConnInfo), or with feature `axum` in axum's `ConnectInfo<SocketAddr>`.
    ///
    /// ```
    /// # use lameduck::{RealIpLayer, real_ip::TrustedProxies};
    /// use tonic::transport::server::TcpConnectInfo;
    ///
    /// let layer = RealIpLayer::new("private".parse()?)
    ///     .peer(|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr());
    /// # Ok::<_, lameduck::real_ip::InvalidTrustedProxies>(())
    /// ```
    #[must_use]
    pub fn peer(
        self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.peer = Some(Arc::new(peer)))
    }

    /// Emits the source of the address on each request, [`Event::ClientAddress`](crate::events::Event::ClientAddress), and each
    /// refusal, [`Event::Refused`](crate::events::Event::Refused).
    #[must_use]
    pub fn events(self, events: EventSink) -> Self {
        self.with(|shared| shared.events = events)
    }

    pub(crate) fn also(self, events: &EventSink) -> Self {
        self.with(|shared| shared.events = shared.events.clone().and(events.clone()))
    }
}

impl RealIpLayer {
    pub(crate) fn resolve<B>(&self, request: &mut Request<B>) -> Option<Response<Bytes>> {
        self.shared.as_ref()?.resolve(request)
    }
}

impl From<Resolver> for RealIpLayer {
    fn from(resolver: Resolver) -> Self {
        RealIpLayer {
            shared: Some(Arc::new(Shared {
                resolver,
                refusal: None,
                peer: None,
                events: EventSink::none(),
            })),
        }
    }
}

impl<S> Layer<S> for RealIpLayer {
    type Service = RealIp<S>;

    fn layer(&self, inner: S) -> RealIp<S> {
        RealIp {
            inner,
            shared: self.shared.clone(),
        }
    }
}

impl fmt::Debug for RealIpLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RealIpLayer").field(&self.shared).finish()
    }
}
