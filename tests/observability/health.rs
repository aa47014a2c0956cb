//! Health over real sockets: the layer on `lameduck::serve`, and `probe`, its other end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use lameduck::health::{Details, Health, ProbeError, probe, probe_within};
use lameduck::serve::App;
use lameduck::{DrainLayer, InFlightLayer, Lifecycle, Phase, Shutdown};
use tower::{Layer, ServiceBuilder};

use crate::support::{LIMIT, Raw, Server, Setup, app, ms, reply, within};

/// Builds a service that says hello, on `/slow` once it is released.
fn hello(go: Arc<tokio::sync::Semaphore>) -> crate::support::App {
    app(move |request| {
        let go = go.clone();
        async move {
            if request.uri().path() == "/slow" {
                go.acquire().await.unwrap().forget();
            }
            reply(200, "hello")
        }
    })
}

/// Starts a server that answers probes on its own port. The test moves the health's phase, not the server.
async fn bed(health: Health) -> Server {
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let service = health.layer().layer(hello(go));
    Setup::new().start(service).await
}

/// Runs `probe` off the runtime's threads.
async fn asked(addr: SocketAddr, path: &'static str) -> Result<(), ProbeError> {
    let asked = tokio::task::spawn_blocking(move || probe(addr, path));
    within(LIMIT, "the probe", asked).await.unwrap()
}

fn status(asked: Result<(), ProbeError>) -> (u16, String) {
    match asked {
        Err(ProbeError::Status { status, body, .. }) => (status, body),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_reports_what_serve_answers() {
    let lifecycle = Lifecycle::new();
    let health = Health::new(&lifecycle).optional_check("cache", || async { Err("gone") });
    let server = bed(health).await;
    let addr = server.addr;

    asked(addr, "/healthz").await.unwrap();
    let (code, body) = status(asked(addr, "/readyz").await);
    assert_eq!(code, 503);
    assert!(
        body.starts_with(r#"{"status":"fail","phase":"starting""#),
        "{body}"
    );
    assert_eq!(status(asked(addr, "/startupz").await).0, 503);

    lifecycle.advance(Phase::Ready);
    for path in ["/healthz", "/readyz", "/startupz", "/", "/readyz?verbose=1"] {
        asked(addr, path).await.unwrap();
    }

    lifecycle.advance(Phase::LameDuck);
    let refused = asked(addr, "/readyz").await.unwrap_err().to_string();
    assert!(
        refused.starts_with(r#"status 503: {"status":"fail","phase":"lame_duck""#),
        "{refused}"
    );
    assert!(
        refused.contains(r#""error":"gone""#),
        "details for the loopback: {refused}"
    );
    asked(addr, "/healthz").await.unwrap();
    server.until_open(0).await;
    let reported = server.reported();
    assert!(
        !reported.iter().any(|line| line.contains("reset")),
        "no probe resets: {reported:?}"
    );
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_endpoints_answer_on_the_wire() {
    let lifecycle = Lifecycle::new();
    let server = bed(Health::new(&lifecycle).details(Details::never())).await;
    let mut raw = server.connect().await;
    // GET, HEAD and a refused POST with a body, on one connection.
    let get = raw.ask("GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(get.status, 503);
    assert_eq!(get.text(), "{\"status\":\"fail\",\"phase\":\"starting\"}\n");
    raw.send("HEAD /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut head = vec![0; 4096];
    let mut length = 0;
    while !head[..length].ends_with(b"\r\n\r\n") {
        use tokio::io::AsyncReadExt;
        let read = within(LIMIT, "the head", raw.stream().read(&mut head[length..])).await;
        length += read.unwrap();
    }
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert!(
        head.contains(&format!("content-length: {}\r\n", get.text().len())),
        "{head}"
    );
    assert!(head.contains("cache-control: no-store\r\n"), "{head}");
    let post = raw
        .ask("POST /readyz HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        .await;
    assert_eq!(post.status, 405);
    assert_eq!(post.header("allow"), Some("GET, HEAD, OPTIONS"));
    drop(raw);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_a_whole_shutdown() {
    // The order of the crate's documentation: health outermost, so that a drain refuses no probe.
    let shutdown = Shutdown::new().signals(false).lame_duck(ms(600));
    let handle = shutdown.handle();
    let checks = Arc::new(AtomicUsize::new(0));
    let count = checks.clone();
    let health = Health::new(handle.lifecycle()).check("db", move || {
        count.fetch_add(1, SeqCst);
        async { Ok::<_, std::convert::Infallible>(()) }
    });
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let service = ServiceBuilder::new()
        .layer(health.layer())
        .layer(InFlightLayer::new())
        .layer(DrainLayer::new(handle.lifecycle()))
        .service(hello(go.clone()));
    let (addr, served) = serve(service, shutdown).await;
    within(LIMIT, "ready", handle.lifecycle().reached(Phase::Ready)).await;
    asked(addr, "/readyz").await.unwrap();

    let mut slow = Raw::connect(addr).await;
    slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // The connection is open since before the drain, as a load balancer's may be.
    let mut prober = Raw::connect(addr).await;
    handle.shutdown();
    within(LIMIT, "the lame duck", handle.lifecycle().draining()).await;
    assert_eq!(status(asked(addr, "/readyz").await).0, 503);
    asked(addr, "/healthz").await.unwrap();
    asked(addr, "/startupz").await.unwrap();
    within(
        LIMIT,
        "draining",
        handle.lifecycle().reached(Phase::Draining),
    )
    .await;
    let live = prober.ask("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(live.status, 200, "liveness outlives the drain's beginning");
    assert!(live.text().contains(r#""phase":"draining""#));
    go.add_permits(1);
    assert_eq!(slow.read_response().await.status, 200);
    let report = within(LIMIT, "the report", served).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(checks.load(SeqCst), 1);
}

async fn serve(
    service: impl App,
    shutdown: Shutdown,
) -> (SocketAddr, tokio::task::JoinHandle<lameduck::Report>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = lameduck::serve(listener, service).shutdown(shutdown);
    (addr, tokio::spawn(async move { server.await.unwrap() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_probes_share_one_check() {
    let lifecycle = Lifecycle::new();
    lifecycle.advance(Phase::Ready);
    let checks = Arc::new(AtomicUsize::new(0));
    let count = checks.clone();
    let health = Health::new(&lifecycle)
        .cache(Duration::from_secs(60))
        .check("db", move || {
            count.fetch_add(1, SeqCst);
            async {
                tokio::time::sleep(ms(200)).await;
                Ok::<_, std::convert::Infallible>(())
            }
        });
    let server = bed(health).await;
    let addr = server.addr;
    let asks: Vec<_> = (0..200)
        .map(|_| {
            tokio::spawn(async move {
                let mut raw = Raw::connect(addr).await;
                for _ in 0..5 {
                    let answer = raw.ask("GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await;
                    assert_eq!(answer.status, 200);
                }
            })
        })
        .collect();
    for ask in asks {
        within(LIMIT, "an answer", ask).await.unwrap();
    }
    assert_eq!(checks.load(SeqCst), 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_routes_fit_into_an_axum_router() {
    let lifecycle = Lifecycle::new();
    let health = Health::new(&lifecycle);
    let router = axum::Router::new()
        .route("/", axum::routing::get(|| async { "hello" }))
        .route_service("/ready", health.readiness())
        .route_service("/live", health.liveness());
    // Health is a layer of the router, a layer around it, and a set of routes.
    for app in [
        health.layer().layer(router.clone().layer(health.layer())),
        health.layer().layer(router),
    ] {
        let server = Setup::new().start(app).await;
        for path in ["/healthz", "/live", "/"] {
            asked(server.addr, path).await.unwrap();
        }
        for path in ["/readyz", "/ready", "/startupz"] {
            assert_eq!(status(asked(server.addr, path).await).0, 503, "{path}");
        }
        assert_eq!(status(asked(server.addr, "/none").await).0, 404);
    }
}

// === probe against what is not ours ===

/// Starts a server for one connection.
fn once(serve: impl FnOnce(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(listener.accept().unwrap().0));
    addr
}

/// Starts a server that reads the request and gives this answer.
fn answers(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    once(move |mut stream| {
        let mut request = [0; 4096];
        let read = stream.read(&mut request).unwrap();
        let request = std::str::from_utf8(&request[..read]).unwrap();
        assert!(
            request.starts_with("GET /readyz HTTP/1.1\r\nhost: 127.0.0.1:"),
            "{request}"
        );
        assert!(
            request.ends_with("\r\nconnection: close\r\n\r\n"),
            "{request}"
        );
        let _ = stream.write_all(&answer);
    })
}

#[test]
fn probe_error_quotes_no_control_characters() {
    let body = "a\u{1b}[31mb\u{9b}0mc\u{202e}d\u{7}\r\ne";
    let addr = once(move |mut stream| {
        let head = format!("HTTP/1.1 503 X\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all((head + body).as_bytes());
    });
    let refused = probe(addr, "/readyz").unwrap_err().to_string();
    let plain = |char: char| !char.is_control() && char != '\u{202e}';
    assert!(refused.chars().all(plain), "{refused:?}");
    assert!(
        refused.starts_with("status 503: a") && refused.ends_with('e'),
        "{refused:?}"
    );
}

#[test]
fn probe_without_a_listener_fails() {
    let addr = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    match probe(addr, "/readyz") {
        Err(ProbeError::Connect(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        other => panic!("{other:?}"),
    }
}

#[test]
fn silent_server_exceeds_the_probe_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap(); // accepts by its queue only
    let addr = listener.local_addr().unwrap();
    over_its_deadline(addr);
}

#[test]
fn trickling_server_exceeds_the_probe_deadline() {
    // Each byte is in time; the whole answer is not.
    over_its_deadline(once(|mut stream| {
        for byte in b"HTTP/1.1 ".iter().chain([b' '; 1000].iter()) {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(ms(100));
        }
    }));
}

fn over_its_deadline(addr: SocketAddr) {
    let before = Instant::now();
    let asked = probe_within(addr, "/readyz", ms(300));
    let took = before.elapsed();
    assert!(
        matches!(asked, Err(ProbeError::Timeout(limit)) if limit == ms(300)),
        "{asked:?}"
    );
    assert!(took >= ms(300) && took < ms(3000), "{took:?}");
}

#[test]
fn status_line_suffices_without_the_end_of_the_answer() {
    let before = Instant::now();
    let addr = once(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        std::thread::sleep(ms(10_000));
    });
    probe_within(addr, "/readyz", ms(500)).unwrap();
    assert!(before.elapsed() < ms(5000));
}

/// A server, or a proxy before it, may keep the connection although it was asked to close it.
#[test]
fn answer_suffices_on_a_kept_connection() {
    for (answer, code) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy", 503),
    ] {
        let addr = once(move |mut stream| {
            stream.write_all(answer.as_bytes()).unwrap();
            std::thread::sleep(ms(10_000));
        });
        let before = Instant::now();
        let asked = probe(addr, "/readyz");
        let took = before.elapsed();
        assert!(took < ms(2000), "{answer:?}: {took:?}");
        match code {
            503 => assert_eq!(status(asked), (503, "busy".to_owned())),
            _ => asked.unwrap(),
        }
    }
}

/// RFC 9110, 15.2: interim answers are no final answer, and may arrive unexpectedly.
#[test]
fn interim_answers_are_skipped() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let well = "HTTP/1.1 200 OK\r\n\r\nwell";
    probe(answers([go_on, early, well].concat()), "/readyz").unwrap();
    let fails = "HTTP/1.1 503 No\r\n\r\nbusy";
    let asked = probe(answers([early, fails].concat()), "/readyz");
    assert_eq!(status(asked), (503, "busy".to_owned()));
    let asked = probe(answers(early), "/readyz");
    assert!(matches!(asked, Err(ProbeError::Io(_))), "{asked:?}");
}

#[test]
fn garbage_is_no_answer() {
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 +20 OK\r\n\r\n",
        b"HTTP/1.x 200 OK\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.",
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80",
        &[0xff; 100_000],
    ] {
        let asked = probe(answers(garbage), "/readyz");
        assert!(
            matches!(asked, Err(ProbeError::NotHttp)),
            "{asked:?} {garbage:?}"
        );
    }
}

#[test]
fn server_that_closes_silently_fails_the_probe() {
    let asked = probe(answers(""), "/readyz");
    match asked {
        Err(ProbeError::Io(error)) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_2xx_is_healthy() {
    for (code, ok) in [
        (200, true),
        (204, true),
        (299, true),
        (301, false),
        (404, false),
        (500, false),
    ] {
        for version in ["1.1", "1.0"] {
            let answer = format!("HTTP/{version} {code} Said\r\ncontent-length: 2\r\n\r\nno");
            let asked = probe(answers(answer), "/readyz");
            match asked {
                Ok(()) => assert!(ok, "{code}"),
                Err(error) => {
                    assert!(!ok, "{code}");
                    assert_eq!(error.to_string(), format!("status {code}: no"));
                }
            }
        }
    }
    // The answer has no reason; or a body that is no text and too long.
    probe(answers("HTTP/1.1 200\r\n\r\n"), "/readyz").unwrap();
    let mut long = b"HTTP/1.1 503 No\r\n\r\n".to_vec();
    long.extend([0xff; 200_000]);
    let (code, body) = status(probe(answers(long), "/readyz"));
    assert_eq!((code, body.chars().count()), (503, 1024));
}

#[test]
fn invalid_path_is_not_sent() {
    let closed = SocketAddr::from(([127, 0, 0, 1], 1));
    for path in ["", "readyz", "/a b", "/a\r\nx: y", "/\0", "/é"] {
        let asked = probe(closed, path);
        assert!(
            matches!(&asked, Err(ProbeError::Path(named)) if named == path),
            "{asked:?}"
        );
    }
}

#[test]
fn unspecified_address_is_probed_on_loopback() {
    for ip in [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()] {
        let listener = TcpListener::bind(SocketAddr::new(ip, 0));
        let Ok(listener) = listener else { continue }; // a machine without IPv6
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, peer) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            peer.ip().to_canonical().is_loopback()
        });
        probe(addr, "/readyz").unwrap();
        assert!(server.join().unwrap());
    }
}
