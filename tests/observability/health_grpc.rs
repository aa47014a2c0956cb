//! gRPC health, with a real tonic client, on this crate's server and on tonic's.
#![cfg(feature = "tonic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use lameduck::health::Health;
use lameduck::{DrainLayer, InFlightLayer, Lifecycle, Phase, Report, Shutdown};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceBuilder;

use crate::support::{LIMIT, Setup, ms, within};

type Client = HealthClient<Channel>;

async fn connect(addr: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let channel = within(LIMIT, "a connection", endpoint.connect()).await;
    HealthClient::new(channel.unwrap())
}

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn check(client: &mut Client, service: &str) -> Result<ServingStatus, Status> {
    let answer = within(LIMIT, "an answer", client.check(ask(service))).await?;
    Ok(answer.into_inner().status())
}

struct Watch(Streaming<HealthCheckResponse>);

impl Watch {
    async fn open(client: &mut Client, service: &str) -> Watch {
        let answer = within(LIMIT, "a watch", client.watch(ask(service))).await;
        Watch(answer.unwrap().into_inner())
    }

    /// Returns the next status; `None` when the stream has ended well.
    async fn next(&mut self) -> Option<ServingStatus> {
        let next = within(LIMIT, "the watch's next", self.0.next()).await?;
        Some(next.unwrap().status())
    }

    async fn is_silent(&mut self) {
        assert!(tokio::time::timeout(ms(200), self.0.next()).await.is_err());
    }
}

/// Starts `lameduck::serve`, with the layers that follow the drain.
async fn by_lameduck(shutdown: Shutdown, health: &Health) -> (SocketAddr, JoinHandle<Report>) {
    let routes = Routes::new(health.grpc().service("helloworld.Greeter").server());
    let service = ServiceBuilder::new()
        .layer(InFlightLayer::new())
        .layer(DrainLayer::new(shutdown.handle().lifecycle()))
        .service(routes);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = lameduck::serve(listener, service).shutdown(shutdown);
    (addr, tokio::spawn(async move { server.await.unwrap() }))
}

/// Starts tonic's server, which stops when the process begins to leave.
async fn by_tonic(lifecycle: &Lifecycle, health: &Health) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = health.grpc().service("helloworld.Greeter").server();
    let lifecycle = lifecycle.clone();
    let server = tokio::spawn(async move {
        let incoming = TcpIncoming::from(listener);
        let signal = lifecycle.draining();
        let router = Server::builder().add_service(service);
        let served = router.serve_with_incoming_shutdown(incoming, signal).await;
        served.unwrap();
    });
    (addr, server)
}

/// Asserts what both servers' clients see up to the lame duck.
async fn until_the_lame_duck(client: &mut Client, lifecycle: &Lifecycle) -> [Watch; 3] {
    let mut all = Watch::open(client, "").await;
    let mut greeter = Watch::open(client, "helloworld.Greeter").await;
    let mut unknown = Watch::open(client, "helloworld.Nobody").await;
    assert_eq!(unknown.next().await, Some(ServingStatus::ServiceUnknown));
    for watch in [&mut all, &mut greeter] {
        if lifecycle.phase() == Phase::Starting {
            assert_eq!(watch.next().await, Some(ServingStatus::NotServing));
        }
    }
    if lifecycle.phase() == Phase::Starting {
        assert_eq!(check(client, "").await.unwrap(), ServingStatus::NotServing);
        lifecycle.advance(Phase::Ready);
    }
    for watch in [&mut all, &mut greeter] {
        assert_eq!(watch.next().await, Some(ServingStatus::Serving));
    }
    assert_eq!(check(client, "").await.unwrap(), ServingStatus::Serving);
    let greeter_is = check(client, "helloworld.Greeter").await.unwrap();
    assert_eq!(greeter_is, ServingStatus::Serving);
    let refused = check(client, "helloworld.Nobody").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    all.is_silent().await;
    [all, greeter, unknown]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_ends_with_the_drain_on_lameduck_serve() {
    let shutdown = Shutdown::new().signals(false).lame_duck(ms(1500));
    let handle = shutdown.handle();
    let health = Health::new(handle.lifecycle());
    let (addr, server) = by_lameduck(shutdown, &health).await;
    within(LIMIT, "ready", handle.lifecycle().reached(Phase::Ready)).await;
    let mut client = connect(addr).await;
    let [mut all, mut greeter, mut unknown] =
        until_the_lame_duck(&mut client, handle.lifecycle()).await;

    handle.shutdown();
    for watch in [&mut all, &mut greeter] {
        assert_eq!(watch.next().await, Some(ServingStatus::NotServing));
    }
    assert_eq!(handle.lifecycle().phase(), Phase::LameDuck);
    assert_eq!(
        check(&mut client, "").await.unwrap(),
        ServingStatus::NotServing
    );
    all.is_silent().await;
    for watch in [&mut all, &mut greeter, &mut unknown] {
        assert_eq!(watch.next().await, None);
    }
    assert!(handle.lifecycle().phase() >= Phase::Draining);
    drop(client);
    let report = within(LIMIT, "the report", server).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(1000), "held up: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_reports_not_serving_without_a_lame_duck() {
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let health = Health::new(handle.lifecycle());
    let (addr, server) = by_lameduck(shutdown, &health).await;
    within(LIMIT, "ready", handle.lifecycle().reached(Phase::Ready)).await;
    let mut client = connect(addr).await;
    let mut watch = Watch::open(&mut client, "").await;
    assert_eq!(watch.next().await, Some(ServingStatus::Serving));
    handle.drain_now();
    assert_eq!(watch.next().await, Some(ServingStatus::NotServing));
    assert_eq!(watch.next().await, None);
    let report = within(LIMIT, "the report", server).await.unwrap();
    assert!(report.is_clean() && report.drain < ms(1000), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_ends_with_the_drain_on_tonics_server() {
    let lifecycle = Lifecycle::new();
    let health = Health::new(&lifecycle);
    let (addr, server) = by_tonic(&lifecycle, &health).await;
    let mut client = connect(addr).await;
    let [mut all, mut greeter, mut unknown] = until_the_lame_duck(&mut client, &lifecycle).await;

    lifecycle.advance(Phase::LameDuck);
    for watch in [&mut all, &mut greeter] {
        assert_eq!(watch.next().await, Some(ServingStatus::NotServing));
        watch.is_silent().await;
    }
    assert!(!server.is_finished(), "tonic waits for streams");
    let before = Instant::now();
    lifecycle.advance(Phase::Draining);
    for watch in [&mut all, &mut greeter, &mut unknown] {
        assert_eq!(watch.next().await, None);
    }
    within(LIMIT, "tonic's end", server).await.unwrap();
    assert!(before.elapsed() < ms(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_outlives_the_write_deadline() {
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Ready);
    let health = Health::new(&lifecycle);
    let timeouts = lameduck::Timeouts::default().write(ms(300));
    let routes = Routes::new(health.grpc().server());
    let server = Setup::new().timeouts(timeouts).start(routes).await;
    let mut client = connect(server.addr).await;
    let mut watch = Watch::open(&mut client, "").await;
    assert_eq!(watch.next().await, Some(ServingStatus::Serving));
    tokio::time::sleep(ms(900)).await;
    watch.is_silent().await;
    lifecycle.advance(Phase::Draining);
    assert_eq!(watch.next().await, Some(ServingStatus::NotServing));
    assert_eq!(watch.next().await, None);
}

/// Returns a switchable check that counts its calls.
fn switch() -> (Arc<AtomicBool>, Arc<AtomicUsize>, impl Check) {
    let (well, runs) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (look, count) = (well.clone(), runs.clone());
    let check = move || {
        count.fetch_add(1, SeqCst);
        std::future::ready(match look.load(SeqCst) {
            true => Ok(()),
            false => Err("away"),
        })
    };
    (well, runs, check)
}

trait Check: Fn() -> std::future::Ready<Result<(), &'static str>> + Send + Sync + 'static {}

impl<F> Check for F where
    F: Fn() -> std::future::Ready<Result<(), &'static str>> + Send + Sync + 'static
{
}

/// The gRPC service itself, without a socket, so that the clock can be paused.
mod paused {
    use super::*;
    use tonic_health::pb::health_server::Health as _;

    async fn watch(grpc: &lameduck::health::GrpcHealth) -> lameduck::health::WatchStream {
        let request = tonic::Request::new(ask(""));
        grpc.watch(request).await.unwrap().into_inner()
    }

    async fn status(watch: &mut lameduck::health::WatchStream) -> Option<ServingStatus> {
        Some(watch.next().await?.unwrap().status())
    }

    #[tokio::test(start_paused = true)]
    async fn watch_rechecks_by_itself() {
        let lifecycle = Lifecycle::new();
        lifecycle.advance(Phase::Ready);
        let (well, runs, check) = switch();
        let grpc = Health::new(&lifecycle).check("db", check).grpc();
        let mut one = watch(&grpc).await;
        let mut other = watch(&grpc).await;
        assert_eq!(status(&mut one).await, Some(ServingStatus::Serving));
        assert_eq!(status(&mut other).await, Some(ServingStatus::Serving));
        assert_eq!(runs.load(SeqCst), 1, "they share it");

        well.store(false, SeqCst);
        let before = tokio::time::Instant::now();
        assert_eq!(status(&mut one).await, Some(ServingStatus::NotServing));
        assert_eq!(before.elapsed(), Duration::from_secs(5));
        assert_eq!(status(&mut other).await, Some(ServingStatus::NotServing));
        assert_eq!(
            before.elapsed(),
            Duration::from_secs(5),
            "reported by the same run"
        );
        assert_eq!(runs.load(SeqCst), 2);

        well.store(true, SeqCst);
        assert_eq!(status(&mut one).await, Some(ServingStatus::Serving));
        lifecycle.advance(Phase::Draining);
        assert_eq!(status(&mut one).await, Some(ServingStatus::NotServing));
        assert_eq!(status(&mut one).await, None);
        assert_eq!(status(&mut one).await, None, "and stays ended");
    }

    #[tokio::test(start_paused = true)]
    async fn watch_sees_checks_run_for_others() {
        let lifecycle = Lifecycle::new();
        lifecycle.advance(Phase::Ready);
        let (well, _, check) = switch();
        let health = Health::new(&lifecycle).check("db", check);
        let grpc = health.grpc().recheck(Duration::MAX);
        let mut one = watch(&grpc).await;
        assert_eq!(status(&mut one).await, Some(ServingStatus::Serving));
        well.store(false, SeqCst);
        let heard = tokio::spawn(async move { status(&mut one).await });
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!heard.is_finished());
        assert!(!health.readiness_report().await.is_ok());
        assert_eq!(heard.await.unwrap(), Some(ServingStatus::NotServing));
    }

    #[tokio::test(start_paused = true)]
    async fn watch_is_no_polling_loop() {
        // The check is uncached, so that a watch that woke itself would never stop.
        let lifecycle = Lifecycle::new();
        lifecycle.advance(Phase::Ready);
        let (_, runs, check) = switch();
        let health = Health::new(&lifecycle)
            .cache(Duration::ZERO)
            .check("db", check);
        let grpc = health.grpc().recheck(Duration::from_secs(10));
        let mut watches = Vec::new();
        for _ in 0..5 {
            let mut one = watch(&grpc).await;
            assert_eq!(status(&mut one).await, Some(ServingStatus::Serving));
            watches.push(tokio::spawn(async move { status(&mut one).await }));
        }
        tokio::time::sleep(Duration::from_secs(95)).await;
        let runs = runs.load(SeqCst);
        assert!((5 + 9..=5 + 5 * 9).contains(&runs), "{runs}");
        assert!(watches.iter().all(|watch| !watch.is_finished()));
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_check_does_not_delay_the_end_of_a_watch() {
        let lifecycle = Lifecycle::new();
        lifecycle.advance(Phase::Ready);
        let health = Health::new(&lifecycle)
            .deadline(Duration::from_secs(3600))
            .check("hung", std::future::pending::<Result<(), &str>>);
        let mut one = watch(&health.grpc()).await;
        let watching =
            tokio::spawn(async move { (status(&mut one).await, status(&mut one).await) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = tokio::time::Instant::now();
        lifecycle.advance(Phase::Draining);
        let seen = watching.await.unwrap();
        assert_eq!(seen, (Some(ServingStatus::NotServing), None));
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_dependency_is_not_serving() {
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let (well, _, check_db) = switch();
    let health = Health::new(handle.lifecycle())
        .cache(Duration::ZERO)
        .check("db", check_db)
        .optional_check("cache", || async { Err("gone") });
    let (addr, server) = by_lameduck(shutdown, &health).await;
    within(LIMIT, "ready", handle.lifecycle().reached(Phase::Ready)).await;
    let mut client = connect(addr).await;
    let mut watch = Watch::open(&mut client, "").await;
    assert_eq!(watch.next().await, Some(ServingStatus::Serving));
    well.store(false, SeqCst);
    assert_eq!(
        check(&mut client, "").await.unwrap(),
        ServingStatus::NotServing
    );
    assert_eq!(watch.next().await, Some(ServingStatus::NotServing));
    well.store(true, SeqCst);
    assert_eq!(
        check(&mut client, "").await.unwrap(),
        ServingStatus::Serving
    );
    assert_eq!(watch.next().await, Some(ServingStatus::Serving));
    handle.drain_now();
    let report = within(LIMIT, "the report", server).await.unwrap();
    assert!(report.is_clean(), "{report}");
}
