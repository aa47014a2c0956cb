//! Requests that end early: clients that vanish, handlers that panic, deadlines that pass, futures and bodies that are
//! dropped anywhere. Every count returns to 0.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use lameduck::DrainLayer;
use lameduck::in_flight::InFlightHandle;
use lameduck::serve::{Deadlines, RequestBody};
use lameduck::{InFlightLayer, Lifecycle, Limits, Phase, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, service_fn};

use crate::support::{
    App, Body, How, LIMIT, Raw, Server, Setup, app, channel, h2_connect, ms, reply, within,
};

const GET: &str = "GET /good HTTP/1.1\r\nhost: a\r\n\r\n";

/// A counter of live values.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn one(&self) -> One {
        self.0.fetch_add(1, Relaxed);
        One(self.0.clone())
    }

    fn now(&self) -> usize {
        self.0.load(Relaxed)
    }

    async fn until(&self, count: usize) {
        let reached = async {
            while self.now() != count {
                tokio::time::sleep(ms(2)).await;
            }
        };
        within(
            LIMIT,
            &format!("{count} of them, not {}", self.now()),
            reached,
        )
        .await;
    }
}

struct One(Arc<AtomicUsize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn counted(app: App) -> (impl lameduck::serve::App, InFlightHandle) {
    let layer = InFlightLayer::new();
    let handle = layer.handle();
    (layer.layer(app), handle)
}

/// Builds a service that reads its request's body, or sends an endless one.
fn reading_or_writing(handlers: &Count) -> App {
    let handlers = handlers.clone();
    app(move |request: Request<RequestBody>| {
        let one = handlers.one();
        async move {
            match request.uri().path() {
                "/read" => match request.into_body().collect().await {
                    Ok(body) => reply(200, body.to_bytes()),
                    Err(_) => reply(400, "it broke off"),
                },
                "/wait" => {
                    tokio::time::sleep(ms(150)).await;
                    reply(200, "done")
                }
                "/endless" => {
                    let (mut sender, body) = channel();
                    tokio::spawn(async move {
                        let _one = one;
                        while sender.send_data(Bytes::from(vec![7; 4096])).await.is_ok() {
                            tokio::time::sleep(ms(5)).await;
                        }
                    });
                    Response::new(body)
                }
                _ => reply(200, "good"),
            }
        }
    })
}

// === clients that vanish ===

/// Closes a connection in order, or by a reset.
fn vanish(client: Raw, reset: bool) {
    let stream = client.into_stream();
    if reset {
        stream.set_zero_linger().unwrap();
    }
    drop(stream);
}

#[tokio::test]
async fn client_vanishes_during_its_body() {
    for reset in [false, true] {
        for head in [
            "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf",
            "POST /read HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "POST /wait HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf",
        ] {
            let handlers = Count::default();
            let (app, in_flight) = counted(reading_or_writing(&handlers));
            let server = Setup::new().start(app).await;
            let mut client = server.connect().await;
            client.send(head).await;
            handlers.until(1).await;
            assert_eq!(in_flight.count(), 1);
            vanish(client, reset);
            within(LIMIT, "nothing in flight", in_flight.wait_idle()).await;
            server.until_open(0).await;
            assert_eq!(handlers.now(), 0);
            server.finish().await;
        }
    }
}

#[tokio::test]
async fn client_vanishes_during_the_response() {
    for reset in [false, true] {
        let handlers = Count::default();
        let (app, in_flight) = counted(reading_or_writing(&handlers));
        let server = Setup::new().start(app).await;
        let mut client = server.connect().await;
        client
            .send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        client.stream().readable().await.unwrap();
        assert_eq!(in_flight.count(), 1);
        vanish(client, reset);
        within(LIMIT, "nothing in flight", in_flight.wait_idle()).await;
        server.until_open(0).await;
        handlers.until(0).await;
        server.finish().await;
    }
}

#[tokio::test]
async fn client_that_vanishes_in_a_drain_delays_no_one() {
    for request in [
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf",
        "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let handlers = Count::default();
        let (app, in_flight) = counted(reading_or_writing(&handlers));
        let mut server = Setup::new().start(app).await;
        let mut client = server.connect().await;
        client.send(request).await;
        handlers.until(1).await;
        server.handle.drain_now();
        tokio::time::sleep(ms(50)).await;
        assert_eq!(in_flight.count(), 1);
        vanish(client, true);
        let report = server.report().await;
        assert!(report.is_clean(), "{report}");
        assert!(report.drain < ms(800), "{report}");
        assert_eq!(in_flight.count(), 0);
    }
}

#[tokio::test]
async fn client_that_is_done_sending_gets_its_answer() {
    let server = Setup::new()
        .start(reading_or_writing(&Count::default()))
        .await;
    for request in [
        "GET /wait HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\ndone",
    ] {
        let mut client = server.connect().await;
        client.send(request).await;
        client.finish_sending().await;
        let ending = client.read_until_close().await;
        assert_eq!(ending.how, How::Fin);
        let answer = ending.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    }
    server.finish().await;
}

// === handlers that panic ===

#[tokio::test]
async fn panic_ends_its_connection_and_not_the_service() {
    let app = app(|request: Request<RequestBody>| {
        if request.uri().path() == "/call" {
            panic!("in the call, as it should");
        }
        async move {
            match request.uri().path() {
                "/future" => panic!("in the future, as it should"),
                "/later" => {
                    tokio::time::sleep(ms(20)).await;
                    panic!("later, as it should");
                }
                "/body" => {
                    let mut left = 2;
                    let body = http_body_util::StreamBody::new(tokio_stream::iter(
                        std::iter::from_fn(move || {
                            assert!(left > 0, "in the body, as it should");
                            left -= 1;
                            Some(Ok::<_, std::io::Error>(Frame::data(Bytes::from("piece"))))
                        }),
                    ));
                    Response::new(body.boxed_unsync())
                }
                _ => reply(200, "good"),
            }
        }
    });
    let (app, in_flight) = counted(app);
    // The limit is one connection at a time: a panic frees its place.
    let limits = Limits::default().max_connections(1);
    let server = Setup::new().limits(limits).start(app).await;
    for path in ["/call", "/future", "/later", "/body"] {
        for body in ["", "a body that nobody reads"] {
            let mut client = server.connect().await;
            assert_eq!(client.ask(GET).await.status, 200);
            let length = body.len() + 5;
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
            client.send(head + body).await;
            let ending = client.read_until_close().await;
            assert_ne!(ending.how, How::StillOpen, "{path}");
            if path == "/body" {
                assert!(
                    !ending.text().ends_with("0\r\n\r\n"),
                    "it does not look whole"
                );
            } else {
                assert!(ending.bytes.is_empty(), "{path}: {ending:?}");
            }
            within(LIMIT, "nothing in flight", in_flight.wait_idle()).await;
        }
    }
    server.until_open(0).await;
    assert!(in_flight.requests().is_empty());
    server.finish().await;
}

// === a thousand random drops ===

/// SplitMix64: the same numbers from the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn heads(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// Prints the seed when a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {:#x}", self.0);
        }
    }
}

/// Stays pending for `times` polls.
async fn pending(times: usize) {
    let mut left = times;
    poll_fn(|cx| match left {
        0 => Poll::Ready(()),
        _ => {
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// A body that is pending before each frame, may fail, and counts itself.
struct Scripted {
    steps: VecDeque<Option<Result<Frame<Bytes>, &'static str>>>,
    _one: One,
}

impl Scripted {
    fn new(dice: &mut Dice, bodies: &Count) -> Scripted {
        let mut steps = VecDeque::new();
        for _ in 0..dice.below(4) {
            for _ in 0..dice.below(3) {
                steps.push_back(None);
            }
            steps.push_back(Some(match dice.below(8) {
                0 => Err("the body broke"),
                _ => Ok(Frame::data(Bytes::from("piece"))),
            }));
        }
        Scripted {
            steps,
            _one: bodies.one(),
        }
    }
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(None) => Poll::Pending,
            Some(Some(frame)) => Poll::Ready(Some(frame)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }
}

#[test]
fn thousand_random_drops_of_futures_and_bodies_leave_nothing() {
    let seed = Seed(0x0005_eed0_fd20_95e5);
    let dice = Arc::new(Mutex::new(Dice(seed.0)));
    let (futures, bodies) = (Count::default(), Count::default());
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let inner = {
        let (dice, futures, bodies) = (dice.clone(), futures.clone(), bodies.clone());
        service_fn(move |request: Request<Scripted>| {
            let one = futures.one();
            let mut dice = dice.lock().unwrap();
            let (before, after) = (dice.below(4), dice.below(4));
            let (reads, fails) = (dice.heads(), dice.below(6) == 0);
            let body = Scripted::new(&mut dice, &bodies);
            async move {
                let _one = one;
                let mut theirs = request.into_body();
                pending(before).await;
                if reads {
                    while let Some(Ok(_)) = theirs.frame().await {}
                }
                pending(after).await;
                if fails {
                    Err("the service broke")
                } else {
                    Ok(Response::new(body))
                }
            }
        })
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut drops = 0;
    while drops < 1_000 {
        // The process lives for a while, and drains at some moment within it.
        let lifecycle = Lifecycle::new();
        let mut service = ServiceBuilder::new()
            .layer(layer.clone())
            .layer(DrainLayer::new(&lifecycle))
            .service(inner.clone());
        let roll = |end| dice.lock().unwrap().below(end);
        let (mut running, mut answered) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            match roll(8) {
                0..=2 => {
                    let body = Scripted::new(&mut dice.lock().unwrap(), &bodies);
                    let request = Request::get("/random").body(body).unwrap();
                    running.push(Box::pin(service.call(request)));
                }
                3 | 4 if !running.is_empty() => {
                    let at = roll(running.len());
                    match running[at].as_mut().poll(&mut cx) {
                        Poll::Pending => {}
                        Poll::Ready(Ok(response)) => {
                            answered.push(response.into_body());
                            drop(running.swap_remove(at));
                        }
                        Poll::Ready(Err(_)) => drop(running.swap_remove(at)),
                    }
                }
                5 if !answered.is_empty() => {
                    let at = roll(answered.len());
                    let _ = Pin::new(&mut answered[at]).poll_frame(&mut cx);
                }
                6 if !running.is_empty() => {
                    drop(running.swap_remove(roll(running.len())));
                    drops += 1;
                }
                7 if !answered.is_empty() => {
                    drop(answered.swap_remove(roll(answered.len())));
                    drops += 1;
                }
                _ if roll(400) == 0 => {
                    lifecycle.advance(Phase::Draining);
                }
                _ => {}
            }
            // A body may end before it is dropped, never the reverse.
            assert!(in_flight.count() >= running.len());
            assert!(in_flight.count() <= running.len() + answered.len());
            assert_eq!(in_flight.requests().len(), in_flight.count());
        }
        drops += running.len() + answered.len();
    }
    assert_eq!(in_flight.count(), 0);
    assert!(in_flight.requests().is_empty());
    assert!(in_flight.peak() > 5, "{in_flight:?}");
    assert_eq!((futures.now(), bodies.now()), (0, 0), "nothing is kept");
    let mut idle = Box::pin(in_flight.wait_idle());
    assert!(idle.as_mut().poll(&mut cx).is_ready());
}

/// Builds a service whose behaviour follows the number in the path.
async fn any(request: Request<RequestBody>, bodies: Count) -> Response<Body> {
    let number = request.uri().path()[1..].parse().unwrap_or(0);
    let mut dice = Dice(number);
    let mut theirs = Some(request.into_body());
    for _ in 0..dice.below(3) {
        match dice.below(4) {
            0 => tokio::time::sleep(ms(dice.below(4) as u64)).await,
            1 => drop(theirs.take()),
            2 => {
                if let Some(body) = &mut theirs {
                    let _ = body.frame().await;
                }
            }
            _ => tokio::task::yield_now().await,
        }
    }
    if dice.below(12) == 0 {
        panic!("one in twelve does, as it should");
    }
    let (mut sender, body) = channel();
    let one = bodies.one();
    let (pieces, size, keeps) = (dice.below(6), dice.below(60_000), dice.heads());
    tokio::spawn(async move {
        let _one = one;
        let _theirs = theirs.filter(|_| keeps);
        for _ in 0..pieces {
            if sender.send_data(Bytes::from(vec![7; size])).await.is_err() {
                break;
            }
        }
    });
    Response::new(body)
}

/// Speaks HTTP/1 for a while and hangs up at any point.
async fn hang_up_http1(addr: std::net::SocketAddr, mut dice: Dice) {
    let Ok(mut stream) = TcpStream::connect(addr).await else {
        panic!("the server does not accept");
    };
    let mut said = String::new();
    for _ in 0..=dice.below(3) {
        let number = dice.below(1_000_000);
        said += &match dice.below(3) {
            0 => format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"),
            1 => {
                let body = "b".repeat(dice.below(3_000));
                let length = body.len();
                format!(
                    "POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"
                )
            }
            _ => format!(
                "POST /{number} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            ),
        };
    }
    if dice.heads() {
        said.truncate(dice.below(said.len()));
    }
    for part in said.as_bytes().chunks(1 + dice.below(2_000)) {
        if stream.write_all(part).await.is_err() {
            return;
        }
    }
    if dice.below(4) == 0 {
        let _ = stream.shutdown().await;
    }
    let mut buffer = vec![0; 1 + dice.below(20_000)];
    for _ in 0..dice.below(6) {
        let read = stream.read(&mut buffer);
        let read = tokio::time::timeout(ms(dice.below(8) as u64), read).await;
        if let Ok(Ok(0) | Err(_)) = read {
            break;
        }
    }
    if dice.heads() {
        stream.set_zero_linger().unwrap();
    }
}

/// Opens some streams, and drops them and the connection at any point.
async fn hang_up_http2(addr: std::net::SocketAddr, mut dice: Dice) {
    let (sender, connection, _) = h2_connect(addr).await;
    let connection = tokio::spawn(connection);
    let Ok(mut sender) = sender.ready().await else {
        return;
    };
    let mut kept = Vec::new();
    for _ in 0..=dice.below(5) {
        let number = dice.below(1_000_000);
        let request = Request::post(format!("http://a/{number}"))
            .body(())
            .unwrap();
        let whole = dice.heads();
        let Ok((answer, mut body)) = sender.send_request(request, whole) else {
            break;
        };
        if !whole {
            let _ = body.send_data(Bytes::from("hello"), dice.heads());
        }
        match dice.below(4) {
            0 => drop(answer),
            1 => kept.push((Some(answer), body)),
            _ => {
                let wait = ms(dice.below(8) as u64);
                if let Ok(Ok(answer)) = tokio::time::timeout(wait, answer).await {
                    let mut from = answer.into_body();
                    let _ = tokio::time::timeout(wait, from.data()).await;
                }
            }
        }
    }
    if dice.heads() {
        drop((kept, sender));
        tokio::task::yield_now().await;
    }
    connection.abort();
}

async fn a_thousand_hang_ups(seed: u64) {
    let seed = Seed(seed);
    let mut dice = Dice(seed.0);
    let (handlers, bodies) = (Count::default(), Count::default());
    let (in_handlers, in_bodies) = (handlers.clone(), bodies.clone());
    let app = app(move |request: Request<RequestBody>| {
        let (one, bodies) = (in_handlers.one(), in_bodies.clone());
        async move {
            let _one = one;
            any(request, bodies).await
        }
    });
    let (app, in_flight) = counted(app);
    let server = Setup::new().start(app).await;
    let addr = server.addr;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        while clients.len() >= 25 {
            clients.join_next().await.unwrap().unwrap();
        }
        let dice = Dice(dice.next());
        if number % 4 == 0 {
            clients.spawn(hang_up_http2(addr, dice));
        } else {
            clients.spawn(hang_up_http1(addr, dice));
        }
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    within(LIMIT, "nothing in flight", in_flight.wait_idle()).await;
    server.until_open(0).await;
    handlers.until(0).await;
    bodies.until(0).await;
    assert!(in_flight.requests().is_empty() && in_flight.peak() > 1);
    let report = server.finish().await;
    assert_eq!(report.connections, 1_001);
    assert!(report.requests > 500, "{report}");
}

#[tokio::test]
async fn thousand_random_hang_ups_leave_nothing() {
    a_thousand_hang_ups(0x1a3e_d0c4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_random_hang_ups_leave_nothing_on_two_threads() {
    a_thousand_hang_ups(0x2b4f_e1d5).await;
}

// === a handler's own deadlines ===

#[tokio::test]
async fn handler_moves_its_write_deadline() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap();
        match request.uri().path() {
            "/longer" => deadlines.set_write(ms(2_000)),
            "/off" => deadlines.set_write(None),
            "/shorter" => deadlines.set_write(ms(80)),
            "/left" => {}
            _ => return reply(200, "at once"),
        }
        tokio::time::sleep(ms(500)).await;
        reply(200, "done")
    });
    let server = Server::start(Timeouts::none().write(ms(250)), app).await;
    let cases = [
        ("/longer", 200, 480, 1_500),
        ("/off", 200, 480, 1_500),
        ("/shorter", 503, 60, 245),
        ("/left", 503, 230, 480),
    ];
    let addr = server.addr;
    let asked = cases.map(|(path, status, from, to)| async move {
        let mut client = Raw::connect(addr).await;
        let answer = client
            .ask(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        let at = client.elapsed();
        assert_eq!(answer.status, status, "{path} at {at:?}");
        assert!(at >= ms(from) && at < ms(to), "{path} at {at:?}");
        assert_eq!(answer.closes(), status == 503, "{path}");
        if status == 200 {
            // The next request has the configured deadline again.
            assert_eq!(client.ask(GET).await.status, 200);
            client.mark();
            let answer = client.ask("GET /left HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(answer.status, 503, "after {path}");
            assert!(
                client.elapsed() < ms(480),
                "after {path}: {:?}",
                client.elapsed()
            );
        }
    });
    let asked = asked.map(tokio::spawn);
    for asked in asked {
        asked.await.unwrap();
    }
    server.finish().await;
}

/// Answers with the result of reading the body.
async fn how_it_was_read(request: Request<RequestBody>) -> Response<Body> {
    match request.into_body().collect().await {
        Ok(body) => reply(200, format!("{} bytes", body.to_bytes().len())),
        Err(error) if error.is_timeout() => reply(408, "too slow"),
        Err(_) => reply(400, "it broke off"),
    }
}

#[tokio::test]
async fn handler_moves_its_read_deadline() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap();
        match request.uri().path() {
            "/longer" => deadlines.set_read(ms(2_000)),
            "/off" => deadlines.set_read(None),
            "/shorter" => deadlines.set_read(ms(80)),
            _ => {}
        }
        how_it_was_read(request).await
    });
    let server = Server::start(Timeouts::none().read(ms(250)), app).await;
    let cases = [
        ("/longer", 200, 480, 1_500),
        ("/off", 200, 480, 1_500),
        ("/shorter", 408, 60, 245),
        ("/left", 408, 230, 480),
    ];
    let addr = server.addr;
    let asked = cases.map(|(path, status, from, to)| async move {
        let mut client = Raw::connect(addr).await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n"
            ))
            .await;
        if status == 200 {
            client.sleep_until(ms(500)).await;
            client.send("0123456789").await;
        }
        let answer = client.read_response().await;
        let at = client.elapsed();
        assert_eq!(answer.status, status, "{path} at {at:?}");
        assert!(at >= ms(from) && at < ms(to), "{path} at {at:?}");
        assert_eq!(answer.closes(), status == 408, "{path}");
    });
    let asked = asked.map(tokio::spawn);
    for asked in asked {
        asked.await.unwrap();
    }
    server.finish().await;
}

#[tokio::test]
async fn deadlines_handle_of_an_ended_request_affects_no_other() {
    let kept = Arc::new(Mutex::new(None::<Deadlines>));
    let keep = kept.clone();
    let app = app(move |request: Request<RequestBody>| {
        let keep = keep.clone();
        async move {
            let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
            let before = keep.lock().unwrap().replace(deadlines);
            if request.uri().path() == "/second" {
                let before = before.unwrap();
                before.set_write(ms(1));
                before.set_read(ms(1));
                tokio::time::sleep(ms(100)).await;
            }
            reply(200, "done")
        }
    });
    let server = Server::start(Timeouts::none(), app).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    let answer = client.ask("GET /second HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.closes()), (200, false));
    // The idle connection is not affected either.
    kept.lock().unwrap().take().unwrap().set_write(ms(1));
    tokio::time::sleep(ms(50)).await;
    assert_eq!(client.ask(GET).await.status, 200);
    drop(client);
    server.finish().await;
}

// === standing still ===

#[tokio::test(start_paused = true)]
async fn steady_uploader_is_served_and_a_stalled_one_is_cut() {
    let setup = Setup::new().timeouts(Timeouts::none().read_stall(ms(250)));
    let server = setup.start_in_memory(app(how_it_was_read)).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n";
    let mut steady = server.connect().await;
    steady.send(head).await;
    for _ in 0..12 {
        tokio::time::sleep(ms(60)).await;
        steady.send("x").await;
    }
    let answer = steady.read_response().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "12 bytes"));
    assert!(steady.elapsed() > ms(700));

    let mut stalled = server.connect().await;
    stalled.send(head.to_owned() + "xxx").await;
    stalled.mark();
    let ending = stalled.read_until_close().await;
    let answer = ending.answer();
    assert_eq!((answer.status, answer.text().as_str()), (408, "too slow"));
    assert!(answer.closes());
    assert!(
        ending.at >= ms(230) && ending.at < ms(1_250),
        "{:?}",
        ending.at
    );
    drop((steady, stalled));
    assert!(
        server
            .reported()
            .iter()
            .any(|line| line.starts_with("timeout read_stall"))
    );
    server.finish().await;
}

#[tokio::test]
async fn handler_that_does_not_read_is_no_client_stall() {
    let app = app(|request: Request<RequestBody>| async move {
        tokio::time::sleep(ms(400)).await;
        how_it_was_read(request).await
    });
    let server = Server::start(Timeouts::none().read_stall(ms(150)), app).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n")
        .await;
    client.sleep_until(ms(450)).await;
    client.send("done").await;
    assert_eq!(client.read_response().await.text(), "4 bytes");
    drop(client);
    server.finish().await;
}

const LARGE: usize = 12 * 1024 * 1024;

/// Builds a service whose response to `/large` exceeds the socket buffers.
fn large() -> App {
    app(|request: Request<RequestBody>| async move {
        match request.uri().path() {
            "/large" => reply(200, vec![7; LARGE]),
            _ => reply(200, "good"),
        }
    })
}

async fn ask_for_the_large(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = socket.connect(server.addr).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    stream
}

#[tokio::test]
async fn steady_downloader_is_served() {
    let stall = ms(1_500);
    let server = Server::start(Timeouts::none().write_stall(stall), large()).await;
    let mut steady = ask_for_the_large(&server).await;
    let began = Instant::now();
    let mut buffer = vec![0; 512 * 1024];
    let mut came = 0;
    loop {
        let mut read = 0;
        let ended = loop {
            let some = within(LIMIT, "more", steady.read(&mut buffer[read..]))
                .await
                .unwrap();
            read += some;
            if some == 0 || read == buffer.len() {
                break some == 0;
            }
        };
        came += read;
        if ended {
            break;
        }
        tokio::time::sleep(ms(170)).await;
    }
    assert!(came > LARGE, "all of it: {came}");
    assert!(began.elapsed() > stall * 5 / 2, "{:?}", began.elapsed());
    server.finish().await;
}

#[tokio::test]
async fn stalled_downloader_is_cut() {
    let timeouts = [
        Timeouts::none().write_stall(ms(300)),
        Timeouts::none().write(ms(300)),
    ];
    for timeouts in timeouts {
        let server = Server::start(timeouts, large()).await;
        let began = Instant::now();
        let mut stalled = ask_for_the_large(&server).await;
        server.until_open(1).await;
        server.until_open(0).await;
        let took = began.elapsed();
        assert!(took >= ms(280) && took < ms(1_300), "{took:?}");
        let mut rest = Vec::new();
        let read = within(LIMIT, "the end", stalled.read_to_end(&mut rest)).await;
        assert!(read.is_err() || rest.len() < LARGE);
        drop(stalled);
        server.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn pause_shorter_than_the_stall_limit_is_allowed() {
    // The stall timer restarts with each byte, on a reused connection.
    let timeouts = Timeouts::none().read_stall(ms(200)).write_stall(ms(200));
    let setup = Setup::new().timeouts(timeouts);
    let server = setup.start_in_memory(app(how_it_was_read)).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client
            .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx")
            .await;
        tokio::time::sleep(ms(190)).await;
        client.send("x").await;
        assert_eq!(client.read_response().await.text(), "2 bytes");
        tokio::time::sleep(ms(190)).await;
    }
    drop(client);
    server.finish().await;
}
