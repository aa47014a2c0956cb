//! A port that observes its process to the very end of a shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lameduck::serve::{App as ServeApp, Deadlines, ServeError};
use lameduck::shutdown::{ConnectionState, ShutdownHandle};
use lameduck::{Phase, Report, Shutdown, Timeouts};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{App, How, LIMIT, Raw, app, channel, h2_connect, ms, reply, within};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";
const WATCH: &str = "GET /watch HTTP/1.1\r\nhost: a\r\n\r\n";

struct Running {
    addr: SocketAddr,
    report: JoinHandle<Result<Report, ServeError>>,
}

impl Running {
    async fn report(self) -> Report {
        let report = within(LIMIT, "the report", self.report).await;
        report.expect("no panic").expect("it started")
    }
}

/// A process with a public port and an observing one.
struct Two {
    handle: ShutdownHandle,
    public: Running,
    admin: Running,
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

async fn two(
    shutdown: Shutdown,
    public: impl ServeApp,
    admin: impl FnOnce(&ShutdownHandle) -> App,
) -> Two {
    let shutdown = shutdown.signals(false);
    let handle = shutdown.handle();
    let (listener, addr) = listen().await;
    let serve = lameduck::serve(listener, admin(&handle)).observe(&handle);
    let admin = Running {
        addr,
        report: tokio::spawn(serve.into_future()),
    };
    let (listener, addr) = listen().await;
    let serve = lameduck::serve(listener, public).timeouts(Timeouts::none());
    let serve = serve.shutdown(shutdown);
    let public = Running {
        addr,
        report: tokio::spawn(serve.into_future()),
    };
    let ready = handle.lifecycle().reached(Phase::Ready);
    within(LIMIT, "ready", ready).await;
    Two {
        handle,
        public,
        admin,
    }
}

/// Builds a service whose `/slow` waits to be released; anything else is answered at once.
fn gated() -> (App, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let service = app(move |request| {
        let gate = held.clone();
        async move {
            if request.uri().path() == "/slow" {
                gate.acquire().await.unwrap().forget();
            }
            reply(200, "done")
        }
    });
    (service, gate)
}

/// Builds the observing pages: `/` shows the phase; `/watch` is a stream that ends with the report, `/for-ever` one
/// that does not end.
fn pages(handle: &ShutdownHandle) -> App {
    let handle = handle.clone();
    app(move |request| {
        let handle = handle.clone();
        async move {
            let path = request.uri().path();
            if path == "/" {
                return reply(200, handle.lifecycle().phase().to_string());
            }
            let for_ever = path == "/for-ever";
            let deadlines = request.extensions().get::<Deadlines>().unwrap();
            deadlines.set_write(None);
            let (mut sender, body) = channel();
            tokio::spawn(async move {
                let _ = sender.send_data("watching\n".into()).await;
                let report = handle.reported().await;
                let _ = sender.send_data(report.to_string().into()).await;
                if for_ever {
                    std::future::pending::<()>().await;
                }
            });
            http::Response::new(body)
        }
    })
}

async fn wait_for(what: &str, is: impl Fn() -> bool) {
    let seen = async {
        while !is() {
            tokio::time::sleep(ms(5)).await;
        }
    };
    within(LIMIT, what, seen).await;
}

/// Waits until a watcher's answer has begun, without reading the rest.
async fn watches(watcher: &mut Raw) {
    let begun = async {
        let mut seen = [0; 1024];
        loop {
            let length = watcher.stream().peek(&mut seen).await.unwrap();
            let text = String::from_utf8_lossy(&seen[..length]);
            if text.contains("watching") {
                return;
            }
            assert_ne!(length, 0, "it has ended");
            tokio::time::sleep(ms(2)).await;
        }
    };
    within(LIMIT, "the watcher's answer", begun).await;
}

#[tokio::test]
async fn observer_serves_to_the_end_and_delays_no_one() {
    let (service, gate) = gated();
    let two = two(Shutdown::new().lame_duck(ms(50)), service, pages).await;
    let mut client = Raw::connect(two.public.addr).await;
    client.send(SLOW).await;
    let handler = || two.handle.connections().of(ConnectionState::Handler);
    wait_for("the request", || handler() == 1).await;
    let mut admin = Raw::connect(two.admin.addr).await;
    assert_eq!(admin.ask(GET).await.text(), "ready");
    assert_eq!(two.handle.drain_deadline(), None);

    two.handle.shutdown();
    let draining = two.handle.lifecycle().reached(Phase::Draining);
    within(LIMIT, "the drain", draining).await;
    let deadline = two.handle.drain_deadline().unwrap();
    let left = deadline.saturating_duration_since(std::time::Instant::now());
    assert!(left > ms(10_000) && left <= ms(15_000), "{left:?}");
    let answer = admin.ask(GET).await;
    assert_eq!(
        (answer.text().as_str(), answer.closes()),
        ("draining", false)
    );
    let mut late = Raw::connect(two.admin.addr).await;
    assert_eq!(late.ask(GET).await.text(), "draining", "still accepting");

    gate.add_permits(1);
    assert_eq!(client.read_response().await.text(), "done");
    let let_go = Instant::now();
    let report = two.public.report().await;
    assert!(
        let_go.elapsed() < ms(500),
        "idle observers: {:?}",
        let_go.elapsed()
    );
    assert!(report.is_clean(), "{report}");
    assert_eq!(
        (report.requests, report.connections),
        (1, 1),
        "its own only"
    );
    let of_admin = two.admin.report().await;
    assert_eq!((of_admin.requests, of_admin.connections), (3, 2));
    assert_eq!(admin.read_until_close().await.how, How::Fin);
    assert!(two.handle.report().is_some());
}

#[tokio::test]
async fn watcher_gets_the_report_before_the_end() {
    let (service, _gate) = gated();
    let shutdown = Shutdown::new().lame_duck(ms(50)).drain(ms(200));
    let two = two(shutdown, service, pages).await;
    let mut client = Raw::connect(two.public.addr).await;
    client.send(SLOW).await;
    let mut watcher = Raw::connect(two.admin.addr).await;
    watcher.send(WATCH).await;
    wait_for("the request", || !two.handle.in_flight().is_empty()).await;
    assert!(two.handle.report().is_none());

    two.handle.shutdown();
    let report = two.public.report().await;
    assert_eq!(report.cut.len(), 1, "the watcher is not cut: {report}");
    let ending = watcher.read_until_close().await;
    assert_eq!(ending.how, How::Fin);
    let text = ending.answer().text();
    assert!(text.contains("1 request was CUT"), "{text}");
    assert!(text.contains("GET /slow"), "{text}");
    assert!(text.ends_with(" served"), "whole: {text}");
}

#[tokio::test]
async fn endless_watcher_is_cut_at_the_end() {
    let (service, _gate) = gated();
    let two = two(Shutdown::new().lame_duck(Duration::ZERO), service, pages).await;
    let mut watcher = Raw::connect(two.admin.addr).await;
    watcher.send(WATCH.replace("watch", "for-ever")).await;
    watches(&mut watcher).await;
    two.handle.shutdown();
    let began = Instant::now();
    let report = two.public.report().await;
    let took = began.elapsed();
    assert!(took > ms(900) && took < ms(2500), "{took:?}");
    assert!(report.is_clean() && report.total < ms(500), "{report}");
    two.admin.report().await;
    let ending = watcher.read_until_close().await;
    assert!(ending.text().contains(" served"), "{}", ending.text());
}

#[tokio::test]
async fn second_shutdown_cuts_observers_short() {
    let (service, _gate) = gated();
    let two = two(Shutdown::new().lame_duck(Duration::ZERO), service, pages).await;
    let mut watcher = Raw::connect(two.admin.addr).await;
    watcher.send(WATCH.replace("watch", "for-ever")).await;
    watches(&mut watcher).await;
    two.handle.shutdown();
    let report = within(LIMIT, "the report", two.handle.reported()).await;
    let began = Instant::now();
    two.handle.cut();
    two.public.report().await;
    assert!(began.elapsed() < ms(700), "{:?}", began.elapsed());
    assert!(report.is_clean(), "it came too late to be a part of it");
}

#[tokio::test]
async fn late_observer_ends() {
    let (service, _gate) = gated();
    let two = two(Shutdown::new().lame_duck(Duration::ZERO), service, pages).await;
    let handle = two.handle.clone();
    handle.shutdown();
    two.public.report().await;
    two.admin.report().await;
    let (listener, _) = listen().await;
    let late = lameduck::serve(listener, pages(&handle)).observe(&handle);
    within(LIMIT, "the end", late.into_future()).await.unwrap();
}

#[tokio::test]
async fn connections_are_counted_by_state() {
    let (service, gate) = gated();
    let two = two(Shutdown::new().lame_duck(Duration::ZERO), service, pages).await;
    let counts = || {
        let counts = two.handle.connections();
        let some = counts.iter().filter(|(_, count)| *count > 0);
        some.map(|(state, count)| format!("{count} {state}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(counts(), "");
    let mut idle = Raw::connect(two.public.addr).await;
    assert_eq!(idle.ask(GET).await.status, 200);
    let mut slow = Raw::connect(two.public.addr).await;
    slow.send(SLOW).await;
    let mut half = Raw::connect(two.public.addr).await;
    half.send("GET / HTTP/1.1\r\nhost").await;
    let expected = "1 head, 1 handler, 1 idle";
    wait_for(expected, || counts() == expected).await;
    assert_eq!(two.handle.connections().total(), 3);
    let in_flight = two.handle.in_flight();
    let paths: Vec<_> = in_flight.iter().map(|one| one.path.as_str()).collect();
    assert!(paths.contains(&"/slow"), "{in_flight:?}");

    gate.add_permits(1);
    assert_eq!(slow.read_response().await.status, 200);
    drop((slow, half, idle));
    wait_for("no request", || counts().is_empty()).await;
}

/// No observer is waited for without a margin, and nothing hangs.
#[tokio::test]
async fn without_a_margin_observers_end_at_once() {
    let (service, _gate) = gated();
    let shutdown = Shutdown::new()
        .lame_duck(Duration::ZERO)
        .margin(Duration::ZERO);
    let two = two(shutdown, service, pages).await;
    let mut idle = Raw::connect(two.admin.addr).await;
    assert_eq!(idle.ask(GET).await.status, 200);
    let mut half = Raw::connect(two.admin.addr).await;
    half.send("GET / HTTP/1.1\r\nhost").await;
    let mut watcher = Raw::connect(two.admin.addr).await;
    watcher.send(WATCH.replace("watch", "for-ever")).await;
    watches(&mut watcher).await;
    two.handle.shutdown();
    let began = Instant::now();
    two.public.report().await;
    two.admin.report().await;
    assert!(began.elapsed() < ms(500), "{:?}", began.elapsed());
    for mut client in [idle, half, watcher] {
        client.read_until_close().await;
    }
}

#[tokio::test]
async fn http2_observer_serves_to_the_end() {
    let (service, gate) = gated();
    let two = two(Shutdown::new().lame_duck(Duration::ZERO), service, pages).await;
    let mut client = Raw::connect(two.public.addr).await;
    client.send(SLOW).await;
    let handler = || two.handle.connections().of(ConnectionState::Handler);
    wait_for("the request", || handler() == 1).await;
    let (sender, connection, _) = h2_connect(two.admin.addr).await;
    let connection = tokio::spawn(connection);
    let ask = async |path: &str| {
        let mut sender = sender.clone().ready().await.unwrap();
        let request = http::Request::get(format!("http://a{path}"))
            .body(())
            .unwrap();
        sender
            .send_request(request, true)
            .unwrap()
            .0
            .await
            .unwrap()
            .into_body()
    };
    let mut watch = ask("/watch").await;
    two.handle.drain_now();
    let draining = two.handle.lifecycle().reached(Phase::Draining);
    within(LIMIT, "the drain", draining).await;
    assert_eq!(ask("/").await.data().await.unwrap().unwrap(), "draining");
    gate.add_permits(1);
    let report = two.public.report().await;
    assert!(report.is_clean(), "{report}");
    let mut text = String::new();
    while let Some(data) = watch.data().await {
        let data = data.unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    assert!(text.ends_with(" served"), "{text}");
    two.admin.report().await;
    drop(sender);
    within(LIMIT, "its end", connection).await.unwrap().unwrap();
}
