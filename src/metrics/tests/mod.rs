//! The content of a scrape after various requests and events.

mod endpoint;
mod ends;
mod event_counters;
mod series;

use super::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::future::{Ready, ready};
use tower::{Layer, ServiceExt, service_fn};
use tower_service::Service;

/// Returns a scrape in the classic format.
fn scrape(metrics: &Metrics) -> String {
    scrape_of(metrics.service())
}

fn scrape_of(mut service: MetricsEndpoint) -> String {
    let answer = poll_now(service.call(Request::new(()))).unwrap();
    let body = poll_now(answer.into_body().collect()).unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// Polls a future that is ready at once.
fn poll_now<F: Future>(future: F) -> F::Output {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it is ready at once"),
    }
}

/// Returns the value of the only sample with this name and all of these labels, `a="b"` each.
fn value(scrape: &str, name: &str, labels: &[&str]) -> f64 {
    let found: Vec<_> = scrape
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(key, _)| key.split('{').next() == Some(name))
        .filter(|(key, _)| labels.iter().all(|label| key.contains(label)))
        .collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?} in {scrape}");
    found[0].1.parse().unwrap()
}

/// Counts the samples with this name.
fn samples(scrape: &str, name: &str) -> usize {
    scrape
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .count()
}

/// Responds with 200 and a body of five bytes.
fn hello(_: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::from("hello"))))
}

/// Sends a request to `service` and reads the response to its end.
async fn ask<S, B>(service: S, request: Request<()>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let answer = service.oneshot(request).await.unwrap();
    answer.into_body().collect().await.unwrap();
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

/// Uses the path as the route, for tests only.
fn by_path() -> MetricsBuilder {
    Metrics::builder().route(|head| Some(head.uri.path()))
}

const DURATION: &str = "http_server_request_duration_seconds_count";
