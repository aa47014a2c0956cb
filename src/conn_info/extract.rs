//! Extractors for axum.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::StatusCode;
use http::request::Parts;

use super::{ClientIp, ClientIpSource, ConnInfo};

type Rejection = (StatusCode, &'static str);

fn missing(what: &'static str) -> Rejection {
    (StatusCode::INTERNAL_SERVER_ERROR, what)
}

/// Without a [`RealIpLayer`](crate::RealIpLayer) the client is the peer; where the peer is not known either, as in a
/// test that calls the service by `oneshot`, the address is `None`. A handler is not refused for it.
impl<S: Sync> FromRequestParts<S> for ClientIp {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let extensions = &parts.extensions;
        Ok(Self::of(extensions).unwrap_or_else(|| {
            let peer = extensions.get::<ConnInfo>().and_then(|info| info.peer);
            let source = peer.map_or(ClientIpSource::Unknown, |_| ClientIpSource::Peer);
            ClientIp::new(peer.map(|peer| peer.ip()), peer, source)
        }))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ClientIp {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

impl<S: Sync> FromRequestParts<S> for ConnInfo {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let info = parts.extensions.get::<Self>().copied();
        info.ok_or_else(|| missing("the server provides no connection info\n"))
    }
}
