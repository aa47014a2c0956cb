//! The stack as a tonic client sees it, on tonic's server and on this crate's.

use std::pin::Pin;
use std::time::Duration;

use lameduck::rate_limit::Quota;
use lameduck::{
    BodyLimitLayer, ClientIp, Lifecycle, Phase, RateLimitLayer, RealIpLayer, Stack, TimeoutLayer,
};
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceBuilder;

use super::places::Place;
use crate::support::{LIMIT, ms, within};

/// A protocol that needs no code generator, spoken by a service of our own.
struct Ours;

#[tonic::async_trait]
impl Health for Ours {
    /// Answers with the client's address in the metadata; never answers "slow".
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.get_ref().service == "slow" {
            std::future::pending::<()>().await;
        }
        let client = ClientIp::of(request.extensions()).and_then(|client| client.ip);
        let mut response = Response::new(HealthCheckResponse { status: 1 });
        if let Some(client) = client {
            let client = client.to_string().parse().unwrap();
            response.metadata_mut().insert("client", client);
        }
        Ok(response)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Sends three answers, and for "slow" an endless stream.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let three = tokio_stream::iter(1..=3).map(|status| Ok(HealthCheckResponse { status }));
        if request.get_ref().service == "slow" {
            let endless = three.chain(tokio_stream::pending());
            return Ok(Response::new(Box::pin(endless)));
        }
        Ok(Response::new(Box::pin(three)))
    }
}

/// Reads the peer as tonic's server provides it.
fn real_ip_by_tonic(layer: RealIpLayer) -> RealIpLayer {
    layer.peer(|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr())
}

async fn by_tonic(stack: Stack) -> Place {
    let server = Server::builder()
        .layer(stack)
        .add_service(HealthServer::new(Ours));
    Place::spawn(|listener| async move {
        let incoming = TcpIncoming::from(listener);
        server.serve_with_incoming(incoming).await.unwrap();
    })
    .await
}

async fn by_lameduck(stack: Stack) -> Place {
    let routes = Routes::new(HealthServer::new(Ours));
    Place::serve(ServiceBuilder::new().layer(stack).service(routes)).await
}

#[tokio::test]
async fn tonic_on_its_own_server() {
    promises(by_tonic, real_ip_by_tonic).await;
}

#[tokio::test]
async fn tonic_routes_on_lameduck_serve() {
    promises(by_lameduck, |layer| layer).await;
}

async fn promises(place: impl AsyncFn(Stack) -> Place, with: fn(RealIpLayer) -> RealIpLayer) {
    calls_pass_and_know_their_client(&place, with).await;
    a_client_of_unknown_address_is_an_invalid_argument(&place, with).await;
    a_message_too_large_is_resource_exhausted(&place).await;
    a_client_over_its_quota_is_told_when_to_come_back(&place, with).await;
    a_slow_call_is_over_its_deadline(&place).await;
    a_slow_stream_is_over_its_deadline(&place).await;
    a_drain_is_unavailable_and_spares_what_runs(&place).await;
}

fn stack() -> Stack {
    lameduck::stack(&Lifecycle::new())
}

async fn connect(place: &Place) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", place.addr)).unwrap();
    let channel = within(LIMIT, "a connection", endpoint.connect()).await;
    HealthClient::new(channel.unwrap())
}

type Client = HealthClient<Channel>;

async fn check(client: &mut Client, request: Request<HealthCheckRequest>) -> Checked {
    within(LIMIT, "an answer", client.check(request)).await
}

type Checked = Result<Response<HealthCheckResponse>, Status>;

fn ask(service: &str) -> Request<HealthCheckRequest> {
    let service = service.to_owned();
    Request::new(HealthCheckRequest { service })
}

fn ask_as(client: &str) -> Request<HealthCheckRequest> {
    let mut request = ask("");
    let metadata = request.metadata_mut();
    metadata.insert("x-forwarded-for", client.parse().unwrap());
    request
}

fn pushback(status: &Status) -> Option<u64> {
    let value = status.metadata().get("grpc-retry-pushback-ms")?;
    Some(value.to_str().unwrap().parse().unwrap())
}

async fn calls_pass_and_know_their_client(
    place: impl AsyncFn(Stack) -> Place,
    with: fn(RealIpLayer) -> RealIpLayer,
) {
    let layer = with(RealIpLayer::new("loopback".parse().unwrap()));
    let stack = stack().real_ip(layer);
    let in_flight = stack.in_flight_handle();
    let place = place(stack).await;
    let mut client = connect(&place).await;

    let answer = check(&mut client, ask_as("203.0.113.9")).await.unwrap();
    assert_eq!(answer.metadata().get("client").unwrap(), "203.0.113.9");
    let answer = check(&mut client, ask("")).await.unwrap();
    assert_eq!(answer.metadata().get("client").unwrap(), "127.0.0.1");

    let stream = client.watch(ask("")).await.unwrap().into_inner();
    let all = within(LIMIT, "the stream", stream.collect::<Vec<_>>()).await;
    let all: Vec<_> = all.into_iter().map(|one| one.unwrap().status).collect();
    assert_eq!(all, [1, 2, 3]);
    within(LIMIT, "idle", in_flight.wait_idle()).await;
}

async fn a_client_of_unknown_address_is_an_invalid_argument(
    place: impl AsyncFn(Stack) -> Place,
    with: fn(RealIpLayer) -> RealIpLayer,
) {
    let layer = with(RealIpLayer::hops(2)).refuse_unknown();
    let place = place(stack().real_ip(layer)).await;
    let refused = check(&mut connect(&place).await, ask("")).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

async fn a_message_too_large_is_resource_exhausted(place: impl AsyncFn(Stack) -> Place) {
    let place = place(stack().body_limit(BodyLimitLayer::new(64))).await;
    let mut client = connect(&place).await;
    let refused = check(&mut client, ask(&"x".repeat(100))).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(pushback(&refused), None);
    assert!(check(&mut client, ask(&"x".repeat(50))).await.is_ok());
}

async fn a_client_over_its_quota_is_told_when_to_come_back(
    place: impl AsyncFn(Stack) -> Place,
    with: fn(RealIpLayer) -> RealIpLayer,
) {
    let limit = RateLimitLayer::new(Quota::per_hour(1)).unwrap();
    let layer = with(RealIpLayer::new("loopback".parse().unwrap()));
    let place = place(stack().real_ip(layer).rate_limit(limit)).await;
    let mut client = connect(&place).await;
    assert!(check(&mut client, ask_as("203.0.113.9")).await.is_ok());
    let refused = check(&mut client, ask_as("203.0.113.9")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let wait = pushback(&refused).unwrap();
    assert!((3_500_000..=3_600_000).contains(&wait), "{wait}");
    assert!(check(&mut client, ask_as("203.0.113.10")).await.is_ok());
}

async fn a_slow_call_is_over_its_deadline(place: impl AsyncFn(Stack) -> Place) {
    let place = place(stack().timeout(TimeoutLayer::new(ms(50)))).await;
    let mut client = connect(&place).await;
    let refused = check(&mut client, ask("slow")).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert!(
        check(&mut client, ask("")).await.is_ok(),
        "the connection lives"
    );
}

async fn a_slow_stream_is_over_its_deadline(place: impl AsyncFn(Stack) -> Place) {
    let timeout = TimeoutLayer::new(ms(300)).whole_response();
    let place = place(stack().timeout(timeout)).await;
    let mut client = connect(&place).await;
    let stream = client.watch(ask("slow")).await.unwrap().into_inner();
    let mut all = within(LIMIT, "the stream", stream.collect::<Vec<_>>()).await;
    let end = all.pop().unwrap().unwrap_err();
    assert_eq!(all.len(), 3);
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end:?}");
}

async fn a_drain_is_unavailable_and_spares_what_runs(place: impl AsyncFn(Stack) -> Place) {
    let lifecycle = Lifecycle::new();
    let drain = lameduck::DrainLayer::new(&lifecycle).retry_after(Duration::from_secs(7));
    let place = place(lameduck::stack(&lifecycle).drain(drain)).await;
    let mut client = connect(&place).await;
    let running = client.watch(ask("")).await.unwrap().into_inner();

    lifecycle.advance(Phase::Draining);
    let refused = check(&mut client, ask("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(pushback(&refused), Some(7000));
    let all = within(LIMIT, "the stream", running.collect::<Vec<_>>()).await;
    assert!(all.len() == 3 && all.iter().all(Result::is_ok), "{all:?}");
}
