//! gRPC calls as their operator sees them: the status in their trailers, and the method as their route.
#![cfg(all(feature = "tonic", feature = "metrics"))]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use lameduck::Server;
use lameduck::events::{Event, EventSink};
use lameduck::server::Running;
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceExt;

use crate::support::{LIMIT, Raw, within};

/// A protocol that needs no code generator, spoken by a service of our own.
struct Ours;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

#[tonic::async_trait]
impl Health for Ours {
    /// Fails with the code that is asked for.
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.get_ref().service.parse::<i32>() {
            Ok(code) => Err(Status::new(Code::from_i32(code), "as asked")),
            Err(_) => Ok(Response::new(HealthCheckResponse { status: 1 })),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Sends one answer, then fails, in trailers; "slow" is never answered.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if request.get_ref().service == "slow" {
            std::future::pending::<()>().await;
        }
        let one = [
            Ok(HealthCheckResponse { status: 1 }),
            Err(Status::data_loss("gone")),
        ];
        Ok(Response::new(Box::pin(tokio_stream::iter(one))))
    }
}

async fn start(server: Server) -> Running {
    let routes = Routes::new(HealthServer::new(Ours));
    let server = server.admin("127.0.0.1:0").serve("127.0.0.1:0", routes);
    server.spawn().await.unwrap()
}

async fn channel(running: &Running) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", running.addr().unwrap())).unwrap();
    within(LIMIT, "a connection", endpoint.connect())
        .await
        .unwrap()
}

fn ask(service: impl ToString) -> Request<HealthCheckRequest> {
    let service = service.to_string();
    Request::new(HealthCheckRequest { service })
}

async fn scrape(running: &Running) -> String {
    let admin: SocketAddr = running.admin_addr().unwrap();
    let mut client = Raw::connect(admin).await;
    let get = "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.ask(get).await.text()
}

/// Returns the line of a count.
fn count(route: &str, error: &str, code: i32, count: u32) -> String {
    format!(
        "http_server_request_duration_seconds_count{{http_request_method=\"POST\",http_route=\"{route}\",\
         http_response_status_code=\"200\",network_protocol_version=\"2\",error_type=\"{error}\",\
         rpc_grpc_status_code=\"{code}\"}} {count}\n"
    )
}

/// Calls a path of which the service knows nothing.
async fn call(channel: Channel, path: String) -> Status {
    let request = http::Request::post(path).header("content-type", "application/grpc");
    let request = request.body(tonic::body::Body::empty()).unwrap();
    let answer = within(LIMIT, "an answer", channel.oneshot(request))
        .await
        .unwrap();
    Status::from_header_map(answer.headers()).unwrap()
}

#[tokio::test]
async fn the_metrics_show_status_and_method() {
    let running = start(Server::for_tests()).await;
    let mut client = HealthClient::new(channel(&running).await);
    // The first call of a method may be a failure.
    for code in [13, 13, 5, 4] {
        client.check(ask(code)).await.unwrap_err();
    }
    client.check(ask("")).await.unwrap();
    let mut stream = client.watch(ask("")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::DataLoss);
    drop(stream);

    let metrics = scrape(&running).await;
    for line in [
        count(CHECK, "INTERNAL", 13, 2),
        count(CHECK, "", 5, 1),
        count(CHECK, "DEADLINE_EXCEEDED", 4, 1),
        count(CHECK, "", 0, 1),
        count(WATCH, "DATA_LOSS", 15, 1),
    ] {
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    assert!(!metrics.contains("unmatched"), "{metrics}");
}

#[tokio::test]
async fn methods_that_do_not_exist_are_one_route() {
    let running = start(Server::for_tests()).await;
    let channel = channel(&running).await;
    for n in 0..3 {
        for path in [
            format!("/a.B{n}/C"),
            format!("/grpc.health.v1.Health/Nothing{n}"),
        ] {
            let status = call(channel.clone(), path).await;
            assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        }
    }
    let metrics = scrape(&running).await;
    let line = count("unmatched", "UNIMPLEMENTED", 12, 6);
    assert!(metrics.contains(&line), "{metrics}");
    assert!(
        !metrics.contains("Nothing") && !metrics.contains("a.B"),
        "{metrics}"
    );
}

#[cfg(feature = "rate-limit")]
#[tokio::test]
async fn a_refusal_does_not_add_the_method_that_it_names() {
    let quota = lameduck::rate_limit::Quota::per_hour(1);
    let running = start(Server::for_tests().rate_limit(quota)).await;
    let channel = channel(&running).await;
    HealthClient::new(channel.clone())
        .check(ask(""))
        .await
        .unwrap();
    let status = call(channel, "/a.B/C".to_owned()).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let metrics = scrape(&running).await;
    assert!(metrics.contains(&count("unmatched", "", 8, 1)), "{metrics}");
    assert!(metrics.contains(&count(CHECK, "", 0, 1)), "{metrics}");
}

/// Asks for health until it has changed or the time is up.
async fn health(client: &mut HealthClient<Channel>, service: &str) -> Result<i32, Code> {
    let answer = within(LIMIT, "an answer", client.check(ask(service))).await;
    let answer = answer.map(|answer| answer.get_ref().status);
    answer.map_err(|status| status.code())
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// Serves without a health service among the routes.
async fn start_with_health(server: Server) -> (Running, HealthClient<Channel>) {
    let server = server.grpc_health(|health| health.service("shop.Tally"));
    let server = server.serve("127.0.0.1:0", Routes::default()).spawn();
    let running = server.await.unwrap();
    let client = HealthClient::new(channel(&running).await);
    (running, client)
}

#[tokio::test]
async fn the_health_service_follows_the_checks_of_the_server_however_late_they_are_set() {
    let (_running, mut client) = start_with_health(Server::for_tests()).await;
    assert_eq!(health(&mut client, "shop.Tally").await, Ok(SERVING));
    assert_eq!(health(&mut client, "shop.Other").await, Err(Code::NotFound));

    let server = Server::for_tests().grpc_health(|health| health);
    let server = server.check("disk", || async { Err::<(), _>("full") });
    let running = server.serve("127.0.0.1:0", Routes::default()).spawn();
    let running = running.await.unwrap();
    let mut client = HealthClient::new(channel(&running).await);
    assert_eq!(health(&mut client, "").await, Ok(NOT_SERVING));
}

#[cfg(feature = "rate-limit")]
#[tokio::test]
async fn the_health_service_is_not_rate_limited_as_readiness_is_not() {
    let quota = lameduck::rate_limit::Quota::per_hour(1);
    let (running, mut client) = start_with_health(Server::for_tests().rate_limit(quota)).await;
    for _ in 0..3 {
        assert_eq!(health(&mut client, "").await, Ok(SERVING));
    }
    // And is not counted: the quota is still there.
    let channel = channel(&running).await;
    let status = call(channel.clone(), "/a.B/C".to_owned()).await;
    assert_eq!(status.code(), Code::Unimplemented);
    let status = call(channel, "/a.B/C".to_owned()).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[cfg(feature = "rate-limit")]
#[tokio::test]
async fn what_is_exempt_has_no_quota() {
    let quota = lameduck::rate_limit::Quota::per_hour(1);
    let server = Server::for_tests()
        .rate_limit_layer(|layer| layer.exempt(|head| head.uri.path() == "/a.B/Free"))
        .rate_limit(quota);
    let (running, _) = start_with_health(server).await;
    let channel = channel(&running).await;
    for (path, code) in [
        ("/a.B/Free", Code::Unimplemented),
        ("/a.B/Free", Code::Unimplemented),
        ("/a.B/Other", Code::Unimplemented),
        ("/a.B/Other", Code::ResourceExhausted),
        ("/a.B/Free", Code::Unimplemented),
    ] {
        let status = call(channel.clone(), path.to_owned()).await;
        assert_eq!(status.code(), code, "{path}");
    }
}

#[tokio::test]
async fn a_second_health_of_one_server_is_an_error() {
    let server = Server::for_tests();
    let second = lameduck::Health::new(server.handle().lifecycle());
    let routes = Routes::new(second.grpc().server());
    let error = server
        .serve("127.0.0.1:0", routes)
        .spawn()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Server::grpc_health"), "{error}");
}

#[tokio::test]
async fn routes_are_named_by_the_function_that_is_set() {
    let server = Server::for_tests().metrics(|metrics| metrics.route(|_| Some("/all")));
    let running = start(server).await;
    let mut client = HealthClient::new(channel(&running).await);
    client.check(ask("")).await.unwrap();
    let metrics = scrape(&running).await;
    assert!(metrics.contains(&count("/all", "", 0, 1)), "{metrics}");
}

#[tokio::test]
async fn a_layer_of_one_method_is_added_to_the_routes_as_the_service_is() {
    let watch = lameduck::route()
        .timeout(std::time::Duration::from_millis(50))
        .when(|head| head.uri.path() == WATCH);
    let ours = tower::ServiceBuilder::new()
        .layer(watch)
        .service(HealthServer::new(Ours));
    let server = Server::for_tests()
        .serve("127.0.0.1:0", Routes::new(ours))
        .spawn();
    let running = server.await.unwrap();
    let mut client = HealthClient::new(channel(&running).await);
    client.check(ask("slow")).await.unwrap();
    assert_eq!(
        client.watch(ask("slow")).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
}

#[tokio::test]
async fn the_request_in_flight_is_named_by_its_method() {
    let running = start(Server::for_tests()).await;
    let mut client = HealthClient::new(channel(&running).await);
    let call = tokio::spawn(async move { client.watch(ask("slow")).await.map(drop) });
    let reached = async {
        while named(&running).await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    within(LIMIT, "the call", reached).await;
    call.abort();
}

/// Returns the page's list of requests in flight once it names the method as a route.
async fn named(running: &Running) -> Option<String> {
    let mut client = Raw::connect(running.admin_addr().unwrap()).await;
    let get = "GET /snapshot HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let page = client.ask(get).await.text();
    page.contains(&format!("\"route\":\"{WATCH}\""))
        .then_some(page)
}

#[tokio::test]
async fn a_call_is_one_in_the_events_of_the_server_whatever_its_path() {
    let calls = Arc::<Mutex<Vec<bool>>>::default();
    let seen = calls.clone();
    let events = EventSink::to(move |event: &Event<'_>| {
        if let Event::ServiceError { request, .. } = event {
            seen.lock().unwrap().push(request.grpc);
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let broken = tower::service_fn(|_: http::Request<lameduck::serve::RequestBody>| async {
        Err::<http::Response<http_body_util::Full<bytes::Bytes>>, _>("broken")
    });
    let shutdown = lameduck::Shutdown::for_tests();
    let handle = shutdown.handle();
    let serve = lameduck::serve(listener, broken).events(events);
    let server = tokio::spawn(serve.shutdown(shutdown).into_future());
    for (path, kind) in [
        ("/shop.Orders/List", "application/grpc"),
        ("/no/method/of/one", "application/grpc-web-text"),
        ("/shop.Orders/List", "text/plain"),
    ] {
        let mut client = Raw::connect(addr).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}");
        client
            .ask(format!("{head}\r\ncontent-length: 0\r\n\r\n"))
            .await;
    }
    handle.drain_now();
    server.await.unwrap().unwrap();
    assert_eq!(*calls.lock().unwrap(), [true, true, false]);
}
