//! gRPC through `serve`, with a real tonic client: unary, server streaming, refusals, deadlines.

use std::time::Duration;

use lameduck::{DrainLayer, InFlightLayer, Phase, Shutdown, Timeouts};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;
use tower::ServiceBuilder;

const LONG: Duration = Duration::from_secs(5);

struct Bed {
    client: HealthClient<Channel>,
    health: HealthReporter,
    handle: lameduck::shutdown::ShutdownHandle,
    in_flight: lameduck::in_flight::InFlightHandle,
    server: tokio::task::JoinHandle<Result<lameduck::Report, lameduck::serve::ServeError>>,
}

async fn bed(timeouts: Timeouts) -> Bed {
    let (health, service) = tonic_health::server::health_reporter();
    health.set_service_status("", ServingStatus::Serving).await;
    let shutdown = Shutdown::new()
        .signals(false)
        .lame_duck(Duration::ZERO)
        .drain(Duration::from_secs(2));
    let handle = shutdown.handle();
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = ServiceBuilder::new()
        .layer(layer)
        .layer(DrainLayer::new(handle.lifecycle()).retry_after(Duration::from_secs(2)))
        .service(Routes::new(service));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let server = lameduck::serve(listener, service)
        .timeouts(timeouts)
        .shutdown(shutdown);
    let server = tokio::spawn(server.into_future());
    let channel = Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
    Bed {
        client: HealthClient::new(channel),
        health,
        handle,
        in_flight,
        server,
    }
}

fn ask() -> HealthCheckRequest {
    HealthCheckRequest::default()
}

#[tokio::test]
async fn unary_call_is_answered() {
    let mut bed = bed(Timeouts::default()).await;
    let answer = timeout(LONG, bed.client.check(ask()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32);
    drop(bed.client);
    bed.in_flight.wait_idle().await;
    bed.handle.shutdown();
    let report = timeout(LONG, bed.server).await.unwrap().unwrap().unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.requests, 1);
}

#[tokio::test]
async fn stream_continues_through_the_drain_and_a_new_call_is_unavailable() {
    let mut bed = bed(Timeouts::default()).await;
    let watch = timeout(LONG, bed.client.watch(ask()))
        .await
        .unwrap()
        .unwrap();
    let mut watch = watch.into_inner();
    let first = timeout(LONG, watch.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(first.status, ServingStatus::Serving as i32);

    // Only the phase moves, without the server's GOAWAY: this is what a call on its way meets.
    bed.handle.lifecycle().advance(Phase::Draining);
    let refused = timeout(LONG, bed.client.check(ask()))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let pushback = refused.metadata().get("grpc-retry-pushback-ms");
    assert_eq!(pushback.unwrap(), "2000");

    bed.health
        .set_service_status("", ServingStatus::NotServing)
        .await;
    let second = timeout(LONG, watch.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(second.status, ServingStatus::NotServing as i32);

    bed.handle.shutdown();
    drop(watch);
    drop(bed.client);
    let report = timeout(LONG, bed.server).await.unwrap().unwrap().unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn endless_stream_is_cut_and_reported() {
    let mut bed = bed(Timeouts::default()).await;
    let watch = timeout(LONG, bed.client.watch(ask()))
        .await
        .unwrap()
        .unwrap();
    let mut watch = watch.into_inner();
    timeout(LONG, watch.message()).await.unwrap().unwrap();
    bed.handle.shutdown();
    let report = timeout(LONG, bed.server).await.unwrap().unwrap().unwrap();
    assert_eq!(report.cut.len(), 1, "{report}");
    assert_eq!(report.cut[0].path, "/grpc.health.v1.Health/Watch");
    let end = timeout(LONG, watch.message()).await.unwrap();
    assert!(end.is_err(), "a cut stream is no end: {end:?}");
}

#[tokio::test]
async fn write_deadline_ends_only_its_stream() {
    let timeouts = Timeouts::default().write(Duration::from_millis(300));
    let mut bed = bed(timeouts).await;
    let watch = timeout(LONG, bed.client.watch(ask()))
        .await
        .unwrap()
        .unwrap();
    let mut watch = watch.into_inner();
    timeout(LONG, watch.message()).await.unwrap().unwrap();
    let end = timeout(LONG, watch.message()).await.unwrap();
    assert!(end.is_err(), "{end:?}");
    let answer = timeout(LONG, bed.client.check(ask())).await.unwrap();
    assert!(answer.is_ok(), "the connection lives: {answer:?}");
    drop(bed.client);
    bed.in_flight.wait_idle().await;
    bed.handle.shutdown();
    assert!(
        timeout(LONG, bed.server)
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .is_clean()
    );
}
