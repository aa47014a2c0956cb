//! A panic in the call, in the future, and in its drop; each answered in the client's own form.

use super::*;
use crate::events::{Event, EventSink};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tower::{Layer, ServiceExt, service_fn};

type Answer = Result<Response<Full<Bytes>>, Infallible>;

fn recorded() -> (EventSink, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let written = lines.clone();
    let events = EventSink::to(move |event: &Event<'_>| {
        written.lock().unwrap().push(event.to_string());
    });
    (events, lines)
}

fn post(path: &str) -> Request<()> {
    Request::post(path).body(()).unwrap()
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in the drop");
    }
}

async fn panics(request: Request<()>) -> Answer {
    let _guard = (request.uri().path() == "/drop").then(|| PanicsInDrop);
    tokio::task::yield_now().await;
    if request.uri().path() == "/drop" {
        // The guard's panic is the one, at the end of the future.
        return Ok(Response::default());
    }
    panic!("no {}", "luck")
}

#[tokio::test]
async fn panic_in_the_future_is_answered_and_named() {
    let (events, lines) = recorded();
    let service = CatchPanicLayer::new()
        .events(events)
        .layer(service_fn(panics));
    let answer = service.clone().oneshot(post("/orders")).await.unwrap();
    assert_eq!(answer.status(), 500);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "the server failed to answer\n");
    assert_eq!(
        *lines.lock().unwrap(),
        ["the service panicked: no luck POST /orders"]
    );
    let answer = service.oneshot(post("/drop")).await.unwrap();
    assert_eq!(answer.status(), 500);
}

#[tokio::test]
async fn panic_in_the_call_gets_grpc_internal() {
    let service =
        CatchPanicLayer::new().layer(service_fn(|_: Request<()>| -> std::future::Ready<Answer> {
            panic!("at once")
        }));
    let mut request = post("/shop.Orders/List");
    let kind = "application/grpc".parse().unwrap();
    request.headers_mut().insert("content-type", kind);
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "13");
}

#[tokio::test]
async fn call_is_one_in_the_event_whatever_its_path() {
    let calls = Arc::<Mutex<Vec<bool>>>::default();
    let seen = calls.clone();
    let events = EventSink::to(move |event: &Event<'_>| {
        if let Event::Panicked { request, .. } = event {
            seen.lock().unwrap().push(request.grpc);
        }
    });
    let service = CatchPanicLayer::new().events(events);
    let service = service.layer(service_fn(panics));
    for (path, kind) in [
        ("/shop.Orders/List", "application/grpc"),
        ("/no/method/of/one", "application/grpc+proto"),
        ("/shop.Orders/List", "text/plain"),
    ] {
        let mut request = post(path);
        let kind = kind.parse().unwrap();
        request.headers_mut().insert("content-type", kind);
        service.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(*calls.lock().unwrap(), [true, true, false]);
}

#[tokio::test]
async fn layer_that_is_off_catches_nothing() {
    let service = CatchPanicLayer::off().layer(service_fn(panics));
    let task = tokio::spawn(service.oneshot(post("/")));
    assert!(task.await.unwrap_err().is_panic());
}
