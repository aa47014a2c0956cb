//! Accept errors, and the limits of their consequences.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lameduck::events::{Event, EventSink};
use lameduck::serve::Listener;
use lameduck::{ConnInfo, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

const EMFILE: i32 = 24;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";

/// A listener that returns a fixed list of results, and then waits for ever.
struct Scripted(VecDeque<io::Result<DuplexStream>>);

impl Listener for Scripted {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, ConnInfo)> {
        match self.0.pop_front() {
            Some(next) => next.map(|io| (io, ConnInfo::default())),
            None => std::future::pending().await,
        }
    }
}

fn emfile() -> io::Result<DuplexStream> {
    Err(io::Error::from_raw_os_error(EMFILE))
}

fn app() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// The accept errors that were reported, with their pauses.
fn recorder() -> (EventSink, Arc<Mutex<Vec<Option<Duration>>>>) {
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let into = recorded.clone();
    let events = EventSink::to(move |event| {
        if let Event::AcceptError { pause, .. } = event {
            into.lock().unwrap().push(*pause);
        }
    });
    (events, recorded)
}

async fn answer(mut client: DuplexStream) -> String {
    client.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    let read = client.read_to_string(&mut answer);
    timeout(Duration::from_secs(5), read)
        .await
        .unwrap()
        .unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn accept_backs_off_without_descriptors_and_reports_it_once() {
    let (client, io) = tokio::io::duplex(1024);
    let mut script: VecDeque<_> = (0..6).map(|_| emfile()).collect();
    script.push_back(Ok(io));
    let (events, recorded) = recorder();
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let server = lameduck::serve(Scripted(script), app())
        .events(events)
        .shutdown(shutdown);
    let server = tokio::spawn(server.into_future());
    let began = tokio::time::Instant::now();
    assert!(answer(client).await.starts_with("HTTP/1.1 200"));
    // 5 + 10 + 20 + 40 + 80 + 160 ms
    let paused = began.elapsed();
    assert!((315..400).contains(&paused.as_millis()), "{paused:?}");
    assert_eq!(*recorded.lock().unwrap(), [Some(Duration::from_millis(5))]);
    handle.shutdown();
    assert!(server.await.unwrap().unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn accept_pause_ends_with_the_drain() {
    let script = (0..1000).map(|_| emfile()).collect();
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let server = lameduck::serve(Scripted(script), app()).shutdown(shutdown);
    let server = tokio::spawn(server.into_future());
    // By now the pauses are a second long.
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    let began = tokio::time::Instant::now();
    handle.shutdown();
    assert!(server.await.unwrap().unwrap().is_clean());
    assert!(began.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn connection_broken_in_the_queue_costs_no_pause() {
    let (client, io) = tokio::io::duplex(1024);
    let broke = || Err(io::Error::from(io::ErrorKind::ConnectionAborted));
    let script = VecDeque::from([broke(), broke(), Ok(io)]);
    let (events, recorded) = recorder();
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let server = lameduck::serve(Scripted(script), app())
        .events(events)
        .shutdown(shutdown);
    let server = tokio::spawn(server.into_future());
    let began = tokio::time::Instant::now();
    assert!(answer(client).await.starts_with("HTTP/1.1 200"));
    assert!(began.elapsed() < Duration::from_millis(5));
    assert_eq!(*recorded.lock().unwrap(), [None, None]);
    handle.shutdown();
    assert!(server.await.unwrap().unwrap().is_clean());
}

/// The connections of an own accept loop follow a shutdown that no server of `serve` drives.
#[tokio::test]
async fn own_accept_loop_drains_and_reports_its_connections() {
    use lameduck::serve::Connections;
    use lameduck::{Limits, Phase, Timeouts};

    let shutdown = Shutdown::new()
        .signals(false)
        .lame_duck(Duration::ZERO)
        .drain(Duration::from_millis(600));
    let handle = shutdown.handle();
    let layer = lameduck::InFlightLayer::new();
    let in_flight = layer.handle();
    let app = Router::new()
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                "done"
            }),
        )
        .route("/hangs", get(std::future::pending::<()>))
        .layer(layer);
    let connections = Connections::new(Timeouts::default(), Limits::default())
        .unwrap()
        .follow(&handle);
    let driver = tokio::spawn(shutdown.run());
    timeout(
        Duration::from_secs(5),
        handle.lifecycle().reached(Phase::Ready),
    )
    .await
    .unwrap();
    let peer = ([127, 0, 0, 1], 4711).into();
    let open = |path: &str| {
        let (client, io) = tokio::io::duplex(1024);
        let info = ConnInfo::new(Some(peer), None);
        tokio::spawn(connections.serve(io, info, app.clone()));
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n");
        async move {
            let mut client = client;
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        }
    };
    let slow = tokio::spawn(open("/slow"));
    let hangs = tokio::spawn(open("/hangs"));
    let arrived = async {
        while in_flight.count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), arrived).await.unwrap();
    handle.shutdown();
    let answer = timeout(Duration::from_secs(5), slow)
        .await
        .unwrap()
        .unwrap();
    assert!(
        answer.contains("connection: close") && answer.ends_with("done"),
        "{answer}"
    );
    let report = timeout(Duration::from_secs(5), driver)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(report.cut.len(), 1, "{report}");
    assert_eq!(
        (report.cut[0].path.as_str(), report.cut[0].peer),
        ("/hangs", Some(peer))
    );
    assert_eq!(
        timeout(Duration::from_secs(5), hangs)
            .await
            .unwrap()
            .unwrap(),
        ""
    );
}
