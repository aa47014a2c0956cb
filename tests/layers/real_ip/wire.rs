//! Resolution through `serve`, which provides the peer.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::serve::RequestBody;
use lameduck::{ClientIp, ConnInfo, RealIpLayer};
use tower::{Layer, service_fn};

use crate::support::Setup;

#[tokio::test]
async fn server_names_the_peer_and_the_proxy_the_client() {
    for (layer, expected) in [
        (
            RealIpLayer::new("loopback".parse().unwrap()),
            "Some(203.0.113.9) forwarded",
        ),
        (
            RealIpLayer::new("private".parse().unwrap()),
            "Some(127.0.0.1) ignored",
        ),
        (RealIpLayer::hops(3), "Some(6.6.6.6) forwarded"),
        (RealIpLayer::hops(4).refuse_unknown(), "refused"),
        (RealIpLayer::off(), "not determined"),
    ] {
        let service = layer.layer(service_fn(|request: Request<RequestBody>| async move {
            let info = request.extensions().get::<ConnInfo>().unwrap();
            assert!(info.peer.unwrap().ip().is_loopback());
            let text = match ClientIp::of(request.extensions()) {
                Some(client) => format!("{:?} {}", client.ip, client.source),
                None => "not determined".to_owned(),
            };
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
        }));
        let server = Setup::new().start(service).await;
        let answer = server
            .connect()
            .await
            .ask(
                "GET / HTTP/1.1\r\nhost: here\r\nx-forwarded-for: 6.6.6.6\r\n\
                 X-Forwarded-For: 203.0.113.9,127.0.0.2:80\r\n\r\n",
            )
            .await;
        match expected {
            "refused" => assert_eq!(answer.status, 400),
            expected => assert_eq!((answer.status, answer.text().as_str()), (200, expected)),
        }
    }
}
