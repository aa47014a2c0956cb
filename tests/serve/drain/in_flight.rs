//! What is in flight is finished, or cut at the deadline and reported; what is idle is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use lameduck::DrainLayer;
use lameduck::drain::Draining;
use lameduck::serve::RequestBody;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::ServiceBuilder;

use super::{GET, get, hello};
use crate::support::{App, Gate, How, Knowing, Raw, Setup, app, channel, ms, reply};

// === what is in flight, and what is idle ===

#[tokio::test]
async fn stream_finishes_through_a_drain() {
    let (sender, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let app = app(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { http::Response::new(body) }
    });
    let mut server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    let mut sender = sender;
    client.send(get("/stream")).await;
    sender.send_data(Bytes::from("0,")).await.unwrap();
    client.stream().readable().await.unwrap();
    server.handle.drain_now();
    for number in 1..8 {
        tokio::time::sleep(ms(40)).await;
        let sent = sender.send_data(Bytes::from(format!("{number},"))).await;
        sent.expect("it is still wanted");
    }
    drop(sender);
    let ended = Instant::now();
    let answer = client.read_response().await;
    assert!(answer.complete);
    assert_eq!(answer.text(), "0,1,2,3,4,5,6,7,");
    let report = server.report().await;
    assert!(ended.elapsed() < ms(250), "{:?}", ended.elapsed());
    assert!(report.is_clean(), "{report}");
    assert!(report.drain >= ms(250), "{report}");
}

#[tokio::test]
async fn upload_finishes_through_a_drain() {
    let app = app(|request: Request<RequestBody>| async move {
        match request.into_body().collect().await {
            Ok(body) => reply(200, body.to_bytes()),
            Err(error) => reply(400, error.to_string()),
        }
    });
    for head in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
    ] {
        let mut server = Setup::new().start(app.clone()).await;
        let mut client = server.connect().await;
        client.send(head).await;
        if head.contains("expect") {
            assert_eq!(client.read_response().await.status, 100);
        }
        client.send("0").await;
        server.until_open(1).await;
        tokio::time::sleep(ms(30)).await;
        server.handle.drain_now();
        // The upload outlasts the window, which is for heads.
        for byte in ["1", "2", "3", "4"] {
            tokio::time::sleep(ms(150)).await;
            client.send(byte).await;
        }
        let answer = client.read_response().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "01234"));
        assert!(answer.closes());
        let report = server.report().await;
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test]
async fn slowly_read_answer_is_whole() {
    const LENGTH: usize = 12 * 1024 * 1024;
    let app = app(|_| async { reply(200, vec![7; LENGTH]) });
    let mut server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    client.stream().readable().await.unwrap();
    server.handle.drain_now();
    tokio::time::sleep(ms(700)).await;
    assert_eq!(server.open(), 1, "it is waited for");
    let answer = client.read_response().await;
    assert!(answer.complete && answer.body.len() == LENGTH);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain >= ms(650), "{report}");
}

#[tokio::test]
async fn client_answered_before_the_end_of_its_request_delays_no_one() {
    // The body is short enough to be discarded, so that the connection could be reused; but its rest does not arrive.
    let mut server = Setup::new().start(hello()).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf")
        .await;
    assert_eq!(client.read_response().await.status, 200);
    let report = server.drain().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(1_500), "{report}");
    assert_eq!(client.read_until_close().await.bytes, b"");
}

#[tokio::test]
async fn idle_connection_is_closed_last() {
    let gate = Gate::new();
    let mut server = Setup::new().start(gate.app()).await;
    let mut idle = server.connect().await;
    assert_eq!(idle.ask(GET).await.status, 200);
    let mut busy = server.connect().await;
    busy.send(get("/slow")).await;
    gate.came().await;
    server.handle.drain_now();
    let early = idle.read_until_close_for(ms(200)).await;
    assert_eq!(early.how, How::StillOpen, "while a request is in flight");
    let let_go = Instant::now();
    gate.let_one_go();
    let answer = busy.read_response().await;
    assert_eq!(answer.status, 200);
    assert!(answer.closes());
    let ending = idle.read_until_close().await;
    assert_eq!((ending.how, ending.bytes.len()), (How::Fin, 0));
    assert!(let_go.elapsed() < ms(400), "{:?}", let_go.elapsed());
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn request_on_an_idle_connection_is_answered_during_a_drain() {
    let gate = Gate::new();
    let mut server = Setup::new().start(gate.app()).await;
    let mut idle = server.connect().await;
    assert_eq!(idle.ask(GET).await.status, 200);
    let mut busy = server.connect().await;
    busy.send(get("/slow")).await;
    gate.came().await;
    server.handle.drain_now();
    tokio::time::sleep(ms(50)).await;
    let answer = idle.ask(get("/once/more")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "/once/more"));
    assert!(answer.closes());
    gate.let_one_go();
    assert_eq!(busy.read_response().await.status, 200);
    assert!(server.report().await.is_clean());
}

/// Returns the processor time of this thread.
fn worked() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = stat.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos)
}

#[tokio::test]
async fn hundreds_of_idle_connections_cost_no_cpu() {
    let mut server = Setup::new().start(hello()).await;
    let mut clients = Vec::new();
    for _ in 0..400 {
        let mut client = server.connect().await;
        assert_eq!(client.ask(GET).await.status, 200);
        clients.push(client);
    }
    // On a clock that stands still while anyone has work, and by the work itself: neither counts what other
    // processes take.
    tokio::time::pause();
    let before = worked();
    let report = server.drain().await;
    let work = worked() - before;
    tokio::time::resume();
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(400), "{report}");
    assert!(work < ms(400), "{work:?}");
    for mut client in clients {
        assert_eq!(client.read_until_close().await.how, How::Fin);
    }
}

// === streams that have no end of their own ===

/// Builds endless server-sent events; with `heed` they end when the process begins to leave.
fn events(heed: bool) -> App {
    app(move |request: Request<RequestBody>| async move {
        let draining = request.extensions().get::<Draining>().unwrap().clone();
        let (mut sender, body) = channel();
        tokio::spawn(async move {
            let events = async {
                while sender.send_data(Bytes::from("data: x\n\n")).await.is_ok() {
                    tokio::time::sleep(ms(20)).await;
                }
            };
            if heed {
                tokio::select! {
                    () = events => {}
                    () = draining.draining() => {}
                }
                let _ = sender.send_data(Bytes::from("data: bye\n\n")).await;
            } else {
                events.await;
            }
        });
        http::Response::builder()
            .header("content-type", "text/event-stream")
            .body(body)
            .unwrap()
    })
}

#[tokio::test]
async fn stream_that_ignores_the_drain_is_cut_at_the_deadline_and_reported() {
    let server = Knowing::start(Duration::ZERO, ms(400), |lifecycle| {
        ServiceBuilder::new()
            .layer(DrainLayer::new(lifecycle))
            .service(events(false))
    })
    .await;
    let mut client = Raw::connect(server.addr).await;
    let peer = client.stream().local_addr().unwrap();
    client.send(get("/events?token=secret")).await;
    client.stream().readable().await.unwrap();
    tokio::time::sleep(ms(100)).await;
    server.handle.drain_now();
    client.mark();
    let ending = client.read_until_close().await;
    let report = server.report().await;
    assert_eq!(ending.how, How::Reset, "a cut stream does not look whole");
    assert!(
        ending.at >= ms(350) && ending.at < ms(1_200),
        "{:?}",
        ending.at
    );
    let [cut] = report.cut.as_slice() else {
        panic!("one was cut: {report}");
    };
    assert_eq!((cut.method.as_str(), cut.path.as_str()), ("GET", "/events"));
    assert_eq!(cut.peer, Some(peer));
    assert!(cut.age >= ms(480) && cut.age < ms(2_000), "{cut}");
    assert_eq!(cut.state, "sending the response");
    assert!(!report.is_clean() && !report.at_once);
    assert!(
        report.drain >= ms(390) && report.drain < ms(1_000),
        "{report}"
    );
    let text = report.to_string();
    assert!(
        text.contains("1 request was CUT:") && text.contains("GET /events, "),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn stream_that_awaits_the_drain_ends_itself() {
    for lame_duck in [ms(300), Duration::ZERO] {
        let server = Knowing::start(lame_duck, ms(5_000), |lifecycle| {
            ServiceBuilder::new()
                .layer(DrainLayer::new(lifecycle))
                .service(events(true))
        })
        .await;
        let mut client = Raw::connect(server.addr).await;
        client.send(get("/events")).await;
        client.stream().readable().await.unwrap();
        client.mark();
        server.handle.shutdown();
        let answer = client.read_response().await;
        assert!(client.elapsed() < ms(250), "{:?}", client.elapsed());
        assert!(
            answer.complete && answer.text().ends_with("data: bye\n\n"),
            "{answer:?}"
        );
        let report = server.report().await;
        assert!(report.is_clean(), "{report}");
        assert!(report.drain < ms(300), "{report}");
    }
}

#[tokio::test]
async fn hanging_handler_is_cut_reported_and_dropped() {
    struct OnDrop(Arc<AtomicUsize>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let came = Arc::new(Semaphore::new(0));
    let come = came.clone();
    let app = app(move |_| {
        let held = OnDrop(count.clone());
        come.add_permits(1);
        async move {
            let _held = held;
            std::future::pending().await
        }
    });
    let mut server = Setup::new().drain(ms(200)).start(app).await;
    let mut client = server.connect().await;
    client.send("PUT /hangs HTTP/1.1\r\nhost: a\r\n\r\n").await;
    came.acquire().await.unwrap().forget();
    let report = server.drain().await;
    let ending = client.read_until_close().await;
    assert_eq!((ending.how, ending.bytes.len()), (How::Reset, 0));
    assert_eq!(report.cut.len(), 1);
    assert_eq!(
        (report.cut[0].method.as_str(), report.cut[0].path.as_str()),
        ("PUT", "/hangs")
    );
    assert_eq!(report.cut[0].state, "in the handler");
    assert_eq!(dropped.load(Relaxed), 1, "the handler is cancelled");
    assert!(report.drain < ms(290), "it fell at once: {report}");
    let reported = server.reported();
    assert!(
        reported
            .iter()
            .any(|line| line.starts_with("cut after ") && line.contains(" PUT /hangs (")),
        "{reported:?}"
    );
    assert!(
        reported
            .iter()
            .any(|line| line.starts_with("connection closed") && line.ends_with(": cut")),
        "{reported:?}"
    );
}
