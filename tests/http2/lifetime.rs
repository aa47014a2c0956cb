//! Drain and deadlines of HTTP/2 connections and streams, with well-behaved and misbehaving clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use lameduck::serve::{Deadlines, RequestBody};
use lameduck::{DrainLayer, InFlightLayer, Limits, Phase, Shutdown, Timeouts};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tower::ServiceBuilder;

use crate::support::wire::{ACK, END_HEADERS, END_STREAM, PREFACE};
use crate::support::{
    Frame, Frames, Gate, Heard, How, LIMIT, Raw, Server, Setup, app, channel, frames, full,
    h2_connect, kind, ms, reply, within,
};

// === clients ===

/// A client that keeps to the rules.
struct Client {
    sender: SendRequest<Bytes>,
    heard: Heard,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// The outcome of a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    async fn connect(addr: SocketAddr) -> Client {
        let (sender, connection, heard) = h2_connect(addr).await;
        Client {
            sender,
            heard,
            connection: tokio::spawn(connection),
        }
    }

    /// Sends a request and returns a task that awaits its outcome.
    fn send(&mut self, path: &str) -> JoinHandle<Result<Answer, h2::Error>> {
        let request = Request::get(format!("http://a{path}")).body(()).unwrap();
        let (answer, _) = self.sender.send_request(request, true).unwrap();
        tokio::spawn(async move {
            let (head, mut body) = answer.await?.into_parts();
            let body = read(&mut body).await?;
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            })
        })
    }

    async fn get(&mut self, path: &str) -> Result<Answer, h2::Error> {
        let answer = self.send(path);
        within(LIMIT, path, answer).await.unwrap()
    }

    /// Waits until the connection has ended, with or without an error.
    async fn ended(self) {
        drop(self.sender);
        let ended = within(LIMIT, "the connection's end", self.connection).await;
        drop(ended.unwrap());
    }
}

/// Reads everything that a stream sends, as fast as it arrives.
async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        bytes.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(bytes)
}

fn reset(error: &h2::Error) -> Option<Reason> {
    if error.is_reset() {
        error.reason()
    } else {
        None
    }
}

/// Encodes a request's head without any index that would need a table.
fn head(stream: u32, path: &str, flags: u8) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x01, 1, b'a', 0x04];
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path.as_bytes());
    Frame::new(kind::HEADERS, END_HEADERS | flags, stream, block).bytes()
}

/// Sends the preface and settings, and never acknowledges anything.
async fn rude(addr: SocketAddr) -> Raw {
    let mut client = Raw::connect(addr).await;
    client.send(PREFACE).await;
    let settings = Frame::new(kind::SETTINGS, 0, 0, []);
    client.send(settings.bytes()).await;
    client
}

/// Reads frames until `until` holds.
async fn heard_until(
    client: &mut Raw,
    partial: &mut Frames,
    what: &str,
    so: impl Fn(&[Frame]) -> bool,
) -> Vec<Frame> {
    let mut heard = Vec::new();
    let all = async {
        while !so(&heard) {
            let mut bytes = Vec::new();
            let length = client.stream().read_buf(&mut bytes).await;
            assert_ne!(length.expect("the connection stands"), 0, "{heard:?}");
            heard.extend(partial.take(&bytes));
        }
    };
    within(LIMIT, what, all).await;
    heard
}

fn has(frames: &[Frame], kind: u8, stream: u32) -> bool {
    frames
        .iter()
        .any(|frame| (frame.kind, frame.stream) == (kind, stream))
}

// === services ===

/// Asserts, after every case, that a connection still serves.
async fn serves(client: &mut Client) {
    let answer = client.get("/good").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

// === the drain ===

#[tokio::test]
async fn streams_in_flight_finish_through_a_drain() {
    let gate = Gate::new();
    let mut server = Setup::new().start(gate.app()).await;
    let mut client = Client::connect(server.addr).await;
    let answers: Vec<_> = (0..20)
        .map(|number| client.send(&format!("/slow/{number}")))
        .collect();
    gate.all_came(20).await;
    server.handle.drain_now();
    let (_, goaway) = client.heard.until(kind::GOAWAY, 0).await;
    assert_eq!(goaway.code(), Some(0), "in peace");
    tokio::time::sleep(ms(150)).await;
    assert_eq!(gate.dropped(), 0);
    gate.let_go(20);
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = within(LIMIT, "an answer", answer).await.unwrap().unwrap();
        assert_eq!(answer.text(), format!("/slow/{number}"));
    }
    let finished = Instant::now();
    client.ended().await;
    let report = server.report().await;
    assert!(finished.elapsed() < ms(400), "{:?}", finished.elapsed());
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.connections), (20, 1));
}

#[tokio::test]
async fn stream_finishes_through_a_drain() {
    let (mut sender, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let app = app(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    });
    let mut server = Setup::new().start(app).await;
    let mut client = Client::connect(server.addr).await;
    let answer = client.send("/stream");
    client.heard.until(kind::HEADERS, 1).await;
    server.handle.drain_now();
    for number in 0..6 {
        tokio::time::sleep(ms(40)).await;
        let sent = sender.send_data(Bytes::from(format!("{number},"))).await;
        sent.expect("it is still wanted");
    }
    drop(sender);
    let answer = within(LIMIT, "an answer", answer).await.unwrap().unwrap();
    assert_eq!(answer.text(), "0,1,2,3,4,5,");
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert!(
        report.drain >= ms(200) && report.drain < ms(900),
        "{report}"
    );
}

#[tokio::test]
async fn upload_finishes_through_a_drain() {
    let app = app(|request: Request<RequestBody>| async move {
        match request.into_body().collect().await {
            Ok(body) => reply(200, body.to_bytes()),
            Err(error) => reply(400, error.to_string()),
        }
    });
    let mut server = Setup::new().start(app).await;
    let mut client = Client::connect(server.addr).await;
    let request = Request::post("http://a/").body(()).unwrap();
    let (answer, mut body) = client.sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from("0"), false).unwrap();
    tokio::time::sleep(ms(30)).await;
    server.handle.drain_now();
    for (byte, last) in [("1", false), ("2", false), ("3", true)] {
        tokio::time::sleep(ms(150)).await;
        body.send_data(Bytes::from(byte), last).unwrap();
    }
    let answer = within(LIMIT, "an answer", answer).await.unwrap();
    let bytes = within(LIMIT, "its body", read(&mut answer.into_body())).await;
    assert_eq!(bytes.unwrap(), b"0123");
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn idle_connections_leave_at_once() {
    let mut server = Setup::new().start(Gate::new().app()).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(server.addr).await;
        serves(&mut client).await;
        clients.push(client);
    }
    let report = server.drain().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(300), "{report}");
    for client in clients {
        assert!(client.heard.first(kind::GOAWAY, 0).is_some());
        client.ended().await;
    }
}

#[tokio::test]
async fn slowly_read_response_is_whole() {
    // The body is one piece, far over the window that the client gives.
    let app = app(|_| async { reply(200, vec![7; 300_000]) });
    let mut server = Setup::new().start(app).await;
    let mut client = Client::connect(server.addr).await;
    let request = Request::get("http://a/").body(()).unwrap();
    let (answer, _) = client.sender.send_request(request, true).unwrap();
    let answer = within(LIMIT, "a head", answer).await.unwrap();
    server.handle.drain_now();
    tokio::time::sleep(ms(1_250)).await;
    let mut body = answer.into_body();
    let bytes = within(LIMIT, "the body", read(&mut body)).await;
    assert_eq!(bytes.expect("the whole body").len(), 300_000);
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn stream_that_ignores_the_drain_is_cut_and_reported() {
    let gate = Gate::new();
    let mut server = Setup::new().drain(ms(300)).start(gate.app()).await;
    let mut client = Client::connect(server.addr).await;
    serves(&mut client).await;
    let one = client.send("/slow/1?token=secret");
    let two = client.send("/slow/2");
    gate.all_came(2).await;
    server.handle.drain_now();
    for answer in [one, two] {
        let answer = within(LIMIT, "its end", answer).await.unwrap();
        answer.expect_err("it was cut");
    }
    let report = server.report().await;
    let mut named: Vec<_> = report.cut.iter().map(|cut| cut.path.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["/slow/1", "/slow/2"], "{report}");
    for cut in &report.cut {
        assert_eq!((cut.method.as_str(), cut.state), ("GET", "in the handler"));
        assert!(cut.peer.is_some() && cut.age >= ms(290), "{cut}");
    }
    assert!(
        report.drain >= ms(290) && report.drain < ms(390),
        "{report}"
    );
    assert_eq!(gate.dropped(), 3, "the handlers are cancelled");
    let reported = server.reported();
    assert!(
        reported
            .iter()
            .any(|line| line.starts_with("connection closed") && line.ends_with(": cut")),
        "{reported:?}"
    );
}

#[tokio::test]
async fn goaway_comes_in_the_second_half_of_the_lame_duck_window() {
    const WINDOW: Duration = ms(1_000);
    let mut server = Setup::new()
        .lame_duck(WINDOW)
        .start(Gate::new().app())
        .await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(server.addr).await;
        serves(&mut client).await;
        clients.push(client);
    }
    let signals: Vec<_> = clients
        .iter()
        .map(|client| client.heard.elapsed())
        .collect();
    server.handle.shutdown();
    tokio::time::sleep(WINDOW / 4).await;
    for client in &mut clients {
        serves(client).await;
    }
    let mut waits = Vec::new();
    for (client, signal) in clients.iter().zip(signals) {
        let (at, goaway) = client.heard.until(kind::GOAWAY, 0).await;
        assert_eq!(goaway.code(), Some(0), "in peace");
        waits.push(at.saturating_sub(signal));
    }
    for wait in &waits {
        assert!(*wait >= WINDOW * 48 / 100, "in the first half: {waits:?}");
        assert!(*wait <= WINDOW + ms(100), "too late: {waits:?}");
    }
    let (first, last) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*last - *first > ms(25), "all at once: {waits:?}");
    for client in clients {
        client.ended().await;
    }
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn request_crossing_the_lame_duck_goaway_is_answered() {
    let mut server = Setup::new()
        .lame_duck(ms(500))
        .start(Gate::new().app())
        .await;
    let mut client = rude(server.addr).await;
    client.send(head(1, "/one", END_STREAM)).await;
    server.handle.shutdown();
    let mut heard = Vec::new();
    while !has(&heard, kind::GOAWAY, 0) {
        let more = client.read_until_close_for(ms(10)).await;
        assert_eq!(more.how, How::StillOpen, "{heard:?}");
        heard.extend(frames(&more.bytes));
    }
    assert!(has(&heard, kind::DATA, 1));
    // The request was on its way when the GOAWAY was sent.
    client.send(head(3, "/three", END_STREAM)).await;
    let ending = client.read_until_close().await;
    let after = frames(&ending.bytes);
    assert!(has(&after, kind::DATA, 3), "{after:?}");
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn goaway_comes_between_two_frames_at_full_speed() {
    const LENGTH: usize = 400_000;
    let bytes: Bytes = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let meant = bytes.clone();
    let app = app(move |_| {
        let bytes = bytes.clone();
        let (mut sender, body) = channel();
        tokio::spawn(async move {
            for (number, piece) in bytes.chunks(7_001).enumerate() {
                let sent = sender.send_data(bytes.slice_ref(piece)).await;
                if sent.is_err() {
                    return;
                }
                if number % 8 == 0 {
                    tokio::time::sleep(ms(10)).await;
                }
            }
        });
        async { Response::new(body) }
    });
    let setup = Setup::new().lame_duck(ms(400)).drain(LIMIT * 2);
    let mut server = setup.start(app).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Client::connect(server.addr).await;
        serves(&mut client).await;
        clients.push(client);
    }
    server.handle.shutdown();
    let clients = clients.into_iter().map(|mut client| {
        let meant = meant.clone();
        async move {
            let mut whole = 0;
            while client.heard.first(kind::GOAWAY, 0).is_none() {
                let answers = [client.send("/a"), client.send("/b"), client.send("/c")];
                for answer in answers {
                    let answer = within(LIMIT * 2, "an answer", answer).await.unwrap();
                    let body = answer.expect("a whole answer").body;
                    assert_eq!(body.len(), LENGTH);
                    assert!(body == meant, "as it was sent");
                    whole += 1;
                }
            }
            client.ended().await;
            whole
        }
    });
    let clients: Vec<_> = clients.map(tokio::spawn).collect();
    for client in clients {
        assert!(client.await.unwrap() >= 3);
    }
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn request_crossing_the_goaway_is_answered() {
    let mut server = Setup::new().start(Gate::new().app()).await;
    let mut client = Client::connect(server.addr).await;
    serves(&mut client).await;
    // The request is sent before the client can know of the drain.
    server.handle.drain_now();
    let answer = client.get("/crossing").await.unwrap();
    assert_eq!(answer.text(), "/crossing");
    client.ended().await;
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn drain_layer_refuses_without_a_connection_header() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new().signals(false);
    let handle = shutdown.handle();
    let gate = Gate::new();
    let service = ServiceBuilder::new()
        .layer(DrainLayer::new(handle.lifecycle()).retry_after(Duration::from_secs(2)))
        .service(gate.app());
    let serve = lameduck::serve(listener, service).shutdown(shutdown);
    let report = tokio::spawn(async move { serve.await.unwrap() });
    let mut client = Client::connect(addr).await;
    let slow = client.send("/slow");
    gate.all_came(1).await;
    handle.drain_now();
    let refused = client.get("/crossing").await.unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "2");
    assert!(!refused.headers.contains_key("connection"), "{refused:?}");
    gate.let_go(1);
    let slow = within(LIMIT, "an answer", slow).await.unwrap().unwrap();
    assert_eq!(slow.status, 200);
    let report = within(LIMIT, "the report", report).await.unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn tunnel_is_waited_for_then_cut_and_reported() {
    let app = app(|mut request: Request<RequestBody>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(io);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        reply(200, "")
    });
    let mut server = Setup::new().drain(ms(300)).start(app).await;
    let mut client = Client::connect(server.addr).await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("db.internal:5432")
        .body(())
        .unwrap();
    let (answer, mut to) = client.sender.send_request(request, false).unwrap();
    let answer = within(LIMIT, "a head", answer).await.unwrap();
    let mut from = answer.into_body();
    to.send_data(Bytes::from("hello"), false).unwrap();
    let echo = within(LIMIT, "the echo", from.data()).await;
    assert_eq!(echo.unwrap().unwrap(), "hello");
    server.handle.drain_now();
    tokio::time::sleep(ms(100)).await;
    to.send_data(Bytes::from("again"), false).unwrap();
    let echo = within(LIMIT, "the echo", from.data()).await;
    assert_eq!(echo.unwrap().unwrap(), "again", "it is waited for");
    let report = server.report().await;
    assert!(
        report.drain >= ms(290) && report.drain < ms(900),
        "{report}"
    );
    assert_eq!(report.cut.len(), 1, "{report}");
    assert_eq!(report.cut[0].method, "CONNECT", "{report}");
}

// === rude clients ===

#[tokio::test]
async fn client_that_never_acknowledges_the_ping_is_closed_a_second_after_its_last_stream() {
    let gate = Gate::new();
    let mut server = Setup::new().start(gate.app()).await;
    let mut client = rude(server.addr).await;
    client.send(head(1, "/slow", END_STREAM)).await;
    gate.all_came(1).await;
    server.handle.drain_now();
    let before = client.read_until_close_for(ms(150)).await;
    let heard = frames(&before.bytes);
    assert_eq!(before.how, How::StillOpen);
    assert!(
        has(&heard, kind::GOAWAY, 0) && has(&heard, kind::PING, 0),
        "{heard:?}"
    );
    assert!(!has(&heard, kind::HEADERS, 1));
    client.mark();
    gate.let_go(1);
    let ending = client.read_until_close().await;
    let heard = frames(&ending.bytes);
    assert!(
        has(&heard, kind::HEADERS, 1) && has(&heard, kind::DATA, 1),
        "{heard:?}"
    );
    assert_ne!(ending.how, How::StillOpen);
    assert!(
        ending.at >= ms(700) && ending.at < ms(1_600),
        "{:?}",
        ending.at
    );
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain < ms(2_000), "{report}");
}

#[tokio::test]
async fn client_that_does_not_answer_pings_is_closed() {
    let limits = Limits::default()
        .ping_interval(ms(150))
        .ping_timeout(ms(150));
    let server = Setup::new().limits(limits).start(Gate::new().app()).await;
    let mut polite = Client::connect(server.addr).await;
    let mut client = rude(server.addr).await;
    client.send(head(1, "/good", END_STREAM)).await;
    client.mark();
    let ending = client.read_until_close().await;
    assert_ne!(ending.how, How::StillOpen);
    assert!(
        ending.at >= ms(250) && ending.at < ms(1_200),
        "{:?}",
        ending.at
    );
    serves(&mut polite).await;
    drop(polite);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn client_with_a_partial_preface_is_closed() {
    let timeouts = Timeouts::none().read_header(ms(250));
    let server = Server::start(timeouts, Gate::new().app()).await;
    for said in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
        let mut client = server.connect().await;
        client.send(said).await;
        let ending = client.read_until_close().await;
        assert_ne!(ending.how, How::StillOpen, "after {said:?}");
        assert!(
            ending.at >= ms(200) && ending.at < ms(1_250),
            "after {said:?}: {ending:?}"
        );
        assert_eq!(
            ending.bytes.is_empty(),
            said.is_empty(),
            "after {said:?}: {ending:?}"
        );
    }
    server.finish().await;
}

#[tokio::test]
async fn client_silent_after_the_preface_is_idle() {
    let timeouts = Timeouts::none().idle(ms(250));
    let server = Server::start(timeouts, Gate::new().app()).await;
    let settings = Frame::new(kind::SETTINGS, 0, 0, []).bytes();
    // The same holds for half a frame, and for an endless head.
    let unended = Frame::new(kind::HEADERS, END_STREAM, 1, [0x82, 0x86]).bytes();
    let cases = [
        vec![],
        settings[..5].to_vec(),
        settings.clone(),
        [settings, unended].concat(),
    ];
    let mut clients = Vec::new();
    for more in &cases {
        let mut client = server.connect().await;
        client.send(PREFACE).await;
        client.send(more).await;
        clients.push(client);
    }
    for (client, more) in clients.iter_mut().zip(&cases) {
        let ending = client.read_until_close().await;
        assert_ne!(ending.how, How::StillOpen, "after {more:?}");
        assert!(
            ending.at >= ms(200) && ending.at < ms(2_200),
            "after {more:?}: {:?}",
            ending.at
        );
    }
    drop(clients);
    server.finish().await;
}

#[tokio::test]
async fn partial_preface_at_the_drain_has_the_window() {
    for whole in [true, false] {
        let limits = Limits::default().drain_window(ms(250));
        let mut server = Setup::new().limits(limits).start(Gate::new().app()).await;
        let mut client = server.connect().await;
        client.send(&PREFACE[..20]).await;
        server.until_open(1).await;
        tokio::time::sleep(ms(30)).await;
        client.mark();
        server.handle.drain_now();
        tokio::time::sleep(ms(50)).await;
        if whole {
            client.send(&PREFACE[20..]).await;
            client
                .send(Frame::new(kind::SETTINGS, 0, 0, []).bytes())
                .await;
            client.send(head(1, "/good", END_STREAM)).await;
        }
        let ending = client.read_until_close().await;
        assert_ne!(ending.how, How::StillOpen);
        if whole {
            assert!(has(&frames(&ending.bytes), kind::DATA, 1), "{ending:?}");
        } else {
            assert!(ending.at < ms(1_200), "{ending:?}");
        }
        let report = server.report().await;
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test]
async fn streams_are_limited_to_two_hundred() {
    let gate = Gate::new();
    let server = Setup::new().start(gate.app()).await;
    let mut client = rude(server.addr).await;
    let ids = (0..201).map(|number| 2 * number + 1);
    let requests: Vec<u8> = ids
        .clone()
        .flat_map(|id| head(id, "/slow", END_STREAM))
        .collect();
    client.send(requests).await;
    gate.all_came(200).await;
    let refused = |heard: &[Frame]| heard.iter().any(|frame| frame.kind == kind::RST_STREAM);
    let mut partial = Frames::default();
    let mut before = heard_until(&mut client, &mut partial, "a refusal", refused).await;
    // No second GOAWAY follows.
    let more = client.read_until_close_for(ms(100)).await;
    before.extend(partial.take(&more.bytes));
    let refused: Vec<_> = before
        .iter()
        .filter(|f| f.kind == kind::RST_STREAM)
        .collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(
        (refused[0].stream, refused[0].code()),
        (401, Some(7)),
        "REFUSED_STREAM"
    );
    let settings = before
        .iter()
        .find(|f| f.kind == kind::SETTINGS && f.flags & ACK == 0);
    let mut pairs = settings.unwrap().payload.chunks(6);
    assert!(
        pairs.any(|pair| pair == [0, 3, 0, 0, 0, 200]),
        "MAX_CONCURRENT_STREAMS"
    );
    assert_eq!(gate.calls(), 200);
    gate.let_go(200);
    let answered = |heard: &[Frame]| ids.clone().take(200).all(|id| has(heard, kind::DATA, id));
    heard_until(&mut client, &mut partial, "200 answers", answered).await;
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn vanished_client_leaves_nothing() {
    let gate = Gate::new();
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = ServiceBuilder::new().layer(layer).service(gate.app());
    let server = Setup::new().start(service).await;
    let mut client = rude(server.addr).await;
    for id in [1, 3, 5] {
        client.send(head(id, "/slow", END_STREAM)).await;
    }
    // One of the requests has half a body.
    client.send(head(7, "/slow", 0)).await;
    client
        .send(Frame::new(kind::DATA, 0, 7, *b"half").bytes())
        .await;
    gate.all_came(4).await;
    assert_eq!(in_flight.count(), 4);
    drop(client);
    within(LIMIT, "nothing in flight", in_flight.wait_idle()).await;
    server.until_open(0).await;
    assert_eq!(gate.dropped(), 4);
    server.finish().await;
}

// === streams ===

#[tokio::test]
async fn dropped_stream_cancels_only_its_handler() {
    let gate = Gate::new();
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = ServiceBuilder::new().layer(layer).service(gate.app());
    let server = Setup::new().start(service).await;
    let mut client = Client::connect(server.addr).await;
    let one = client.send("/slow/1");
    let two = client.send("/slow/2");
    gate.all_came(2).await;
    one.abort();
    while gate.dropped() == 0 {
        tokio::time::sleep(ms(5)).await;
    }
    assert_eq!(in_flight.requests().len(), 1);
    assert_eq!(in_flight.requests()[0].path, "/slow/2");
    gate.let_go(1);
    let two = within(LIMIT, "an answer", two).await.unwrap().unwrap();
    assert_eq!(two.text(), "/slow/2");
    serves(&mut client).await;
    assert_eq!(in_flight.count(), 0);
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn panic_resets_only_its_stream() {
    let gate = Gate::new();
    let inner = gate.app();
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = ServiceBuilder::new()
        .layer(layer)
        .service(app(move |request| {
            let mut inner = inner.clone();
            async move {
                if request.uri().path() == "/panics" {
                    panic!("as it should");
                }
                tower::Service::call(&mut inner, request).await.unwrap()
            }
        }));
    let server = Setup::new().start(service).await;
    let mut client = Client::connect(server.addr).await;
    let slow = client.send("/slow");
    gate.all_came(1).await;
    let error = client.get("/panics").await.unwrap_err();
    assert!(reset(&error).is_some(), "{error:?}");
    serves(&mut client).await;
    gate.let_go(1);
    let slow = within(LIMIT, "an answer", slow).await.unwrap().unwrap();
    assert_eq!(slow.status, 200);
    assert_eq!(in_flight.count(), 0);
    assert!(client.heard.first(kind::GOAWAY, 0).is_none());
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn write_timeout_ends_only_its_stream() {
    let gate = Gate::new();
    let timeouts = Timeouts::none().write(ms(300));
    let server = Server::start(timeouts, gate.app()).await;
    let mut client = Client::connect(server.addr).await;
    let began = Instant::now();
    let late = client.send("/slow/late");
    gate.all_came(1).await;
    tokio::time::sleep(ms(200)).await;
    let early = client.send("/slow/early");
    gate.all_came(1).await;
    // Nothing of the answer was sent: a 503 takes its place.
    let late = within(LIMIT, "its end", late).await.unwrap().unwrap();
    assert_eq!(late.status, 503);
    assert!(
        began.elapsed() >= ms(280) && began.elapsed() < ms(470),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(gate.dropped(), 1, "its handler is cancelled");
    gate.let_go(1);
    let early = within(LIMIT, "an answer", early).await.unwrap().unwrap();
    assert_eq!(early.text(), "/slow/early");
    serves(&mut client).await;
    let reported = server.reported();
    let timeouts = reported
        .iter()
        .filter(|line| line.starts_with("timeout write"));
    assert_eq!(timeouts.count(), 1, "{reported:?}");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn stream_with_a_closed_window_is_reset_at_its_write_deadline() {
    // The body comes in one piece, and in many.
    let app = app(|request| async move {
        match request.uri().path() {
            "/one" => reply(200, vec![7; 200_000]),
            "/many" => {
                let (mut sender, body) = channel();
                tokio::spawn(async move {
                    while sender.send_data(Bytes::from(vec![7; 10_000])).await.is_ok() {}
                });
                Response::new(body)
            }
            _ => Response::new(full("good")),
        }
    });
    let timeouts = Timeouts::none().write(ms(300));
    let server = Server::start(timeouts, app).await;
    for path in ["/many", "/one"] {
        let mut client = Client::connect(server.addr).await;
        let began = Instant::now();
        let request = Request::get(format!("http://a{path}")).body(()).unwrap();
        let (answer, _) = client.sender.send_request(request, true).unwrap();
        let body = within(LIMIT, "a head", answer).await.unwrap().into_body();
        // Nothing is read: the window is never opened again.
        let (_, reset) = within(ms(1_500), path, client.heard.until(kind::RST_STREAM, 1)).await;
        assert!(reset.code().is_some());
        assert!(began.elapsed() >= ms(250), "{path}: {:?}", began.elapsed());
        drop(body);
        serves(&mut client).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn stream_with_a_closed_window_stalls_without_a_write_deadline() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap();
        deadlines.set_write(None);
        match request.uri().path() {
            "/large" => reply(200, vec![7; 1 << 20]),
            _ => Response::new(full("good")),
        }
    });
    let timeouts = Timeouts::default().write_stall(ms(300));
    let server = Server::start(timeouts, app).await;
    let mut client = Client::connect(server.addr).await;
    let request = Request::get("http://a/large").body(()).unwrap();
    let (answer, _) = client.sender.send_request(request, true).unwrap();
    let body = within(LIMIT, "a head", answer).await.unwrap().into_body();
    let (at, _) = client.heard.until(kind::RST_STREAM, 1).await;
    assert!(at >= ms(280) && at < ms(1_300), "{at:?}");
    drop(body);
    serves(&mut client).await;
    let reported = server.reported();
    let stalls = reported
        .iter()
        .filter(|line| line.starts_with("timeout write_stall"));
    assert_eq!(stalls.count(), 1, "{reported:?}");
    drop(client);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_response_ends_with_and_without_trailers() {
    // The body has three pieces: its end waits until the last one is written, on another task and thread than this.
    const LENGTH: usize = 40_000;
    let app = app(|request| async move {
        let body = full(vec![7; LENGTH]);
        match request.uri().path() {
            "/trailers" => {
                let trailers = async { Some(Ok(http::HeaderMap::from_iter(trailer()))) };
                Response::new(body.with_trailers(trailers).boxed_unsync())
            }
            _ => Response::new(body),
        }
    });
    let server = Server::start(Timeouts::default(), app).await;
    let asked = (0..4).map(|_| {
        let addr = server.addr;
        tokio::spawn(async move {
            let mut client = Client::connect(addr).await;
            for round in 0..100 {
                let with = round % 2 == 0;
                let path = if with { "/trailers" } else { "/" };
                let request = Request::get(format!("http://a{path}")).body(()).unwrap();
                let (answer, _) = client.sender.send_request(request, true).unwrap();
                let mut body = within(LIMIT, "a head", answer).await.unwrap().into_body();
                let bytes = within(LIMIT, "its end", read(&mut body)).await.unwrap();
                assert_eq!(bytes.len(), LENGTH);
                let trailers = within(LIMIT, "trailers", body.trailers()).await.unwrap();
                assert_eq!(
                    trailers,
                    with.then(|| http::HeaderMap::from_iter(trailer()))
                );
            }
        })
    });
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    server.finish().await;
}

fn trailer() -> [(http::HeaderName, http::HeaderValue); 1] {
    let name = http::HeaderName::from_static("checksum");
    [(name, http::HeaderValue::from_static("7"))]
}

/// One byte more than the default window of a client.
const ONE_TOO_MANY: usize = 65_536;

#[tokio::test]
async fn unread_last_byte_has_a_deadline() {
    let app = app(|_| async { reply(200, vec![7; ONE_TOO_MANY]) });
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let app = ServiceBuilder::new().layer(layer).service(app);
    let mut server = Server::start(Timeouts::none().write(ms(300)), app).await;
    let mut client = rude(server.addr).await;
    client.send(head(1, "/", END_STREAM)).await;
    client.mark();
    let ending = client.read_until_close_for(ms(1_500)).await;
    let ended = ending.how != How::StillOpen || has(&frames(&ending.bytes), kind::RST_STREAM, 1);
    assert!(ended, "{:?}", ending.how);
    assert_eq!(in_flight.count(), 0);
    drop(client);
    server.until_open(0).await;
    assert!(server.drain().await.is_clean());
}

#[tokio::test]
async fn unread_last_byte_counts_as_in_flight() {
    let app = app(|_| async { reply(200, vec![7; ONE_TOO_MANY]) });
    let mut server = Setup::new().drain(ms(300)).start(app).await;
    let mut client = rude(server.addr).await;
    client.send(head(1, "/almost", END_STREAM)).await;
    let before = client.read_until_close_for(ms(100)).await;
    assert!(has(&frames(&before.bytes), kind::DATA, 1));
    let report = server.drain().await;
    assert_eq!(report.cut.len(), 1, "{report}");
    assert_eq!(report.cut[0].path, "/almost");
    assert_eq!(report.cut[0].state, "sending the response");
    drop(client);
}

#[tokio::test]
async fn read_timeout_is_an_error_of_the_streams_body() {
    let app = app(|request: Request<RequestBody>| async move {
        match request.into_body().collect().await {
            Ok(body) => reply(200, body.to_bytes()),
            Err(error) if error.is_timeout() => reply(408, "too slow"),
            Err(error) => reply(400, error.to_string()),
        }
    });
    let timeouts = Timeouts::none().read(ms(300));
    let server = Server::start(timeouts, app).await;
    let mut client = Client::connect(server.addr).await;
    let post = |path: &str| Request::post(format!("http://a{path}")).body(()).unwrap();
    let began = Instant::now();
    let (slow, mut slow_body) = client.sender.send_request(post("/slow"), false).unwrap();
    slow_body.send_data(Bytes::from("half"), false).unwrap();
    let (quick, mut quick_body) = client.sender.send_request(post("/quick"), false).unwrap();
    tokio::time::sleep(ms(100)).await;
    quick_body
        .send_data(Bytes::from("all of it"), true)
        .unwrap();
    let quick = within(LIMIT, "an answer", quick).await.unwrap();
    assert_eq!(quick.status(), 200);
    let slow = within(LIMIT, "an answer", slow).await.unwrap();
    assert_eq!(slow.status(), 408);
    assert!(
        began.elapsed() >= ms(280) && began.elapsed() < ms(1_000),
        "{:?}",
        began.elapsed()
    );
    serves(&mut client).await;
    drop((client, slow_body, quick_body, slow, quick));
    server.finish().await;
}

#[tokio::test]
async fn handler_moves_its_deadlines() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
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
    let mut client = Client::connect(server.addr).await;
    let began = Instant::now();
    let [longer, off, shorter, left] =
        ["/longer", "/off", "/shorter", "/left"].map(|path| client.send(path));
    let (ended, mut ends) = mpsc::unbounded_channel();
    for (name, answer) in [
        ("longer", longer),
        ("off", off),
        ("shorter", shorter),
        ("left", left),
    ] {
        let ended = ended.clone();
        tokio::spawn(async move {
            let answer = within(LIMIT, name, answer).await.unwrap();
            let answered = answer.unwrap().status == 200;
            let _ = ended.send((name, began.elapsed(), answered));
        });
    }
    drop(ended);
    while let Some((name, at, answered)) = ends.recv().await {
        let (from, to, expected) = match name {
            "shorter" => (ms(60), ms(245), false),
            "left" => (ms(230), ms(480), false),
            _ => (ms(480), ms(1_500), true),
        };
        assert_eq!(answered, expected, "{name} at {at:?}");
        assert!(at >= from && at < to, "{name} at {at:?}");
    }
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn handler_moves_the_deadline_of_its_body() {
    let app = app(|request: Request<RequestBody>| async move {
        let deadlines = request.extensions().get::<Deadlines>().unwrap().clone();
        match request.uri().path() {
            "/longer" => deadlines.set_read(ms(2_000)),
            "/off" => deadlines.set_read(None),
            "/shorter" => deadlines.set_read(ms(80)),
            _ => {}
        }
        match request.into_body().collect().await {
            Ok(_) => reply(200, "all"),
            Err(error) => reply(if error.is_timeout() { 408 } else { 400 }, "slow"),
        }
    });
    let server = Server::start(Timeouts::none().read(ms(250)), app).await;
    let mut client = Client::connect(server.addr).await;
    let mut running = Vec::new();
    for (path, status) in [
        ("/longer", 200),
        ("/off", 200),
        ("/shorter", 408),
        ("/left", 408),
    ] {
        let request = Request::post(format!("http://a{path}")).body(()).unwrap();
        let (answer, body) = client.sender.send_request(request, false).unwrap();
        running.push((path, status, answer, body));
    }
    tokio::time::sleep(ms(500)).await;
    for (path, status, answer, mut body) in running {
        // The streams that timed out have been reset.
        let _ = body.send_data(Bytes::from("all"), true);
        let answer = within(LIMIT, path, answer).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn connections_and_streams_are_counted() {
    let mut server = Setup::new().start(Gate::new().app()).await;
    for _ in 0..5 {
        let mut client = Client::connect(server.addr).await;
        for _ in 0..20 {
            serves(&mut client).await;
        }
        client.ended().await;
    }
    server.until_open(0).await;
    let report = server.drain().await;
    assert_eq!((report.requests, report.connections), (100, 5));
    assert_eq!(server.handle.lifecycle().phase(), Phase::Closed);
}
