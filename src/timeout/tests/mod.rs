mod body;
mod head;

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::channel::Sender;
use http_body_util::{BodyExt, Channel, Full};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_service::Service;

use super::*;
use crate::events::EventSink;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

fn grpc(timeout: &str) -> Request<()> {
    Request::post("/a.B/C")
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc+proto")
        .header("grpc-timeout", timeout)
        .body(())
        .unwrap()
}

/// Responds after `wait`.
fn slow(
    layer: &TimeoutLayer,
    wait: Duration,
) -> impl Service<Request<()>, Response = Response<TimeoutBody<Full<Bytes>>>, Error = Infallible>
+ Clone
+ use<> {
    layer.layer(service_fn(move |_: Request<()>| async move {
        sleep(wait).await;
        Ok(Response::new(Full::from("done")))
    }))
}

/// Returns the response, and its time.
async fn ask(
    layer: &TimeoutLayer,
    wait: Duration,
    request: Request<()>,
) -> (Response<TimeoutBody<Full<Bytes>>>, Duration) {
    let began = Instant::now();
    let answer = slow(layer, wait).oneshot(request).await.unwrap();
    (answer, began.elapsed())
}

fn listening() -> (EventSink, Arc<Mutex<Vec<String>>>) {
    let emitted = Arc::new(Mutex::new(Vec::new()));
    let listener = emitted.clone();
    let events = EventSink::to(move |event| listener.lock().unwrap().push(event.to_string()));
    (events, emitted)
}

/// A guard that counts its drop.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn request_state_is_small() {
    let sleep = size_of::<tokio::time::Sleep>();
    let future = size_of::<TimeoutFuture<()>>() - sleep;
    let body = size_of::<TimeoutBody<()>>();
    assert!(future <= 136, "{future} beside the timer's {sleep}");
    assert!(body <= 128, "{body}");
}
