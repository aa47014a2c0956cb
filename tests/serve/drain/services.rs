//! Listeners and services of every kind are drained.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use lameduck::serve::RequestBody;
use lameduck::{Limits, Shutdown, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::{GET, get, hello};
use crate::support::{Gate, How, Raw, Setup, answers, app, ms, reply, within};

#[tokio::test]
async fn connections_over_the_limit_wait_and_are_served_in_turn() {
    let limits = Limits::default().max_connections(2);
    let server = Setup::new().limits(limits).start(hello()).await;
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    assert_eq!(one.ask(GET).await.status, 200);
    assert_eq!(two.ask(GET).await.status, 200);
    let mut three = server.connect().await;
    three.send(GET).await;
    let early = three.read_until_close_for(ms(150)).await;
    assert_eq!((early.how, early.bytes.len()), (How::StillOpen, 0));
    assert_eq!(server.open(), 2);
    drop(one);
    assert_eq!(three.read_response().await.status, 200);
    drop(two);
    drop(three);
    server.finish().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_answered_when_the_drain_begins() {
    let gate = Gate::new();
    let limits = Limits::default().max_connections(1);
    let mut server = Setup::new().limits(limits).start(gate.app()).await;
    let mut one = server.connect().await;
    one.send(get("/slow")).await;
    gate.came().await;
    let mut others = Vec::new();
    for _ in 0..5 {
        let mut client = server.connect().await;
        client.send(GET).await;
        others.push(client);
    }
    server.handle.drain_now();
    for client in &mut others {
        let answer = client.read_response().await;
        assert_eq!((answer.status, answer.closes()), (200, true));
    }
    gate.let_one_go();
    assert_eq!(one.read_response().await.status, 200);
    assert!(server.report().await.is_clean());
}

#[tokio::test]
async fn unix_listener_is_served_and_drained() {
    let path = std::env::temp_dir().join(format!("lameduck-drain-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let shutdown = Shutdown::new().signals(false);
    let handle = shutdown.handle();
    let gate = Gate::new();
    let serve = lameduck::serve(listener, gate.app()).shutdown(shutdown);
    let report = tokio::spawn(async move { serve.await.unwrap() });
    let mut busy = UnixStream::connect(&path).await.unwrap();
    busy.write_all(get("/slow").as_bytes()).await.unwrap();
    gate.came().await;
    // Nothing is awaited from here to the drain: these wait in the queue.
    let queued: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
            stream.write_all(get("/queued").as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            UnixStream::from_std(stream).unwrap()
        })
        .collect();
    handle.drain_now();
    let answered = async {
        for mut stream in queued {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            assert_eq!(answers(&bytes)[0].text(), "/queued");
        }
        gate.let_one_go();
        let mut bytes = Vec::new();
        busy.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(answers(&bytes)[0].text(), "/slow");
        report.await.unwrap()
    };
    let report = within(crate::support::LIMIT, "the report", answered).await;
    std::fs::remove_file(&path).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.connections), (6, 6));
}

#[tokio::test]
async fn service_fn_is_served_and_its_error_is_a_500() {
    let service = tower::service_fn(|request: Request<RequestBody>| async move {
        match request.uri().path() {
            "/fails" => Err("it failed"),
            _ => Ok(Response::new(Full::<Bytes>::from("hello"))),
        }
    });
    let server = Setup::new().start(service).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(GET).await.text(), "hello");
    assert_eq!(client.ask(get("/fails")).await.status, 500);
    drop(client);
    assert!(
        server
            .reported()
            .iter()
            .any(|line| line.starts_with("the service failed: it failed GET /fails (")),
        "{:?}",
        server.reported()
    );
    server.finish().await;
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn router_is_served_with_connect_info() {
    use axum::extract::ConnectInfo;
    use axum::routing::get as on_get;
    use lameduck::ConnInfo;

    let app = axum::Router::new()
        .route(
            "/",
            on_get(
                |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: axum::extract::Request| async move {
                    let info = request.extensions().get::<ConnInfo>().copied().unwrap();
                    assert_eq!(info.peer, Some(peer));
                    format!("{peer} {}", info.local.unwrap())
                },
            ),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new().signals(false);
    let handle = shutdown.handle();
    let serve = lameduck::serve(listener, app).shutdown(shutdown);
    let report = tokio::spawn(async move { serve.await.unwrap() });
    let mut client = Raw::connect(addr).await;
    let peer = client.stream().local_addr().unwrap();
    assert_eq!(client.ask(GET).await.text(), format!("{peer} {addr}"));
    handle.drain_now();
    let report = within(crate::support::LIMIT, "the report", report).await;
    assert!(report.unwrap().is_clean());
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn request_without_extensions_has_no_connect_info() {
    use axum::extract::ConnectInfo;

    for with in [true, false] {
        let app = app(|request| async move {
            let mut extensions = request.into_parts().0.extensions;
            let found = extensions.remove::<ConnectInfo<SocketAddr>>().is_some();
            reply(200, format!("{found}, others {}", !extensions.is_empty()))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = Shutdown::for_tests();
        let handle = shutdown.handle();
        let mut serve = lameduck::serve(listener, app).shutdown(shutdown);
        if !with {
            serve = serve.without_extensions();
        }
        let report = tokio::spawn(serve.into_future());
        let mut client = Raw::connect(addr).await;
        assert_eq!(
            client.ask(GET).await.text(),
            format!("{with}, others {with}")
        );
        handle.drain_now();
        let report = within(crate::support::LIMIT, "the report", report).await;
        assert!(report.unwrap().unwrap().is_clean());
    }
}

#[tokio::test]
async fn single_connection_of_an_own_accept_loop_is_served() {
    use lameduck::events::{CloseReason, TimeoutKind};
    use lameduck::serve_connection_with_timeouts;

    let service = || {
        tower::service_fn(|request: Request<RequestBody>| async move {
            let path = request.uri().path().to_owned();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(path)))
        })
    };
    let timeouts = Timeouts::none().idle(ms(200));
    // The connection is kept alive, and ends when it is idle for too long.
    let (mut client, io) = tokio::io::duplex(256);
    let connection = serve_connection_with_timeouts(io, service(), timeouts).unwrap();
    let connection = tokio::spawn(connection);
    for path in ["/1", "/2"] {
        client.write_all(get(path).as_bytes()).await.unwrap();
        let mut bytes = vec![0; 256];
        let read = within(crate::support::LIMIT, "an answer", client.read(&mut bytes)).await;
        bytes.truncate(read.unwrap());
        assert!(bytes.ends_with(path.as_bytes()), "{bytes:?}");
    }
    let mut rest = Vec::new();
    let ended = async {
        client.read_to_end(&mut rest).await.unwrap();
        connection.await.unwrap()
    };
    let why = within(crate::support::LIMIT, "its idle end", ended).await;
    assert_eq!(why, CloseReason::Timeout(TimeoutKind::Idle));
    assert!(rest.is_empty());

    // A leaving client ends the connection.
    let (client, io) = tokio::io::duplex(256);
    let connection = serve_connection_with_timeouts(io, service(), timeouts).unwrap();
    drop(client);
    assert_eq!(
        within(crate::support::LIMIT, "its end", connection).await,
        CloseReason::Ended
    );

    // HTTP/2 works with prior knowledge, and dropping the future ends the connection.
    let (client, io) = tokio::io::duplex(64 * 1024);
    let connection = serve_connection_with_timeouts(io, service(), timeouts).unwrap();
    let connection = tokio::spawn(connection);
    let talk = async {
        let (mut sender, connection) = h2::client::handshake(client).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("http://a/h2").body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "/h2");
        (sender, connection)
    };
    let (sender, other_end) = within(crate::support::LIMIT, "an answer", talk).await;
    connection.abort();
    let ended = within(crate::support::LIMIT, "its end", other_end).await;
    drop((ended, sender));

    // An invalid timeout is an error.
    let (_, io) = tokio::io::duplex(256);
    let zero = serve_connection_with_timeouts(io, service(), timeouts.write(Duration::ZERO));
    assert_eq!(zero.unwrap_err().name(), "write");
}
