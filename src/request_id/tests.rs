use super::*;
use crate::{DrainLayer, Lifecycle, Phase};
use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::Full;
use std::collections::HashSet;
use std::convert::Infallible;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

type Answer = Response<Full<Bytes>>;

/// Responds with what the handler saw: the extension and the request's headers.
async fn saw(request: Request<()>) -> Result<Answer, Infallible> {
    let mut answer = Response::new(Full::default());
    for value in request.headers().get_all("x-request-id") {
        answer.headers_mut().append("saw-header", value.clone());
    }
    if let Some(id) = RequestId::of(request.extensions()) {
        answer.headers_mut().insert("saw", id.header_value());
    }
    Ok(answer)
}

async fn ask(layer: RequestIdLayer, ids: &[&[u8]]) -> Answer {
    let mut request = Request::get("/").body(()).unwrap();
    for id in ids {
        let id = http::HeaderValue::from_bytes(id).unwrap();
        request.headers_mut().append("x-request-id", id);
    }
    layer.layer(service_fn(saw)).oneshot(request).await.unwrap()
}

fn is_generated(id: &http::HeaderValue) -> bool {
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    id.len() == 32 && id.as_bytes().iter().all(hex)
}

#[tokio::test]
async fn an_id_of_the_alphabet_is_kept() {
    let long = [b'a'; 128];
    let ids: [&[u8]; 5] = [
        b"7",
        b"6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        b"AZaz09-._~+/=:",
        b"MTIzNA==",
        &long,
    ];
    for id in ids {
        let answer = ask(RequestIdLayer::new(), &[id]).await;
        assert_eq!(answer.headers()["x-request-id"], id);
        assert_eq!(answer.headers()["saw"], id);
        assert_eq!(answer.headers()["saw-header"], id);
    }
}

#[tokio::test]
async fn invalid_ids_are_replaced_everywhere() {
    let long = [b'a'; 129];
    let refused: [&[&[u8]]; 10] = [
        &[b""],
        &[&long],
        &[b"a b"],
        &[b"a\"b"],
        &[b"a'b"],
        &[b"a\tb"],
        &[b"[31m"],
        &[b"caf\xc3\xa9"],
        &[b"a,b"],
        &[b"one", b"two"],
    ];
    for ids in refused {
        let answer = ask(RequestIdLayer::new(), ids).await;
        let headers = answer.headers();
        assert!(is_generated(&headers["x-request-id"]), "{ids:?}");
        assert_eq!(headers["x-request-id"], headers["saw"]);
        let seen: Vec<_> = headers.get_all("saw-header").iter().collect();
        assert_eq!(seen, [&headers["saw"]], "no inner layer sees {ids:?}");
    }
}

#[tokio::test]
async fn a_missing_id_is_generated_without_a_request_header() {
    let answer = ask(RequestIdLayer::new(), &[]).await;
    assert!(is_generated(&answer.headers()["saw"]));
    assert!(answer.headers().get("saw-header").is_none());
}

#[tokio::test]
async fn an_untrusted_id_is_replaced() {
    let answer = ask(RequestIdLayer::new().trust(false), &[b"mine"]).await;
    assert!(is_generated(&answer.headers()["x-request-id"]));
    assert_eq!(answer.headers()["saw-header"], answer.headers()["saw"]);
}

#[tokio::test]
async fn off_touches_nothing() {
    let answer = ask(RequestIdLayer::off().trust(false), &[b"a b"]).await;
    assert_eq!(answer.headers()["saw-header"], "a b");
    assert!(answer.headers().get("saw").is_none());
    assert!(answer.headers().get("x-request-id").is_none());
}

#[tokio::test]
async fn an_inner_refusal_carries_the_id_in_the_configured_header() {
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Draining);
    let service = ServiceBuilder::new()
        .layer(RequestIdLayer::new().header(HeaderName::from_static("x-trace")))
        .layer(DrainLayer::new(&lifecycle))
        .service(service_fn(saw));
    let request = Request::get("/").header("x-trace", "t1").body(()).unwrap();
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["x-trace"], "t1");
    assert!(answer.headers().get("x-request-id").is_none());
}

#[tokio::test]
async fn an_id_set_by_the_handler_is_replaced() {
    let service = RequestIdLayer::new().layer(service_fn(|_: Request<()>| async {
        let answer = Response::builder()
            .header("x-request-id", "of the handler")
            .header("x-request-id", "and again");
        Ok::<_, Infallible>(answer.body(()).unwrap())
    }));
    let request = Request::get("/").header("x-request-id", "kept").body(());
    let answer = service.oneshot(request.unwrap()).await.unwrap();
    let all: Vec<_> = answer.headers().get_all("x-request-id").iter().collect();
    assert_eq!(all, ["kept"]);
}

#[test]
fn generated_ids_do_not_repeat_within_or_across_threads() {
    let make = || (0..10_000).map(|_| RequestId::random().to_string());
    let threads: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(move || make().collect::<Vec<_>>()))
        .collect();
    let mut seen: HashSet<String> = make().collect();
    for thread in threads {
        seen.extend(thread.join().unwrap());
    }
    assert_eq!(seen.len(), 50_000);
    // Each of the 32 digits takes all 16 values: no part of the id is constant.
    for at in 0..32 {
        let digits: HashSet<u8> = seen.iter().map(|id| id.as_bytes()[at]).collect();
        assert_eq!(digits.len(), 16, "digit {at}");
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn axum_extracts_it() {
    use axum::{Router, body::Body, routing::get};

    let app = Router::new()
        .route("/must", get(|id: RequestId| async move { id.to_string() }))
        .route(
            "/may",
            get(|id: Option<RequestId>| async move { id.is_some().to_string() }),
        );
    let ask = async |app: Router, path: &str| {
        let request = Request::get(path).header("x-request-id", "r1");
        let answer = app.oneshot(request.body(Body::empty()).unwrap()).await;
        let (head, body) = answer.unwrap().into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 10).await.unwrap();
        (head.status.as_u16(), bytes)
    };
    assert_eq!(ask(app.clone(), "/must").await.0, 500);
    assert_eq!(ask(app.clone(), "/may").await, (200, "false".into()));
    let app = app.layer(RequestIdLayer::new());
    assert_eq!(ask(app.clone(), "/must").await, (200, "r1".into()));
    assert_eq!(ask(app, "/may").await, (200, "true".into()));
}
