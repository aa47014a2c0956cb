use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::RateLimitFuture;
use super::shared::Shared;
use crate::reply::ReplyBody;

/// The service produced by [`RateLimitLayer`](super::RateLimitLayer).
///
/// It requires an inner service that can be cloned, as those of axum and tonic can: a request that waits for Redis
/// takes the ready service with it. Without Redis nothing is cloned.
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    pub(super) inner: S,
    pub(super) shared: Option<Arc<Shared>>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for RateLimit<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ReplyBody<ResB>>;
    type Error = S::Error;
    type Future = RateLimitFuture<S, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let Some(shared) = &self.shared else {
            return RateLimitFuture::passed(self.inner.call(request), None);
        };
        let key = if shared.needs_parts() {
            let (parts, body) = request.into_parts();
            let key = shared.key_of(&parts);
            request = Request::from_parts(parts, body);
            key
        } else {
            Some(shared.plain_key(request.headers(), request.extensions()))
        };
        let Some(key) = key else {
            return RateLimitFuture::passed(self.inner.call(request), None);
        };
        #[cfg(feature = "redis")]
        if let Some(redis) = &shared.redis {
            let check = redis.check(&key, &shared.quotas);
            // The ready service goes with the request; its clone stays here and becomes ready for the next one.
            let clone = self.inner.clone();
            return RateLimitFuture::asking(super::future::Asking {
                check,
                key,
                shared: shared.clone(),
                service: std::mem::replace(&mut self.inner, clone),
                request,
            });
        }
        let decision = shared.decide(&key, shared.clock.at_arrival(request.extensions()));
        if decision.admitted {
            let report = shared.report(decision);
            RateLimitFuture::passed(self.inner.call(request), report)
        } else {
            RateLimitFuture::refused(shared.refuse(&decision, &mut request))
        }
    }
}

/// A layer around a tonic service keeps its name, so that it is added to `Routes` as the service itself is.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService> tonic::server::NamedService for RateLimit<S> {
    const NAME: &'static str = S::NAME;
}
