use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{RouteLayer, route};
use crate::body_limit::BodyLimitLayer;
use crate::drain::DrainLayer;
use crate::events::{Event, EventSink};
use crate::phase::{Lifecycle, Phase};
use crate::timeout::TimeoutLayer;

const KB: usize = 1024;

/// A body whose length only its `Content-Length` declares, as a server's is.
struct Upload(Option<Bytes>);

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

fn post(bytes: usize) -> Request<Upload> {
    Request::post("/upload")
        .header(header::CONTENT_LENGTH, bytes)
        .body(Upload(Some(Bytes::from(vec![b'x'; bytes]))))
        .unwrap()
}

/// Reads the body, and responds with its length or the error.
async fn length<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes, Error: std::fmt::Display>,
{
    let answer = match request.into_body().collect().await {
        Ok(body) => body.to_bytes().len().to_string(),
        Err(error) => error.to_string(),
    };
    Ok(Response::new(answer.into()))
}

async fn text<B: Body<Data = Bytes, Error: std::fmt::Debug>>(response: Response<B>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn refusals() -> (EventSink, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let events = EventSink::to(move |event: &Event<'_>| {
        if let Event::Refused { reason, .. } = event {
            into.lock().unwrap().push(reason.to_string());
        }
    });
    (events, seen)
}

async fn upload(outer: u64, inner: RouteLayer, bytes: usize) -> (StatusCode, String) {
    let service = BodyLimitLayer::new(outer).layer(inner.layer(service_fn(length)));
    let response = service.oneshot(post(bytes)).await.unwrap();
    (response.status(), text(response).await)
}

#[tokio::test]
async fn a_route_raises_and_lowers_the_limit_of_the_layer_further_out() {
    let (status, answer) = upload(KB as u64, route().body_limit(8 * KB as u64), 4 * KB).await;
    assert_eq!((status, answer.as_str()), (StatusCode::OK, "4096"));
    let (status, _) = upload(KB as u64, route().body_limit(8 * KB as u64), 9 * KB).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = upload(8 * KB as u64, route().body_limit(KB as u64), 2 * KB).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, answer) = upload(KB as u64, route().body_limit(None), 64 * KB).await;
    assert_eq!((status, answer.as_str()), (StatusCode::OK, "65536"));
}

#[tokio::test]
async fn a_route_without_a_limit_of_its_own_keeps_the_one_further_out() {
    // Another route's, so that a declared length alone does not decide.
    let _other = route().body_limit(None);
    let (events, seen) = refusals();
    let service = BodyLimitLayer::new(KB as u64).events(events).layer(
        route()
            .timeout(Duration::from_secs(1))
            .layer(service_fn(length)),
    );
    let response = service.clone().oneshot(post(2 * KB)).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // A handler that does not look at the body does not get past it either.
    let blind = BodyLimitLayer::new(KB as u64).layer(service_fn(|_| async {
        Ok::<_, Infallible>(Response::new(Full::from("done")))
    }));
    let response = blind.oneshot(post(2 * KB)).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_bytes_of_a_body_that_declares_too_much_are_not_read() {
    let _other = route().body_limit(None);
    let service = BodyLimitLayer::new(KB as u64).layer(service_fn(|request: Request<_>| async {
        let mut body: crate::body_limit::BodyLimitBody<Upload> = request.into_body();
        let first = body.frame().await.unwrap();
        assert!(first.is_err(), "an error comes first");
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let response = service.oneshot(post(2 * KB)).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

async fn slow<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    tokio::time::sleep(Duration::from_secs(30)).await;
    Ok(Response::new("done".into()))
}

fn get() -> Request<Full<Bytes>> {
    Request::new(Full::default())
}

#[tokio::test(start_paused = true)]
async fn a_route_s_time_replaces_the_one_further_out() {
    let cases = [
        (10, route().timeout(Duration::from_secs(60)), StatusCode::OK),
        (10, route().timeout(None), StatusCode::OK),
        (
            60,
            route().timeout(Duration::from_secs(10)),
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (
            60,
            route().timeout(Duration::from_secs(10)).gateway(),
            StatusCode::GATEWAY_TIMEOUT,
        ),
        (10, route().streaming(), StatusCode::OK),
        (10, route().body_limit(1), StatusCode::SERVICE_UNAVAILABLE),
    ];
    for (outer, inner, status) in cases {
        let (events, seen) = refusals();
        let outer = TimeoutLayer::new(Duration::from_secs(outer)).events(events);
        // A queue in between: the route is called when the layer further out has begun to wait.
        let late = tower::layer::layer_fn(|inner| {
            service_fn(move |request| {
                let inner: super::RouteService<_> = Clone::clone(&inner);
                async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    inner.oneshot(request).await
                }
            })
        });
        let case = format!("{outer:?} {inner:?}");
        let service = ServiceBuilder::new()
            .layer(outer)
            .layer(late)
            .layer(inner)
            .service(service_fn(slow));
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(response.status(), status, "{case}");
        let refused = usize::from(status != StatusCode::OK);
        assert_eq!(seen.lock().unwrap().len(), refused, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_s_time_is_in_force_without_a_layer_further_out() {
    let mut service = route()
        .timeout(Duration::from_secs(10))
        .layer(service_fn(slow));
    let response = service.call(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_predicate_chooses_the_requests() {
    let service = TimeoutLayer::new(Duration::from_secs(10)).layer(
        route()
            .timeout(None)
            .when(|head| head.uri.path() == "/slow")
            .layer(service_fn(slow)),
    );
    for (path, status) in [("/slow", 200), ("/other", 503)] {
        let request = Request::get(path).body(Full::<Bytes>::default()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

/// A body that has a frame each second and no end.
struct Ticks(tokio::time::Interval);

impl Body for Ticks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let tick = self.0.poll_tick(cx);
        tick.map(|_| Some(Ok(Frame::data(Bytes::from_static(b"event\n")))))
    }
}

async fn endless<B>(request: Request<B>) -> Result<Response<Ticks>, Infallible> {
    let second = Duration::from_secs(1);
    let mut response = Response::new(Ticks(tokio::time::interval(second)));
    if let Some(kind) = request.headers().get(header::CONTENT_TYPE) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
    Ok(response)
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_by_itself_in_the_lame_duck() {
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Ready);
    let service = DrainLayer::new(&lifecycle).layer(route().streaming().layer(service_fn(endless)));
    let mut ends = Vec::new();
    for _ in 0..20 {
        let response = service.clone().oneshot(get()).await.unwrap();
        ends.push(tokio::spawn(response.into_body().collect()));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(ends.iter().all(|end| !end.is_finished()));
    lifecycle.lame_duck(Duration::from_secs(100));
    let left = tokio::time::Instant::now();
    let mut times = Vec::new();
    for end in ends {
        let body = end.await.unwrap().unwrap();
        assert_eq!(body.trailers(), None);
        assert!(body.to_bytes().ends_with(b"event\n"), "a whole frame");
        times.push(left.elapsed());
    }
    let last = times.iter().max().unwrap();
    assert!(*last <= Duration::from_secs(76), "{last:?}");
    assert!(*last > Duration::from_secs(20), "all at once: {last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_a_drain_begins_at_once() {
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Ready);
    let service = DrainLayer::new(&lifecycle).layer(route().streaming().layer(service_fn(endless)));
    let mut call = Request::post("/").body(Full::<Bytes>::default()).unwrap();
    *call.version_mut() = http::Version::HTTP_2;
    let kind = http::HeaderValue::from_static("application/grpc");
    call.headers_mut().insert(header::CONTENT_TYPE, kind);
    let response = service.oneshot(call).await.unwrap();
    let body = tokio::spawn(response.into_body().collect());
    tokio::time::sleep(Duration::from_secs(5)).await;
    lifecycle.advance(Phase::Draining);
    let body = tokio::time::timeout(Duration::from_secs(2), body);
    let body = body.await.unwrap().unwrap().unwrap();
    let trailers = body.trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "14", "UNAVAILABLE");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_known_length_is_not_ended() {
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Ready);
    let download = service_fn(|_: Request<_>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("a file")))
    });
    let service = DrainLayer::new(&lifecycle).layer(route().streaming().layer(download));
    let response = service.oneshot(get()).await.unwrap();
    lifecycle.advance(Phase::Draining);
    assert_eq!(text(response).await, "a file");
}
