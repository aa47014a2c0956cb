use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;
use tracing::info;

use crate::conn_info::arrival_of;
use crate::grpc::Code;
use crate::id::RequestId;
use crate::route::Route;
use crate::served::Served;
use crate::text;
use crate::track::BodyEnd;

/// The maximum length of a logged path, in bytes; longer ones are truncated.
const PATH: usize = 256;
const METHOD: usize = 32;

/// The data of one request's line. It is written once: by [`Line::end`], or as cancelled on drop.
#[derive(Debug)]
pub(crate) struct Line {
    method: Method,
    /// Shared with the request rather than copied.
    target: Option<PathAndQuery>,
    route: Option<Route>,
    version: Version,
    is_grpc: bool,
    grpc_status: Option<Code>,
    client: Option<IpAddr>,
    peer: Option<SocketAddr>,
    id: Option<RequestId>,
    began: Instant,
    /// The status of the response and the time to its head.
    head: Option<(StatusCode, Duration)>,
    /// The number of body bytes so far.
    pub bytes: u64,
    end: BodyEnd,
    served: Served,
    /// `true` while the service's code runs: a drop then means a panic.
    pub inside: bool,
}

impl Line {
    /// Begins the line. `is_grpc`: the request is a [call](crate::grpc::is_call).
    pub(crate) fn new<B>(
        request: &Request<B>,
        is_grpc: bool,
        peer: Option<SocketAddr>,
        client: Option<IpAddr>,
    ) -> Self {
        Line {
            method: request.method().clone(),
            target: request.uri().path_and_query().cloned(),
            route: Route::of(request, is_grpc),
            version: request.version(),
            is_grpc,
            grpc_status: None,
            client,
            peer,
            id: RequestId::of(request.extensions()).cloned(),
            began: arrival_of(request.extensions()),
            head: None,
            bytes: 0,
            end: BodyEnd::Cancelled,
            served: Served::of(request.extensions()),
            inside: false,
        }
    }

    /// Records the head of the response.
    pub(crate) fn responds<B>(&mut self, response: &Response<B>) {
        self.head = Some((response.status(), self.began.elapsed()));
        self.read_status(response.headers());
    }

    /// Records the status of a gRPC call, from its trailers or from a head without messages after it.
    pub(crate) fn read_status(&mut self, headers: &HeaderMap) {
        if self.is_grpc {
            self.grpc_status = Code::of(headers).or(self.grpc_status);
        }
    }

    /// Returns the route; a method that does not exist is none.
    fn route(&self) -> Option<&str> {
        let route = self.route.as_ref()?;
        let is_missing = route.is_grpc() && self.grpc_status == Some(Code::UNIMPLEMENTED);
        (!is_missing).then(|| route.as_str())
    }

    /// Runs the service's code, so that a panic in it is logged as one.
    pub(crate) fn guarded<T>(this: &mut Option<Self>, run: impl FnOnce() -> T) -> T {
        if let Some(line) = this.as_mut() {
            line.inside = true;
        }
        let result = run();
        if let Some(line) = this {
            line.inside = false;
        }
        result
    }

    /// Writes the line.
    pub(crate) fn end(mut self, how: BodyEnd) {
        self.end = how; // the drop writes the line
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let duration_ms = millis(self.began.elapsed());
        let method = &*text::path(self.method.as_str(), METHOD);
        let path = text::path(self.target.as_ref().map_or("", PathAndQuery::path), PATH);
        let end = match self.inside {
            true => BodyEnd::Panic,
            false => self.served.end(self.end),
        };
        info!(
            target: "lameduck::access",
            method,
            path = &*path,
            route = self.route(),
            status = self.head.map(|(status, _)| status.as_u16()),
            grpc_status = self.grpc_status.map(Code::number),
            version = version(self.version),
            bytes_out = self.bytes,
            duration_ms,
            head_ms = self.head.map(|(_, head)| millis(head)),
            client = self.client.map(display),
            peer = self.peer.map(display),
            request_id = self.id.as_ref().map(RequestId::as_str),
            end = end.as_str(),
            "request"
        );
    }
}

/// Returns milliseconds with three decimals: a fast response takes less than one.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// Returns the version as OpenTelemetry spells `network.protocol.version`.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "unknown",
    }
}
