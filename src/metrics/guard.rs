use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method as HttpMethod, Request, Response, StatusCode, Version, header};
use http_body::Body;
use tokio::time::Instant;

use super::labels::{End, Method, Outcome};
use super::series::{RouteId, Series, Totals, UNMATCHED};
use super::shared::Shared;
use crate::conn_info::arrival_of;
use crate::grpc::{self, Code};
use crate::head::with_parts;
use crate::reply;
use crate::route;
use crate::served::Served;
use crate::track::{self, TrackedBody};

/// The longest declared length that is added to a sum, 1 TiB. A length is only a claim: a few of the largest would wrap
/// the sum, or drown all smaller values in it for ever.
const MAX_LENGTH: u64 = 1 << 40;

/// The response body of a [`MetricsService`](super::MetricsService) service. The end of the body is the end of the request.
pub type MetricsBody<B> = TrackedBody<B, Measure>;

/// The route of a request, as far as it is known.
#[derive(Debug)]
enum Known {
    Route(RouteId),
    /// A gRPC method that has no series yet: the response shows whether it exists.
    Unproved(Box<Unproved>),
}

#[derive(Debug)]
struct Unproved {
    path: PathAndQuery,
    otherwise: Option<Box<str>>,
}

impl Known {
    /// Returns the route of a request with this head.
    fn of(
        shared: &Shared,
        method: Method,
        (is_grpc, uri): (bool, &http::Uri),
        matched: Option<&str>,
    ) -> Self {
        let series = &shared.series;
        let Some(path) = route::method_of(is_grpc, uri) else {
            return Known::Route(series.add_route(method, matched.unwrap_or(UNMATCHED)));
        };
        match series.known_route(method, path.path()) {
            Some(id) => Known::Route(id),
            None => Known::Unproved(Box::new(Unproved {
                path: path.clone(),
                otherwise: matched.map(Into::into),
            })),
        }
    }

    /// Returns the route once the response, if any, has been seen.
    fn proved(&mut self, series: &Series, method: Method, exists: bool) -> RouteId {
        let id = match self {
            Known::Route(id) => return *id,
            Known::Unproved(unproved) => exists
                .then(|| series.add_grpc_method(method, unproved.path.path()))
                .flatten()
                .unwrap_or_else(|| {
                    let route = unproved.otherwise.as_deref().unwrap_or(UNMATCHED);
                    series.add_route(method, route)
                }),
        };
        *self = Known::Route(id);
        id
    }
}

/// Returns whether this response to a gRPC call comes from its method. One that may come from a layer in front of it
/// does not count: a client that invents methods must not add series.
fn is_from_method<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    response.status() == StatusCode::OK
        && grpc::has_grpc_type(headers)
        && match Code::of(headers) {
            None => true,
            Some(code) => !code.may_precede_the_method() && !reply::is_refusal(headers),
        }
}

/// A guard that measures a request until its end: by its body, by a failure, or by a drop.
#[derive(Debug)]
pub(crate) struct Running {
    shared: Arc<Shared>,
    began: Instant,
    route: Known,
    method: Method,
    version: Version,
    /// The status; 0 if no head was sent.
    status: u16,
    is_grpc: bool,
    grpc_status: Option<Code>,
    /// The declared length of the request body.
    received: Option<u64>,
    sent: u64,
    /// `true` for a HEAD: the response has no body.
    headless: bool,
    /// `true` while the service's code runs: a drop then means a panic.
    pub(crate) inside: bool,
    over: bool,
    served: Served,
}

impl Running {
    /// Begins to measure. `is_grpc`: the request is a [call](grpc::is_call).
    pub(super) fn begin<B>(shared: &Arc<Shared>, request: &mut Request<B>, is_grpc: bool) -> Self {
        let began = arrival_of(request.extensions());
        let method = Method::of(request.method());
        let named = shared.route_of.as_ref().and_then(|route_of| {
            with_parts(request, |head| {
                route_of(head).map(|route| shared.series.add_route(method, route))
            })
        });
        let route = named.map_or_else(
            || {
                let call = (is_grpc, request.uri());
                Known::of(shared, method, call, route::matched(request.extensions()))
            },
            Known::Route,
        );
        // After the user's function, which may panic.
        shared.series.begin(method);
        Running {
            shared: shared.clone(),
            began,
            route,
            method,
            version: request.version(),
            status: 0,
            is_grpc,
            grpc_status: None,
            received: declared(request.method(), request.version(), request.headers())
                .map(|length| length.min(MAX_LENGTH)),
            sent: 0,
            headless: request.method() == HttpMethod::HEAD,
            inside: false,
            over: false,
            served: Served::of(request.extensions()),
        }
    }

    /// Runs the service's code, so that a panic in it is recorded as one.
    pub(crate) fn guarded<T>(&mut self, run: impl FnOnce() -> T) -> T {
        self.inside = true;
        let result = run();
        self.inside = false;
        result
    }

    /// Records the head of the response and moves the request into the body.
    pub(crate) fn answered<B: Body>(
        this: Option<Self>,
        response: Response<B>,
    ) -> Response<MetricsBody<B>> {
        let Some(mut running) = this else {
            return TrackedBody::answer(response, false, None, Measure(None));
        };
        running.responds(&response);
        let declared = track::content_length(response.headers());
        TrackedBody::answer(response, running.headless, declared, Measure(Some(running)))
    }

    /// Records the head of the response.
    pub(crate) fn responds<B>(&mut self, response: &Response<B>) {
        self.status = response.status().as_u16();
        let to_head = self.began.elapsed();
        self.read_status(response.headers());
        let exists = self.is_grpc && is_from_method(response);
        let id = self.route(exists);
        self.shared.series.head(id, to_head);
    }

    /// Records the status of a gRPC call, from its trailers or from a head without messages after it.
    fn read_status(&mut self, headers: &HeaderMap) {
        if self.is_grpc {
            self.grpc_status = Code::of(headers).or(self.grpc_status);
        }
    }

    fn route(&mut self, exists: bool) -> RouteId {
        let series = &self.shared.series;
        self.route.proved(series, self.method, exists)
    }

    /// Records a failure of the service.
    pub(crate) fn failed(mut self) {
        self.finish(Outcome::Service);
    }

    fn finish(&mut self, outcome: Outcome) {
        self.over = true;
        let totals = Totals {
            duration: self.began.elapsed(),
            request: self.received,
            response: (self.status != 0).then_some(self.sent),
        };
        let end = End::new(outcome, self.status, self.grpc_status, self.version);
        let id = self.route(false);
        self.shared.series.end(id, self.method, end, &totals);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            self.finish(match self.inside {
                true => Outcome::Panic,
                false => Outcome::of(self.served.end(track::BodyEnd::Cancelled)),
            });
        }
    }
}

/// A guard that ends a request with its body; holds `None` where requests are not measured.
#[derive(Debug, Default)]
// Named by a public type that is to be used by its alias alone.
#[allow(unnameable_types)]
pub struct Measure(pub(crate) Option<Running>);

impl track::Guard for Measure {
    fn data(&mut self, bytes: usize) {
        if let Some(running) = &mut self.0 {
            running.sent += bytes as u64;
        }
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(running) = &mut self.0 {
            running.read_status(trailers);
        }
    }

    fn end(self, how: track::BodyEnd) {
        if let Some(mut running) = self.0 {
            running.finish(match how {
                // A body dropped while its thread unwinds is dropped by its own poll.
                track::BodyEnd::Cancelled if std::thread::panicking() => Outcome::Panic,
                how => Outcome::of(running.served.end(how)),
            });
        }
    }
}

/// Returns the declared length of the request body. A request without `Content-Length` has no body in HTTP/1 unless it
/// is chunked (RFC 9112, 6.3), and none is expected with methods that define no content.
fn declared(method: &HttpMethod, version: Version, headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::CONTENT_LENGTH) {
        return track::content_length(headers);
    }
    let none = match version {
        Version::HTTP_2 | Version::HTTP_3 => method.is_safe() || method == HttpMethod::DELETE,
        _ => !headers.contains_key(header::TRANSFER_ENCODING),
    };
    none.then_some(0)
}
