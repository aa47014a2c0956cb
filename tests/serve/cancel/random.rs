//! A thousand futures, bodies and connections, dropped at random moments.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use lameduck::DrainLayer;
use lameduck::serve::RequestBody;
use lameduck::{InFlightLayer, Lifecycle, Phase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::{Service, ServiceBuilder, service_fn};

use super::{Count, One, counted};
use crate::support::{Body, LIMIT, Setup, app, channel, h2_connect, ms, within};

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
