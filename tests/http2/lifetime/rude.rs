//! Clients that do not answer, do not finish what they began, or vanish.

use lameduck::{InFlightLayer, Limits, Timeouts};
use tower::ServiceBuilder;

use super::{Client, has, head, heard_until, rude, serves};
use crate::support::wire::{ACK, END_STREAM, PREFACE};
use crate::support::{Frame, Frames, Gate, How, LIMIT, Server, Setup, frames, kind, ms, within};

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
