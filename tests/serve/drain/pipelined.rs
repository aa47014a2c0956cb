//! Pipelined requests, and the share of answers that close, in a drain.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lameduck::Phase;

use super::{GET, get, hello};
use crate::support::{Gate, How, Raw, Setup, app, channel, ms, reply};

// === pipelined ===

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Setup::new().start(Gate::new().app()).await;
    let mut client = server.connect().await;
    client.send(get("/1") + &get("/2") + &get("/3")).await;
    for path in ["/1", "/2", "/3"] {
        let answer = client.read_response().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, path));
        assert!(!answer.closes());
    }
    // The last request arrives in two pieces.
    client.send(get("/4") + &get("/5")[..9]).await;
    assert_eq!(client.read_response().await.text(), "/4");
    tokio::time::sleep(ms(30)).await;
    client.send(&get("/5")[9..]).await;
    assert_eq!(client.read_response().await.text(), "/5");
    drop(client);
    server.finish().await;
}

#[tokio::test]
async fn pipelined_request_behind_a_closing_answer_is_not_executed() {
    for second in [get("/2"), get("/2")[..9].to_owned(), get("/2").repeat(300)] {
        let gate = Gate::new();
        let mut server = Setup::new().start(gate.app()).await;
        let mut client = server.connect().await;
        client.send(get("/slow") + &second).await;
        gate.came().await;
        server.handle.drain_now();
        server.handle.lifecycle().reached(Phase::Draining).await;
        gate.let_one_go();
        let ending = client.read_until_close().await;
        let answer = ending.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "/slow"));
        assert!(answer.closes(), "{answer:?}");
        let report = server.report().await;
        assert!(report.is_clean(), "{report}");
        assert!(report.drain < ms(1_500), "it hangs: {report}");
        assert_eq!((gate.calls(), report.requests), (1, 1));
    }
}

#[tokio::test]
async fn pipelined_request_behind_an_answer_without_close_is_answered() {
    let (sender, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let app = app(move |request| {
        let body = body.clone();
        async move {
            match request.uri().path() {
                "/stream" => http::Response::new(body.lock().unwrap().take().unwrap()),
                path => reply(200, path.to_owned()),
            }
        }
    });
    let mut server = Setup::new().start(app).await;
    let mut client = server.connect().await;
    let mut sender = sender;
    sender.send_data(Bytes::from("before ")).await.unwrap();
    client.send(get("/stream") + &get("/next")).await;
    // The head has been sent, without `Connection: close`.
    client.stream().readable().await.unwrap();
    server.handle.drain_now();
    server.handle.lifecycle().reached(Phase::Draining).await;
    sender.send_data(Bytes::from("after")).await.unwrap();
    drop(sender);
    let first = client.read_response().await;
    assert_eq!(first.text(), "before after");
    assert!(!first.closes());
    let second = client.read_response().await;
    assert_eq!(second.text(), "/next");
    assert!(second.closes());
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
}

// === answers in a drain ===

#[tokio::test]
async fn lame_duck_closes_a_growing_share_of_answers() {
    // The window is long beside the pauses of a busy machine; it is in memory, with many answers in each part.
    const WINDOW: Duration = ms(4_000);
    let setup = Setup::new().lame_duck(WINDOW);
    let mut server = setup.start_in_memory(hello()).await;
    let mut calm = server.connect().await;
    for _ in 0..50 {
        assert!(!calm.ask(GET).await.closes(), "before the signal");
    }
    drop(calm);
    server.handle.shutdown();
    let lifecycle = server.handle.lifecycle();
    lifecycle.reached(Phase::LameDuck).await;
    let began = lifecycle.entered(Phase::LameDuck).expect("the lame duck");
    let door = server.door();
    let clients = (0..4).map(|_| door.clone()).map(|door| async move {
        let mut answers = Vec::new();
        let mut client = Raw::on(door.connect());
        while began.elapsed() < WINDOW.mul_f64(0.93) {
            let asked = began.elapsed();
            let answer = client.ask(GET).await;
            assert_eq!(answer.status, 200, "at {asked:?}");
            answers.push((asked, began.elapsed(), answer.closes()));
            if answer.closes() {
                let ending = client.read_until_close().await;
                assert_eq!((ending.how, ending.bytes.len()), (How::Fin, 0));
                client = Raw::on(door.connect());
            }
            tokio::time::sleep(ms(1)).await;
        }
        answers
    });
    let clients: Vec<_> = clients.map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.await.unwrap());
    }
    // Counts answers requested after `from` and received before `to`, as parts of the window.
    let share = |from: f64, to: f64| {
        let within: Vec<_> = answers
            .iter()
            .filter(|(asked, answered, _)| {
                *asked >= WINDOW.mul_f64(from) && *answered <= WINDOW.mul_f64(to)
            })
            .collect();
        assert!(within.len() >= 20, "too few answers from {from} to {to}");
        let closes = within.iter().filter(|(_, _, closes)| *closes).count();
        closes as f64 / within.len() as f64
    };
    let shares = [
        share(0.0, 0.1),
        share(0.3, 0.45),
        share(0.6, 0.74),
        share(0.77, 1.0),
    ];
    assert!(shares[0] < 0.25, "{shares:?}");
    assert!(shares[1] > 0.3 && shares[1] < 0.7, "{shares:?}");
    assert!(shares[2] > 0.7, "{shares:?}");
    assert_eq!(shares[3], 1.0, "{shares:?}");
    let report = server.report().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.lame_duck >= WINDOW, "{report}");
}
