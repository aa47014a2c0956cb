mod answers;
mod checks;

use super::*;
use crate::events::EventSink;
use crate::{ConnInfo, Lifecycle, Phase};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_service::Service;

use bytes::Bytes;

fn ready() -> Lifecycle {
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Ready);
    lifecycle
}

/// Returns a request from this host.
fn local(path: &str) -> Request<()> {
    from("127.0.0.1:40000", path)
}

fn from(peer: &str, path: &str) -> Request<()> {
    let mut request = Request::get(path).body(()).unwrap();
    let peer = Some(peer.parse().unwrap());
    request.extensions_mut().insert(ConnInfo::new(peer, None));
    request
}

/// Sends a request through the layer, in front of a service that echoes its path.
async fn ask(layer: &HealthLayer, request: Request<()>) -> Response<Bytes> {
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let asked = format!("passed {}", request.uri().path());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(asked)))
    }));
    whole(service.oneshot(request).await.unwrap()).await
}

async fn whole(
    answer: Response<impl BodyExt<Data = Bytes, Error = Infallible>>,
) -> Response<Bytes> {
    let (head, body) = answer.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

async fn ready_status(health: &Health) -> u16 {
    ask(&health.layer(), local("/readyz"))
        .await
        .status()
        .as_u16()
}

fn json(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

fn brief(answer: &Response<Bytes>) -> &str {
    std::str::from_utf8(answer.body()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_change_of_readiness_is_emitted_once() {
    let lifecycle = Lifecycle::new();
    let fails = Arc::new(AtomicBool::new(false));
    let emitted = Arc::new(Mutex::new(Vec::new()));
    let (failing, sink) = (fails.clone(), emitted.clone());
    let health = Health::new(&lifecycle)
        .check("disk", move || {
            let fails = failing.load(Ordering::Relaxed);
            async move { if fails { Err("full") } else { Ok(()) } }
        })
        .events(EventSink::to(move |event| {
            sink.lock().unwrap().push(event.to_string());
        }));
    let admin = health.clone().details(Details::always());
    let ask = async || {
        for health in [&health, &admin, &health] {
            health.readiness_report().await;
        }
        tokio::time::advance(Duration::from_secs(2)).await;
    };
    ask().await;
    lifecycle.advance(Phase::Ready);
    ask().await;
    fails.store(true, Ordering::Relaxed);
    ask().await;
    ask().await;
    fails.store(false, Ordering::Relaxed);
    ask().await;
    lifecycle.advance(Phase::LameDuck);
    ask().await;
    assert_eq!(
        *emitted.lock().unwrap(),
        [
            "not ready",
            "ready",
            "not ready: disk: full",
            "ready",
            "not ready"
        ]
    );
}
