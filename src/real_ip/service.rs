use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::RealIpFuture;
use super::shared::Shared;
use crate::conn_info::ConnInfo;
use crate::control::Fact;
use crate::reply::{ReplyBody, ReplyFormat};
use crate::served;

/// The service produced by [`RealIpLayer`](super::RealIpLayer).
#[derive(Clone, Debug)]
pub struct RealIp<S> {
    pub(super) inner: S,
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for RealIp<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ReplyBody<ResB>>;
    type Error = S::Error;
    type Future = RealIpFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let Some(shared) = &self.shared else {
            return RealIpFuture::passed(self.inner.call(request));
        };
        let peer = shared.peer_of(request.extensions());
        let client = shared.resolver.resolve(peer, request.headers());
        shared.emit_source(&client);
        if let (None, Some(reply)) = (client.ip, &shared.refusal) {
            let (head, _) = request.into_parts();
            shared.emit_refusal(reply.reason(), &head);
            let format = ReplyFormat::head(&head.method, head.version, &head.headers);
            return RealIpFuture::refused(reply.answer(format, head.headers));
        }
        if let Some(ip) = client.ip {
            served::learn(request.extensions(), Fact::Client(ip));
        }
        let extensions = request.extensions_mut();
        match extensions.get_mut::<ConnInfo>() {
            Some(info) => info.client = Some(client),
            // The only allocation, and only on servers other than this crate's.
            None => {
                let mut info = ConnInfo::new(peer, None);
                info.client = Some(client);
                extensions.insert(info);
            }
        }
        RealIpFuture::passed(self.inner.call(request))
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for RealIp<S> {
    const NAME: &'static str = S::NAME;
}
