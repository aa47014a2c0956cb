//! The end of the service: signals, phases, streams that end themselves, the report, the exit code.

use std::time::Duration;

use rustix::process::Signal;
use tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::support::{
    client::{self, Client},
    service::{Service, Unread, timed},
};

/// A lame duck long enough to be seen from outside.
const LAME_DUCK: [(&str, &str); 2] = [("LAME_DUCK", "2s"), ("DRAIN_TIMEOUT", "10s")];
/// A lame duck that never ends within a test: a process that ends before it did not wait for it.
const LONG_LAME_DUCK: [(&str, &str); 3] = [
    ("LAME_DUCK", "10m"),
    ("DRAIN_TIMEOUT", "10m"),
    ("TERMINATION_GRACE", "1h"),
];

#[test]
fn lame_duck_serves_but_is_not_ready() {
    let service = Service::start_ready(&LAME_DUCK);
    let mut open = Client::connect(service.address).expect("a connection");
    assert_eq!(open.get("/").expect("an answer").head.status, 200);

    service.signal(Signal::TERM);
    service.phase("lame_duck");
    let ready = client::get(service.address, "/readyz").expect("an answer");
    assert_eq!(ready.head.status, 503);
    let alive = client::get(service.address, "/healthz").expect("an answer");
    assert_eq!(alive.head.status, 200);
    // Both an open connection and a new one are served.
    assert_eq!(open.get("/").expect("an answer").head.status, 200);
    let answer = client::get(service.address, "/").expect("an answer");
    assert_eq!(answer.head.status, 200);

    let ended = service.ended();
    ended.assert_clean();
    for phase in ["ready", "lame_duck", "draining"] {
        assert!(
            ended.logged("phase", phase).is_some(),
            "{phase}: {:#?}",
            ended.output
        );
    }
    let closed = ended.logged("message", "the database is closed");
    assert!(closed.is_some(), "{:#?}", ended.output);
}

#[test]
fn request_in_flight_is_finished() {
    let service = Service::start_ready(&[("LAME_DUCK", "1ms")]);
    let mut slow = Client::connect(service.address).expect("a connection");
    let mut stream = Client::connect(service.address).expect("a connection");
    stream.send_get("/stream?n=4&ms=300").expect("sent");
    assert_eq!(stream.head().expect("a head").status, 200);
    slow.send_get("/slow?ms=800").expect("sent");

    service.signal(Signal::TERM);
    assert_eq!(slow.response().expect("an answer").text(), "slept 800 ms\n");
    let mut lines = 0;
    while stream.chunk().expect("a chunk or the end").is_some() {
        lines += 1;
    }
    assert_eq!(lines, 4);
    service.ended().assert_clean();
}

#[test]
fn drain_refuses_new_work_but_answers_probes() {
    let service = Service::start_ready(&[("LAME_DUCK", "1ms")]);
    let connect = || Client::connect(service.address).expect("a connection");
    // The connection is idle since before the signal, as in a client's pool.
    let mut idle: [Client; 3] = std::array::from_fn(|_| {
        let mut client = connect();
        assert_eq!(client.get("/").expect("an answer").head.status, 200);
        client
    });
    let mut held = connect();
    held.send_get("/stream?n=2&ms=1500").expect("sent");
    assert_eq!(held.head().expect("a head").status, 200);

    service.signal(Signal::TERM);
    service.logged("phase", "draining");
    let [work, alive, ready] = &mut idle;
    let refused = work.get("/").expect("an answer").head;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    work.closed().expect("the end of the connection");
    assert_eq!(alive.get("/healthz").expect("an answer").head.status, 200);
    let ready = ready.get("/readyz").expect("an answer");
    assert_eq!(ready.head.status, 503);
    assert_eq!(ready.json()["phase"], "draining");

    while held.chunk().expect("a chunk or the end").is_some() {}
    service.ended().assert_clean();
}

#[test]
fn sse_ends_at_the_drain_with_a_last_event() {
    let service = Service::start_ready(&LAME_DUCK);
    let mut client = Client::connect(service.address).expect("a connection");
    client.send_get("/sse").expect("sent");
    assert_eq!(client.head().expect("a head").status, 200);
    client.chunk().expect("a first event");

    service.signal(Signal::TERM);
    let mut last = Vec::new();
    while let Some(event) = client.chunk().expect("an event or the end") {
        last = event;
    }
    let last = String::from_utf8(last).expect("text");
    assert!(last.starts_with("event: draining\n"), "{last}");
    service.ended().assert_clean();
}

#[test]
fn websocket_is_closed_with_1001() {
    let service = Service::start_ready(&LAME_DUCK);
    let url = format!("ws://{}/ws", service.address);
    let (mut socket, _) = tungstenite::connect(url).expect("an upgrade");
    socket.send(Message::text("quack")).expect("sent");
    assert_eq!(socket.read().expect("an echo"), Message::text("quack"));

    service.signal(Signal::TERM);
    match socket.read().expect("a goodbye") {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?} where a close was awaited"),
    }
    // The next read sends the answer to the close, and finds the end.
    while socket.read().is_ok() {}
    service.ended().assert_clean();
}

#[test]
fn unresponsive_websocket_client_does_not_delay_the_exit() {
    let service = Service::start_ready(&LAME_DUCK);
    let url = format!("ws://{}/ws", service.address);
    let (socket, _) = tungstenite::connect(url).expect("an upgrade");

    service.signal(Signal::TERM);
    service.ended().assert_clean();
    drop(socket);
}

#[test]
fn all_stop_signals_drain() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let service = Service::start_ready(&[("LAME_DUCK", "700ms")]);
        service.signal(Signal::HUP);
        service.signal(signal);
        service.phase("lame_duck");
        // A signal that is sent twice counts once.
        service.signal(signal);
        let answer = client::get(service.address, "/").expect("served on");
        assert_eq!(answer.head.status, 200, "{signal:?}");
        service.ended().assert_clean();
    }
}

#[test]
fn signal_during_the_start_is_obeyed() {
    let service = Service::start(&[("STARTUP_DELAY", "10m"), ("LAME_DUCK", "off")]);
    service.signal(Signal::TERM);
    let ended = service.ended();
    ended.assert_clean();
    assert!(ended.logged("phase", "ready").is_none());
    assert!(ended.logged("phase", "lame_duck").is_none());
}

#[test]
fn unread_log_delays_nothing() {
    let service = Unread::start(&[("LAME_DUCK", "50ms"), ("DRAIN_TIMEOUT", "5s")]);
    let mut client = Client::connect(service.address).expect("a connection");
    // Each line has some 300 bytes: a pipe holds 64 KiB, and the buffer 1 MiB.
    for _ in 0..6_000 {
        assert_eq!(client.get("/").expect("an answer").head.status, 200);
    }
    service.signal(Signal::TERM);
    let (status, took) = timed(|| service.ended());
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn second_signal_cuts_and_the_report_names_the_cut() {
    let service = Service::start_ready(&LONG_LAME_DUCK);
    let mut client = Client::connect(service.address).expect("a connection");
    client.send_get("/stream?n=2&ms=60000").expect("sent");
    assert_eq!(client.head().expect("a head").status, 200);

    service.signal(Signal::TERM);
    service.phase("lame_duck");
    service.signal(Signal::INT);
    let ended = service.ended();
    while let Ok(chunk) = client.chunk() {
        assert!(chunk.is_some(), "a body that was cut must not look whole");
    }
    assert!(!ended.status.success(), "{}", ended.status);
    let report = ended
        .logged("message", "shutdown report")
        .expect("a report");
    assert_eq!(report["clean"], false, "{report}");
    let printed = ended.printed();
    assert!(printed.contains("/stream"), "{printed}");
}

#[test]
fn request_past_the_drain_deadline_is_cut_and_reported() {
    let service = Service::start_ready(&[("LAME_DUCK", "1ms"), ("DRAIN_TIMEOUT", "500ms")]);
    let mut client = Client::connect(service.address).expect("a connection");
    client.send_get("/stream?n=100&ms=1000").expect("sent");
    assert_eq!(client.head().expect("a head").status, 200);

    service.signal(Signal::TERM);
    let ended = service.ended();
    assert!(!ended.status.success(), "{}", ended.status);
    let printed = ended.printed();
    assert!(printed.contains("/stream"), "{printed}");
}
