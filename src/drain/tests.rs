use super::*;
use crate::reply::ReplyBody;
use crate::{Lifecycle, Phase};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tower::{Layer, ServiceExt, service_fn};
use tower_service::Service;

type Answer = Response<ReplyBody<Full<Bytes>>>;

fn service(
    layer: &DrainLayer,
) -> impl Service<Request<()>, Response = Answer, Error = Infallible> + Clone + use<> {
    layer.layer(service_fn(|request: Request<()>| async move {
        let draining = request.extensions().get::<Draining>();
        Ok(Response::new(Full::from(match draining {
            Some(draining) => draining.phase().to_string(),
            None => "no extension".to_owned(),
        })))
    }))
}

async fn text(answer: Answer) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn served_through_the_lame_duck_and_refused_from_draining_on() {
    let lifecycle = Lifecycle::new();
    let service = service(&DrainLayer::new(&lifecycle));
    for phase in [Phase::Starting, Phase::Ready, Phase::LameDuck] {
        lifecycle.advance(phase);
        let answer = service.clone().oneshot(Request::default()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(text(answer).await, phase.as_str());
    }
    for phase in [Phase::Draining, Phase::Closed] {
        lifecycle.advance(phase);
        let answer = service.clone().oneshot(Request::default()).await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert!(
            answer.body().size_hint().exact().is_some(),
            "Content-Length is known"
        );
    }
}

#[tokio::test]
async fn grpc_is_refused_in_its_own_form() {
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Draining);
    let request = Request::post("/helloworld.Greeter/SayHello")
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let answer = service(&DrainLayer::new(&lifecycle))
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "14");
    assert!(answer.headers().get("connection").is_none());
    assert!(
        answer.body().is_end_stream(),
        "Trailers-Only: END_STREAM on the head"
    );
}

#[tokio::test]
async fn without_extension_there_is_none() {
    let layer = DrainLayer::new(&Lifecycle::new()).without_extension();
    let answer = service(&layer).oneshot(Request::default()).await.unwrap();
    assert_eq!(text(answer).await, "no extension");
}

#[tokio::test]
async fn each_refusal_is_emitted_once() {
    let lifecycle = Lifecycle::new();
    let emitted = Arc::new(AtomicUsize::new(0));
    let count = emitted.clone();
    let layer = DrainLayer::new(&lifecycle).events(crate::events::EventSink::to(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let service = service(&layer);
    service.clone().oneshot(Request::default()).await.unwrap();
    assert_eq!(emitted.load(Ordering::Relaxed), 0);
    lifecycle.advance(Phase::Draining);
    service.oneshot(Request::default()).await.unwrap();
    assert_eq!(emitted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_handler_awaits_the_drain_through_its_extension() {
    let lifecycle = Lifecycle::new();
    let draining = Draining::from(lifecycle.clone());
    let waiting = tokio::spawn(async move { draining.draining().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    lifecycle.advance(Phase::LameDuck);
    waiting.await.unwrap();
}
