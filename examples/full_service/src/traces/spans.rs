//! The spans of requests and jobs, named by OpenTelemetry's semantic conventions.
//!
//! Fields of a span are in each log line within it, so these spans have only what a reader of the log needs; the rest are
//! attributes.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, Version, header::USER_AGENT},
    middleware::{self, Next},
    response::Response,
};
use http_body::{Frame, SizeHint};
use lameduck::{ConnInfo, real_ip::Resolver};
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanKind, Status, TraceContextExt},
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SpanData};
use tracing::{Instrument, Span, field::display, instrument::Instrumented};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{api, store::Job};

const TRACEPARENT: &str = "traceparent";
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/startupz"];
/// The kind of a span travels as an attribute: as a field it would be in every log line.
const KIND: &str = "span.kind";
/// The longest text of a client in an attribute, in characters.
const LONGEST: usize = 256;

/// Puts a span around each request but probes. It ends with the last byte of the response.
pub fn around(routes: Router, clients: Resolver) -> Router {
    routes.layer(middleware::from_fn_with_state(clients, request))
}

async fn request(State(clients): State<Resolver>, mut request: Request, next: Next) -> Response {
    if PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let span = api::request_span(None);
    let parent = TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &Headers(request.headers()));
    // Without the layer there is no parent to set, and nothing to see it.
    let _ = span.set_parent(parent);
    span.set_attribute(KIND, "server");
    let method = method(request.method());
    span.set_attribute("http.request.method", method);
    let mut name = match method {
        "_OTHER" => "HTTP".to_owned(),
        method => method.to_owned(),
    };
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        name = format!("{name} {}", route.as_str());
        span.set_attribute("http.route", route.as_str().to_owned());
    }
    span.set_attribute("url.scheme", "http");
    span.set_attribute("url.path", short(request.uri().path()));
    span.set_attribute("network.protocol.version", version(request.version()));
    let peer = request.extensions().get::<ConnInfo>();
    let peer = peer.and_then(|info| info.peer);
    if let Some(client) = clients.resolve(peer, request.headers()).ip {
        span.set_attribute("client.address", client.to_string());
    }
    let agent = request.headers().get(USER_AGENT);
    if let Some(agent) = agent.and_then(|agent| agent.to_str().ok()) {
        span.set_attribute("user_agent.original", short(agent));
    }
    begin(&span, name);

    request.extensions_mut().insert(span.clone());
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_attribute("error.type", status.as_str().to_owned());
        span.set_status(Status::error(""));
    }
    response.map(|body| Body::new(Traced(body.instrument(span))))
}

/// Begins the span of an attempt at a job, in the trace of its request.
pub fn begin_job(span: &Span, job: &Job) {
    if let Some(traceparent) = &job.traceparent {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.clone())]);
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        let _ = span.set_parent(parent);
    }
    span.set_attribute(KIND, "consumer");
    span.set_attribute("messaging.system", "outbox");
    span.set_attribute("messaging.operation.name", "process");
    span.set_attribute("messaging.operation.type", "process");
    span.set_attribute("messaging.destination.name", job.kind.clone());
    span.set_attribute("messaging.message.id", job.id.to_string());
    begin(span, format!("process {}", job.kind));
}

/// Marks the attempt at a job, whose span is the current one, as failed.
pub fn fail_job(error: &str) {
    Context::current()
        .span()
        .set_status(Status::error(error.to_owned()));
}

/// Returns the current span as a `traceparent`, by which other processes continue its trace.
pub fn traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Context::current(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Begins a span; its ids are in the log lines from here on. Its parent cannot change any more.
fn begin(span: &Span, name: String) {
    let context = span.context();
    let begun = context.span();
    begun.update_name(name);
    let ids = begun.span_context();
    if ids.is_valid() {
        span.record("trace_id", display(ids.trace_id()));
        span.record("span_id", display(ids.span_id()));
    }
}

/// Returns the span as the collector gets it: with its kind, and without the fields for the log.
pub(super) fn without_log_fields(mut span: SpanData) -> SpanData {
    let mut kind = None;
    span.attributes
        .retain(|attribute| match attribute.key.as_str() {
            KIND => {
                kind = Some(attribute.value.as_str().into_owned());
                false
            }
            "trace_id" | "span_id" => false,
            _ => true,
        });
    match kind.as_deref() {
        Some("server") => span.span_kind = SpanKind::Server,
        Some("consumer") => span.span_kind = SpanKind::Consumer,
        _ => {}
    }
    span
}

/// The methods that OpenTelemetry knows; a client makes up as many others as it likes.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "CONNECT" => "CONNECT",
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        "QUERY" => "QUERY",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

/// The body of a response, within the span of its request: also as it is dropped, which writes the access log's line.
struct Traced(Instrumented<Body>);

impl HttpBody for Traced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let span = self.0.span().clone();
        let _entered = span.enter();
        let polled = Pin::new(self.0.inner_mut()).poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = polled {
            span.set_attribute("error.type", "response_body");
            span.set_status(Status::error("the response broke off"));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.inner().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.inner().size_hint()
    }
}
