mod ends;
mod names;

use super::*;
use crate::ConnInfo;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::oneshot;
use tower::{Layer, ServiceExt, service_fn};
use tower_service::Service;

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

/// Returns a service that responds at once with this body.
fn answering<B>(
    layer: &InFlightLayer,
    status: StatusCode,
    body: B,
) -> impl Service<
    Request<()>,
    Response = Response<InFlightBody<B>>,
    Error = Infallible,
    Future: Future + Send,
> + Clone
+ use<B>
where
    B: Body + Clone + Send + 'static,
{
    layer.layer(service_fn(move |_: Request<()>| {
        let mut response = Response::new(body.clone());
        *response.status_mut() = status;
        std::future::ready(Ok(response))
    }))
}

#[tokio::test]
async fn counted_from_the_call_to_the_end_of_the_body() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let (answer, answered) = oneshot::channel::<()>();
    let mut answered = Some(answered);
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        let answered = answered.take();
        async move {
            answered.unwrap().await.unwrap();
            let frames = ["a", "b"].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
            Ok::<_, Infallible>(Response::new(StreamBody::new(tokio_stream::iter(frames))))
        }
    }));
    assert_eq!(in_flight.count(), 0);
    let running = service.call(get("/"));
    assert_eq!(in_flight.count(), 1, "before it is first polled");
    answer.send(()).unwrap();
    let mut body = running.await.unwrap().into_body();
    for text in ["a", "b"] {
        assert_eq!(in_flight.count(), 1);
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
    assert_eq!(
        in_flight.count(),
        1,
        "a stream's end is not known before it is read"
    );
    assert!(body.frame().await.is_none());
    assert_eq!(in_flight.count(), 0, "while the body is still held");
}

#[tokio::test]
async fn a_known_length_ends_with_its_last_frame() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = answering(&layer, StatusCode::OK, Full::<Bytes>::from("all"));
    let mut body = service.oneshot(get("/")).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(3));
    assert!(!body.is_end_stream());
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
    assert_eq!(in_flight.count(), 0);
}

#[tokio::test]
async fn trailers_pass() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = layer.layer(service_fn(|_: Request<()>| async {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let frames = [
            Ok::<_, Infallible>(Frame::data(Bytes::from("a"))),
            Ok(Frame::trailers(trailers)),
        ];
        Ok::<_, Infallible>(Response::new(StreamBody::new(tokio_stream::iter(frames))))
    }));
    let body = service.oneshot(get("/")).await.unwrap().into_body();
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(in_flight.count(), 0);
}

#[tokio::test]
async fn the_peak_is_the_highest_count() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    }));
    let mut running: Vec<_> = (0..3).map(|_| service.call(get("/"))).collect();
    assert_eq!((in_flight.count(), in_flight.peak()), (3, 3));
    running.pop();
    running.pop();
    running.push(service.call(get("/")));
    assert_eq!((in_flight.count(), in_flight.peak()), (2, 3));
    running.clear();
    assert_eq!((in_flight.count(), in_flight.peak()), (0, 3));
}

#[tokio::test]
async fn answers_without_a_body_are_over_when_they_are_dropped() {
    let cases = [
        (Method::HEAD, StatusCode::OK),
        (Method::GET, StatusCode::NO_CONTENT),
        (Method::GET, StatusCode::NOT_MODIFIED),
    ];
    for (method, status) in cases {
        let layer = InFlightLayer::new();
        let in_flight = layer.handle();
        let service = answering(&layer, status, Full::<Bytes>::from("not sent"));
        let mut request = get("/");
        *request.method_mut() = method.clone();
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(in_flight.count(), 1, "{method} {status}");
        assert_eq!(
            response.body().size_hint().exact(),
            Some(8),
            "{method} {status}: Content-Length is kept"
        );
        drop(response);
        assert_eq!(in_flight.count(), 0, "{method} {status}");
    }
}

#[tokio::test]
async fn clones_count_together_and_layers_do_not() {
    let layer = InFlightLayer::new();
    let other = InFlightLayer::new();
    let inner =
        service_fn(|_: Request<()>| pending::<Result<Response<Empty<Bytes>>, Infallible>>());
    let mut one = layer.layer(inner);
    let mut two = layer.clone().layer(inner);
    let mut three = one.clone();
    let running = (
        one.call(get("/1")),
        two.call(get("/2")),
        three.call(get("/3")),
    );
    assert_eq!(layer.handle().count(), 3);
    assert_eq!(layer.clone().handle().clone().requests().len(), 3);
    assert_eq!(other.handle().count(), 0);
    drop(running);
    assert_eq!(layer.handle().count(), 0);
}

#[tokio::test]
async fn the_oldest_is_named_first() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    }));
    let mut running = Vec::new();
    for path in ["/1", "/2", "/3", "/4"] {
        running.push(service.call(get(path)));
        std::thread::sleep(Duration::from_millis(1));
    }
    // The freed slot is reused, in front of older ones.
    running.remove(0);
    running.push(service.call(get("/5")));
    let paths: Vec<_> = in_flight.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(paths, ["/2", "/3", "/4", "/5"]);
}

#[tokio::test]
async fn requests_of_other_threads_are_named_too() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let running: Vec<_> = (0..8)
        .map(|_| {
            let layer = layer.clone();
            let thread = std::thread::spawn(move || {
                let mut service = layer.layer(service_fn(|_: Request<()>| {
                    pending::<Result<Response<Empty<Bytes>>, Infallible>>()
                }));
                service.call(get("/"))
            });
            thread.join().unwrap()
        })
        .collect();
    assert_eq!((in_flight.count(), in_flight.peak()), (8, 8));
    assert_eq!(in_flight.requests().len(), 8);
    drop(running);
    assert_eq!(in_flight.count(), 0);
    assert!(in_flight.requests().is_empty());
}

#[tokio::test]
async fn waiting_ends_with_the_last_request() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    in_flight.wait_idle().await;
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    }));
    let (one, two) = (service.call(get("/1")), service.call(get("/2")));
    let mut waiting = pin!(in_flight.wait_idle());
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
    drop(one);
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
    drop(two);
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(()));
}

#[test]
fn debug_output_shows_the_count() {
    let layer = InFlightLayer::new();
    assert_eq!(
        format!("{layer:?}"),
        "InFlightLayer(InFlightHandle { count: 0, peak: 0 })"
    );
}
