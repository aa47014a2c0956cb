use super::{ClientIpSource, ip};
use crate::conn_info::{ClientIp, ConnInfo};
use crate::events::{Event, EventSink};
use crate::real_ip::*;
use crate::reply::ReplyBody;
use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::Full;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tower::{Layer, ServiceExt, service_fn};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn private() -> RealIpLayer {
    RealIpLayer::new("private".parse().unwrap())
}

fn from(peer: &str) -> Request<()> {
    Request::get("/")
        .header("x-forwarded-for", "203.0.113.9")
        .extension(ConnInfo::new(Some(addr(peer)), Some(addr("10.9.9.9:80"))))
        .body(())
        .unwrap()
}

/// Returns the response, and the extensions that the inner service saw.
async fn call(
    layer: &RealIpLayer,
    request: Request<()>,
) -> (Response<ReplyBody<Full<Bytes>>>, Option<http::Extensions>) {
    let seen = Arc::new(Mutex::new(None));
    let see = seen.clone();
    let service = layer.layer(service_fn(move |request: Request<()>| {
        *see.lock().unwrap() = Some(request.extensions().clone());
        async { Ok::<_, Infallible>(Response::new(Full::default())) }
    }));
    let answer = service.oneshot(request).await.unwrap();
    let seen = seen.lock().unwrap().take();
    (answer, seen)
}

async fn found(layer: &RealIpLayer, request: Request<()>) -> ClientIp {
    let (_, seen) = call(layer, request).await;
    ClientIp::of(&seen.unwrap()).unwrap()
}

#[tokio::test]
async fn the_client_is_written_into_the_connections_extension() {
    let (_, seen) = call(&private(), from("10.0.0.1:4000")).await;
    let seen = seen.unwrap();
    let info = seen.get::<ConnInfo>().unwrap();
    assert_eq!(info.peer, Some(addr("10.0.0.1:4000")), "unchanged");
    assert_eq!(info.local, Some(addr("10.9.9.9:80")));
    let client = ClientIp::new(
        Some(ip("203.0.113.9")),
        info.peer,
        ClientIpSource::Forwarded,
    );
    assert_eq!(info.client, Some(client));
    assert_eq!(ClientIp::of(&seen), Some(client));
}

#[tokio::test]
async fn a_missing_extension_is_inserted() {
    let found = found(&private(), Request::default()).await;
    assert_eq!(found, ClientIp::new(None, None, ClientIpSource::Unknown));
}

#[tokio::test]
async fn off_touches_nothing() {
    let off = RealIpLayer::off()
        .refuse_unknown()
        .header(ClientIpHeader::Forwarded);
    let (answer, seen) = call(&off, Request::default()).await;
    assert_eq!(answer.status(), 200);
    assert!(seen.unwrap().is_empty());
}

#[tokio::test]
async fn the_peer_of_another_server() {
    #[derive(Clone)]
    struct Theirs(SocketAddr);
    let layer = private().peer(|extensions| Some(extensions.get::<Theirs>()?.0));
    let mut request = from("192.0.2.1:4000");
    request
        .extensions_mut()
        .insert(Theirs(addr("10.0.0.1:4000")));
    let found = found(&layer, request).await;
    assert_eq!(found.source, ClientIpSource::Forwarded);
    assert_eq!(found.peer, Some(addr("10.0.0.1:4000")));
}

#[tokio::test]
async fn the_inner_of_two_layers_wins() {
    let inner = RealIpLayer::hops(0).layer(service_fn(|request: Request<()>| async move {
        assert_eq!(
            ClientIp::of(request.extensions()).unwrap().source,
            ClientIpSource::Ignored
        );
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    private()
        .layer(inner)
        .oneshot(from("10.0.0.1:4000"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_ignored_header_is_emitted_with_its_name_and_peer() {
    let emitted = Arc::new(Mutex::new(Vec::new()));
    let sink = emitted.clone();
    let layer = private().events(EventSink::to(move |event: &Event<'_>| {
        if let Event::ClientAddress {
            source,
            peer,
            header,
        } = event
        {
            let seen = (*source, *peer, header.to_string());
            sink.lock().unwrap().push(seen);
        }
    }));
    let client = found(&layer, from("[::ffff:192.0.2.1]:4000")).await;
    let peer = Some(ip("192.0.2.1"));
    assert_eq!((client.ip, client.source), (peer, ClientIpSource::Ignored));
    let mut silent = from("192.0.2.1:4000");
    silent.headers_mut().clear();
    assert_eq!(found(&layer, silent).await.source, ClientIpSource::Peer);
    let expected = [ClientIpSource::Ignored, ClientIpSource::Peer]
        .map(|source| (source, peer, "x-forwarded-for".to_owned()));
    assert_eq!(*emitted.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_client_without_an_address_passes_or_is_refused() {
    let emitted = Arc::new(Mutex::new(Vec::new()));
    let sink = emitted.clone();
    let events =
        EventSink::to(move |event: &Event<'_>| sink.lock().unwrap().push(event.to_string()));
    let layer = RealIpLayer::hops(2).events(events);

    let (answer, seen) = call(&layer, from("10.0.0.1:4000")).await;
    assert_eq!(answer.status(), 200);
    let client = ClientIp::of(&seen.unwrap()).unwrap();
    assert_eq!(client.ip, None, "not the proxy's address");

    let layer = layer.refuse_unknown();
    let (answer, seen) = call(&layer, from("10.0.0.1:4000")).await;
    assert_eq!(answer.status(), 400);
    assert!(seen.is_none());
    let mut grpc = from("10.0.0.1:4000");
    *grpc.version_mut() = Version::HTTP_2;
    *grpc.method_mut() = Method::POST;
    grpc.headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let (answer, _) = call(&layer, grpc).await;
    assert_eq!(answer.headers()["grpc-status"], "3");

    let source = "client address: too_few";
    let refused =
        ["GET", "POST"].map(|method| format!("refused: client_unknown {method} / (10.0.0.1:4000)"));
    let expected = [source, source, &refused[0], source, &refused[1]];
    assert_eq!(*emitted.lock().unwrap(), expected);
}
