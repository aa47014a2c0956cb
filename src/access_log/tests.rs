use super::*;
use crate::logs::written::Written;
use crate::real_ip::{RealIpLayer, Resolver};
use crate::{ConnInfo, RequestIdLayer};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_service::Service;
use tracing::Level;

/// Returns a body that yields these frames.
fn scripted(
    frames: Vec<Result<Frame<Bytes>, &'static str>>,
) -> impl Body<Data = Bytes, Error = &'static str> + Unpin {
    StreamBody::new(tokio_stream::iter(frames))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// Returns a service that responds with this body.
fn answers<B: Body<Data = Bytes>>(
    body: B,
) -> impl Service<Request<()>, Response = Response<AccessLogBody<B>>, Error = Infallible> {
    let mut body = Some(body);
    AccessLogLayer::new().layer(service_fn(move |_: Request<()>| {
        std::future::ready(Ok(Response::new(body.take().unwrap())))
    }))
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

/// Returns the only line that was written.
#[track_caller]
fn only(written: &Written) -> Value {
    let mut lines = written.take_json();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[tokio::test]
async fn the_duration_begins_when_serve_sees_the_request() {
    let (written, _guard) = Written::json(Level::INFO);
    let mut request = get("/");
    request.extensions_mut().insert(ConnInfo {
        arrived: tokio::time::Instant::now().checked_sub(Duration::from_secs(7)),
        ..ConnInfo::default()
    });
    let service = answers(Full::<Bytes>::from("hello"));
    let answer = service.oneshot(request).await.unwrap();
    answer.into_body().collect().await.unwrap();
    let line = only(&written);
    for name in ["duration_ms", "head_ms"] {
        let took = line[name].as_f64().unwrap();
        assert!((7000.0..60_000.0).contains(&took), "{name}: {took}");
    }
}

#[tokio::test]
async fn names_and_fields_are_the_documented_ones() {
    let (written, _guard) = Written::json(Level::INFO);
    let service = ServiceBuilder::new()
        .layer(RequestIdLayer::new())
        .service(answers(Full::<Bytes>::from("hello")));
    let request = Request::post("/a/path?token=secret")
        .version(Version::HTTP_2)
        .header("x-request-id", "r1")
        .header("authorization", "secret")
        .extension(ConnInfo::new(Some("192.0.2.1:4711".parse().unwrap()), None))
        .body(())
        .unwrap();
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(written.take(), "", "the body has not been read");
    answer.into_body().collect().await.unwrap();

    let text = written.take();
    assert!(!text.contains("secret"));
    let mut line: Value = serde_json::from_str(&text).unwrap();
    let fields = line.as_object_mut().unwrap();
    let duration = fields.remove("duration_ms").unwrap().as_f64().unwrap();
    let head = fields.remove("head_ms").unwrap().as_f64().unwrap();
    assert!(head <= duration);
    assert_eq!(
        line,
        json!({
            "level": "INFO", "target": "lameduck::access", "message": "request",
            "method": "POST", "path": "/a/path", "status": 200, "version": "2", "bytes_out": 5,
            "client": "192.0.2.1", "peer": "192.0.2.1:4711", "request_id": "r1",
            "end": "complete",
        })
    );
}

#[tokio::test]
async fn each_end_is_logged_once() {
    let (written, _guard) = Written::json(Level::INFO);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let whole = vec![data("ab"), data("c"), Ok(Frame::trailers(trailers))];
    let answer = answers(scripted(whole)).oneshot(get("/")).await.unwrap();
    let collected = answer.into_body().collect().await.unwrap();
    assert!(collected.trailers().is_some());
    let line = only(&written);
    assert_eq!(
        (&line["end"], &line["bytes_out"]),
        (&json!("complete"), &json!(3))
    );

    let broken = vec![data("ab"), Err("broke"), data("c")];
    let answer = answers(scripted(broken)).oneshot(get("/")).await.unwrap();
    let mut body = answer.into_body();
    while body.frame().await.is_some() {}
    drop(body);
    let line = only(&written);
    assert_eq!(
        (&line["end"], &line["bytes_out"]),
        (&json!("error"), &json!(2))
    );

    let left = vec![data("ab"), data("c")];
    let answer = answers(scripted(left)).oneshot(get("/")).await.unwrap();
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let line = only(&written);
    assert_eq!(
        (&line["end"], &line["bytes_out"]),
        (&json!("cancelled"), &json!(2))
    );
    assert_eq!(line["status"], 200, "the head was there");
}

#[tokio::test]
async fn a_body_unread_by_definition_is_complete() {
    let (written, _guard) = Written::json(Level::INFO);
    drop(
        answers(Empty::<Bytes>::new())
            .oneshot(get("/"))
            .await
            .unwrap(),
    );
    assert_eq!(only(&written)["end"], "complete");

    let head = Request::head("/").body(()).unwrap();
    let answer = answers(Full::<Bytes>::from("hello"))
        .oneshot(head)
        .await
        .unwrap();
    assert_eq!(answer.body().size_hint().exact(), Some(5));
    drop(answer);
    let line = only(&written);
    assert_eq!(
        (&line["end"], &line["bytes_out"]),
        (&json!("complete"), &json!(0))
    );
}

/// hyper drops a body once its declared length is written and does not poll it to its end.
#[tokio::test]
async fn a_declared_length_is_the_end_of_a_body() {
    let (written, _guard) = Written::json(Level::INFO);
    for (declared, read, end) in [
        ("3", 2, "complete"),
        ("3", 1, "cancelled"),
        ("x", 2, "cancelled"),
    ] {
        let layer = AccessLogLayer::new();
        let service = layer.layer(service_fn(move |_: Request<()>| async move {
            let body = scripted(vec![data("ab"), data("c")]);
            let answer = Response::builder().header("content-length", declared);
            Ok::<_, Infallible>(answer.body(body).unwrap())
        }));
        let mut body = service.oneshot(get("/")).await.unwrap().into_body();
        for _ in 0..read {
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        assert_eq!(
            only(&written)["end"],
            end,
            "{read} pieces of {declared} bytes"
        );
    }
}

#[tokio::test]
async fn a_request_without_an_answer_has_no_status() {
    let (written, _guard) = Written::json(Level::INFO);
    let layer = AccessLogLayer::new();
    type Answer<E> = Result<Response<Full<Bytes>>, E>;

    let mut hangs = layer.layer(service_fn(|_: Request<()>| {
        std::future::pending::<Answer<Infallible>>()
    }));
    let mut call = Box::pin(hangs.call(get("/")));
    assert!(futures_poll(&mut call).await.is_none());
    drop(call);
    let line = only(&written);
    assert_eq!(line["end"], "cancelled");
    assert!(line.get("status").is_none() && line.get("head_ms").is_none());

    let fails = layer.layer(service_fn(|_: Request<()>| async { Answer::Err("no") }));
    assert_eq!(fails.oneshot(get("/")).await.unwrap_err(), "no");
    let line = only(&written);
    assert_eq!((&line["end"], line.get("status")), (&json!("error"), None));

    let panics = layer.layer(service_fn(|_: Request<()>| async {
        if true {
            panic!("as handlers do");
        }
        Answer::<Infallible>::Ok(Response::default())
    }));
    let service = panics.oneshot(get("/"));
    let caught = std::panic::AssertUnwindSafe(service);
    let local = tokio::task::LocalSet::new();
    let joined = local.run_until(async { tokio::task::spawn_local(caught.0).await });
    assert!(joined.await.unwrap_err().is_panic());
    assert_eq!(only(&written)["end"], "panic");
}

/// Polls the future once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = std::pin::Pin::new(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn client_lookup_follows_the_documented_order() {
    let (written, _guard) = Written::json(Level::INFO);
    let resolver = Resolver::new("192.0.2.0/24".parse().unwrap());
    let plain = AccessLogLayer::new();
    let lookup = resolver.clone();
    let resolving = plain
        .clone()
        .client(move |peer, headers| lookup.resolve(peer, headers).ip);
    let found: RealIpLayer = resolver.into();
    let request = || {
        Request::get("/")
            .header("x-forwarded-for", "203.0.113.9")
            .extension(ConnInfo::new(Some("192.0.2.1:80".parse().unwrap()), None))
            .body(())
            .unwrap()
    };
    let client = async |outer: RealIpLayer, layer: AccessLogLayer| {
        let service = outer.layer(layer.layer(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        })));
        drop(service.oneshot(request()).await.unwrap());
        let line = only(&written);
        assert_eq!(line["peer"], "192.0.2.1:80");
        line.get("client").cloned()
    };
    assert_eq!(
        client(RealIpLayer::off(), plain.clone()).await,
        Some(json!("192.0.2.1"))
    );
    assert_eq!(
        client(RealIpLayer::off(), resolving).await,
        Some(json!("203.0.113.9"))
    );
    let unknown = plain.clone().client(|_, _| None);
    assert_eq!(client(RealIpLayer::off(), unknown.clone()).await, None);
    assert_eq!(client(found, unknown).await, Some(json!("203.0.113.9")));
}

#[tokio::test]
async fn the_peer_of_another_server_is_found_by_a_function() {
    let (written, _guard) = Written::json(Level::INFO);
    let layer = AccessLogLayer::new().peer(|extensions| extensions.get().copied());
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let peer: std::net::SocketAddr = "192.0.2.1:80".parse().unwrap();
    let request = Request::get("/").extension(peer).body(()).unwrap();
    drop(service.oneshot(request).await.unwrap());
    let line = only(&written);
    assert_eq!(
        (&line["peer"], &line["client"]),
        (&json!("192.0.2.1:80"), &json!("192.0.2.1"))
    );
}

#[tokio::test]
async fn off_and_unwanted_write_nothing_and_change_nothing() {
    for (layer, level) in [
        (
            AccessLogLayer::off().client(|_, _| unreachable!()),
            Level::INFO,
        ),
        (AccessLogLayer::new(), Level::WARN),
    ] {
        let (written, _guard) = Written::text(level);
        let service = layer.layer(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
        }));
        let answer = service.oneshot(get("/")).await.unwrap();
        assert_eq!(answer.body().size_hint().exact(), Some(5));
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            "hello"
        );
        assert_eq!(written.take(), "");
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_route_is_the_matched_one() {
    use axum::{Router, body, routing};

    let (written, _guard) = Written::json(Level::INFO);
    let app = Router::new()
        .route("/users/{id}", routing::get(|| async { "hello" }))
        .layer(AccessLogLayer::new());
    let request = Request::get("/users/7").body(body::Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();
    answer.into_body().collect().await.unwrap();
    let line = only(&written);
    assert_eq!(
        (&line["route"], &line["path"]),
        (&json!("/users/{id}"), &json!("/users/7"))
    );
}

#[tokio::test]
async fn a_grpc_call_has_its_status_and_its_method() {
    for (code, route) in [(5, json!("/a.B/C")), (12, Value::Null)] {
        let (written, _guard) = Written::json(Level::INFO);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.into());
        let body = scripted(vec![data("message"), Ok(Frame::trailers(trailers))]);
        let mut request = Request::post("/a.B/C?secret").body(()).unwrap();
        let grpc = "application/grpc".parse().unwrap();
        request.headers_mut().insert("content-type", grpc);
        let answer = answers(body).oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
        let line = only(&written);
        assert_eq!(line["grpc_status"], code, "{line}");
        assert_eq!(line["route"], route, "{line}");
        assert_eq!(line["status"], 200, "{line}");
    }
}
