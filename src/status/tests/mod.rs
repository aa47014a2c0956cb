mod events;
mod page;
mod watchers;

use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tower_service::Service;

use crate::events::{CloseReason, Event, RequestInfo, TimeoutKind};
use crate::json::Json;
use crate::reply::RefusalReason;
use crate::serve::App;
use crate::shutdown::ShutdownHandle;
use crate::status::body::MAX_WATCHERS;
use crate::status::recent_events::CAPACITY;
use crate::status::service::{PAGE, POLICY};
use crate::status::{StatusBody, StatusPage};
use crate::{AllowedHosts, Phase, Shutdown};

const PEER: Option<SocketAddr> = Some(SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    4321,
));

fn page() -> (ShutdownHandle, StatusPage) {
    let handle = Shutdown::new().handle();
    let page = StatusPage::new(&handle);
    (handle, page)
}

async fn ask(page: &StatusPage, method: Method, path: &str) -> Response<StatusBody> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    page.clone().call(request).await.unwrap()
}

async fn get(page: &StatusPage, path: &str) -> Response<StatusBody> {
    ask(page, Method::GET, path).await
}

async fn text(answer: Response<StatusBody>) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn snapshot(page: &StatusPage) -> Value {
    serde_json::from_str(&text(get(page, "/snapshot").await).await).unwrap()
}

/// A watcher.
struct Watching(StatusBody);

impl Watching {
    async fn begin(page: &StatusPage) -> Watching {
        let answer = get(page, "/live").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Watching(answer.into_body())
    }

    /// Returns the next snapshot; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        let next = tokio::time::timeout(Duration::from_secs(60), self.0.frame());
        let frame = next.await.expect("a snapshot in time")?;
        Some(Watching::read(&frame.unwrap().into_data().unwrap()))
    }

    /// Returns the snapshot that is available without waiting.
    fn at_once(&mut self) -> Option<Value> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => Some(Watching::read(&frame.into_data().unwrap())),
            Poll::Ready(Some(Err(never))) => match never {},
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    fn read(event: &Bytes) -> Value {
        let event = std::str::from_utf8(event).unwrap();
        let data = event.strip_prefix("data: ").unwrap();
        let document = data.strip_suffix("\n\n").unwrap();
        assert!(!document.contains('\n'), "one line");
        serde_json::from_str(document).unwrap()
    }
}

/// Returns a GET of this path from this peer.
fn get_of(path: &str, peer: Option<SocketAddr>) -> RequestInfo<'_> {
    let mut request = RequestInfo::from_peer(peer);
    request.method = Some("GET");
    request.path = Some(path);
    request
}
