use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tower::Layer;
use tower::util::BoxCloneSyncService;

use super::plan::{Frames, Panics};
use super::service::Service;
use crate::conn_info::peer_of;
use crate::error::BoxError;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::rate_limit::{Key, Quota};
use crate::*;

pub type AnswerBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
pub type Boxed = BoxCloneSyncService<Request<Frames>, Response<AnswerBody>, &'static str>;

/// One set of layers, each of which asks a function that may panic, where it has one.
pub struct Layers {
    pub lifecycle: Lifecycle,
    pub metrics: Metrics,
    health: HealthLayer,
    measure: MetricsLayer,
    request_id: RequestIdLayer,
    real_ip: RealIpLayer,
    access_log: AccessLogLayer,
    pub in_flight: InFlightLayer,
    drain: DrainLayer,
    rate_limit: RateLimitLayer,
    body_limit: BodyLimitLayer,
    timeout: TimeoutLayer,
    catch_panic: CatchPanicLayer,
}

fn check(parts: &Parts, place: &str) {
    check_in(&parts.extensions, place);
}

fn check_in(extensions: &Extensions, place: &str) {
    if let Some(panics) = extensions.get::<Panics>() {
        panics.at(place);
    }
}

impl Layers {
    pub const SWITCHES: u16 = 11;

    pub fn new(switches: u16) -> Self {
        let off = |at: u16| switches & 1 << at != 0;
        let lifecycle = Lifecycle::new();
        let events = lifecycle.event_sink();
        let metrics = Metrics::builder()
            .route(|head| {
                check(head, "route");
                Some(head.uri.path())
            })
            .build();
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok::<_, &str>(())
        };
        let health = Health::new(&lifecycle).check("slow", slow);
        Layers {
            health: if off(0) {
                HealthLayer::off()
            } else {
                health.layer()
            },
            measure: if off(1) {
                MetricsLayer::off()
            } else {
                metrics.layer()
            },
            request_id: if off(2) {
                RequestIdLayer::off()
            } else {
                RequestIdLayer::new()
            },
            real_ip: match off(3) {
                true => RealIpLayer::off(),
                false => RealIpLayer::new("loopback".parse().unwrap())
                    .refuse_unknown()
                    .peer(|extensions| {
                        check_in(extensions, "peer");
                        peer_of(extensions)
                    })
                    .events(events.clone()),
            },
            access_log: match off(4) {
                true => AccessLogLayer::off(),
                false => AccessLogLayer::new()
                    .peer(|extensions| {
                        check_in(extensions, "log peer");
                        peer_of(extensions)
                    })
                    .client(|_, headers| {
                        assert!(!headers.contains_key("x-panics"), "a user's function");
                        None
                    }),
            },
            in_flight: if off(5) {
                InFlightLayer::off()
            } else {
                InFlightLayer::new()
            },
            drain: match off(6) {
                true => DrainLayer::off(),
                false => DrainLayer::new(&lifecycle)
                    .exempt(|head| {
                        check(head, "drain");
                        head.method == "PUT"
                    })
                    .events(events.clone()),
            },
            rate_limit: match off(7) {
                true => RateLimitLayer::off(),
                false => RateLimitLayer::new(Quota::per_minute(2))
                    .unwrap()
                    .exempt(|head| {
                        check(head, "rate");
                        head.uri.path() != "/quota"
                    })
                    .by(|head| {
                        check(head, "key");
                        Some(Key::bytes(b"all"))
                    })
                    .events(events.clone()),
            },
            body_limit: match off(8) {
                true => BodyLimitLayer::off(),
                false => BodyLimitLayer::new(5)
                    .without_grpc()
                    .per_request(|head| {
                        check(head, "body");
                        None
                    })
                    .events(events.clone()),
            },
            timeout: match off(9) {
                true => TimeoutLayer::off(),
                false => TimeoutLayer::new(Duration::from_secs(10))
                    .per_request(|head| {
                        check(head, "timeout");
                        None
                    })
                    .events(events.clone()),
            },
            catch_panic: match off(10) {
                true => CatchPanicLayer::off(),
                false => CatchPanicLayer::new().events(events),
            },
            lifecycle,
            metrics,
        }
    }

    pub fn fused(&self) -> Boxed {
        let stack = stack(&self.lifecycle)
            .health(self.health.clone())
            .metrics(self.measure.clone())
            .request_id(self.request_id.clone())
            .real_ip(self.real_ip.clone())
            .access_log(self.access_log.clone())
            .in_flight(self.in_flight.clone())
            .drain(self.drain.clone())
            .rate_limit(self.rate_limit.clone())
            .body_limit(self.body_limit.clone())
            .timeout(self.timeout.clone())
            .catch_panic(self.catch_panic.clone());
        boxed(stack.layer(Service))
    }

    pub fn single(&self) -> Boxed {
        let service = self.catch_panic.layer(Service);
        let service = self.timeout.layer(service);
        let service = self.body_limit.layer(service);
        let service = self.rate_limit.layer(service);
        let service = self.drain.layer(service);
        let service = self.in_flight.layer(service);
        let service = self.access_log.layer(service);
        let service = self.real_ip.layer(service);
        let service = self.request_id.layer(service);
        let service = self.measure.layer(service);
        boxed(self.health.layer(service))
    }
}

/// The body is boxed as it is, so that its hints are seen.
fn boxed<S, B>(service: S) -> Boxed
where
    S: tower::Service<Request<Frames>, Response = Response<B>, Error = &'static str>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    let service = tower::ServiceExt::map_response(service, |response: Response<B>| {
        response.map(BodyExt::boxed_unsync)
    });
    BoxCloneSyncService::new(service)
}
