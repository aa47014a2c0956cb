//! The socket options that the server sets, and their effect: a vanished client is detected.
#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::time::Duration;

use http::{Request, Response};
use hyper_util::rt::TokioIo;
use lameduck::serve::{Keepalive, Listener, RequestBody};
use lameduck::{ConnInfo, Limits, Shutdown};
use socket2::{SockFilter, SockRef};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::{App, LIMIT, Raw, Setup, app, empty, ms, reply, within};

const SECOND: Duration = Duration::from_secs(1);

/// A listener around another one, which records the options of its sockets.
struct Noting(TcpListener);

thread_local! {
    static NOTED: RefCell<Vec<(&'static str, Options)>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    no_delay: bool,
    keepalive: Option<(Duration, Duration, u32)>,
    user_timeout: Option<Duration>,
}

impl Options {
    fn of(stream: &TcpStream) -> Options {
        let socket = SockRef::from(stream);
        let keepalive = || {
            let pauses = (
                socket.tcp_keepalive_time()?,
                socket.tcp_keepalive_interval()?,
            );
            io::Result::Ok((pauses.0, pauses.1, socket.tcp_keepalive_retries()?))
        };
        Options {
            no_delay: socket.tcp_nodelay().unwrap(),
            keepalive: socket.keepalive().unwrap().then(|| keepalive().unwrap()),
            user_timeout: socket.tcp_user_timeout().unwrap(),
        }
    }
}

impl Listener for Noting {
    type Io = TcpStream;

    fn prepare(&mut self, limits: &Limits) -> bool {
        self.0.prepare(limits)
    }

    fn configure(io: &TcpStream, limits: &Limits) {
        TcpListener::configure(io, limits);
        let noted = Options::of(io);
        NOTED.with_borrow_mut(|all| all.push(("configured", noted)));
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, ConnInfo)> {
        let accepted = Listener::accept(&mut self.0).await?;
        let noted = Options::of(&accepted.0);
        NOTED.with_borrow_mut(|all| all.push(("accepted", noted)));
        Ok(accepted)
    }

    fn accept_queued(&mut self) -> io::Result<Option<(TcpStream, ConnInfo)>> {
        self.0.accept_queued()
    }
}

/// Returns the options of sockets under these limits: of a client that connects before the server serves, and of a
/// later one.
async fn options(limits: Limits) -> Options {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut early = Raw::connect(addr).await;
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let app = app(|_| async { reply(200, "") });
    let serve = lameduck::serve(Noting(listener), app);
    let serve = tokio::spawn(serve.limits(limits).shutdown(shutdown).into_future());
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(early.ask(get).await.status, 200);
    let mut late = Raw::connect(addr).await;
    assert_eq!(late.ask(get).await.status, 200);
    handle.shutdown();
    within(LIMIT, "the end", serve).await.unwrap().unwrap();
    let noted = NOTED.take();
    let how: Vec<_> = noted.iter().map(|(how, _)| *how).collect();
    assert_eq!(how, ["configured", "accepted"]);
    assert_eq!(noted[0].1, noted[1].1);
    noted[1].1.clone()
}

#[tokio::test]
async fn accepted_sockets_inherit_their_options() {
    let default = Options {
        no_delay: true,
        keepalive: Some((15 * SECOND, 15 * SECOND, 9)),
        user_timeout: None,
    };
    // The kernel reports zero where it was not set.
    let unset = |options: Options| Options {
        user_timeout: options.user_timeout.filter(|timeout| !timeout.is_zero()),
        ..options
    };
    assert_eq!(unset(options(Limits::default()).await), default);
    let keepalive = Keepalive::new(7 * SECOND).interval(3 * SECOND).probes(4);
    let limits = Limits::default()
        .tcp_keepalive(keepalive)
        .tcp_user_timeout(20 * SECOND);
    let set = Options {
        keepalive: Some((7 * SECOND, 3 * SECOND, 4)),
        user_timeout: Some(20 * SECOND),
        ..default.clone()
    };
    assert_eq!(options(limits).await, set);
    let off = Options {
        keepalive: None,
        ..default
    };
    let limits = Limits::default().tcp_keepalive(Keepalive::off());
    assert_eq!(unset(options(limits).await), off);
}

#[test]
fn keepalive_beyond_the_kernels_range_is_refused() {
    let limits = |keepalive| Limits::default().tcp_keepalive(keepalive);
    for keepalive in [
        Keepalive::new(Duration::ZERO),
        Keepalive::new(ms(1500)),
        Keepalive::new(Duration::from_secs(32_768)),
        Keepalive::default().interval(ms(10)),
        Keepalive::default().probes(0),
        Keepalive::default().probes(128),
    ] {
        let error = limits(keepalive).check().unwrap_err();
        assert_eq!(error.name(), "tcp_keepalive", "{keepalive:?}");
    }
    let timeout = |limits: Limits, timeout| limits.tcp_user_timeout(timeout).check();
    for (limits, wrong) in [
        (Limits::default(), 14 * SECOND),
        (Limits::default(), Duration::ZERO),
        (limits(Keepalive::off()), Duration::from_micros(10)),
        (limits(Keepalive::off()), Duration::from_secs(8 * 86_400)),
    ] {
        let error = timeout(limits, wrong).unwrap_err();
        assert_eq!(error.name(), "tcp_user_timeout", "{wrong:?}");
    }
    assert!(timeout(Limits::default(), 15 * SECOND).is_ok());
    assert!(timeout(limits(Keepalive::off()), SECOND).is_ok());
}

/// Builds a service that upgrades a connection and reports how reading from it ended; `/wait` never answers.
fn upgrading() -> (App, mpsc::UnboundedReceiver<ErrorKind>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let app = app(move |mut request: Request<RequestBody>| {
        let ended = ended.clone();
        async move {
            if request.uri().path() == "/wait" {
                std::future::pending::<()>().await;
            }
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let read = io.read(&mut [0]).await;
                ended
                    .send(read.map_or_else(|error| error.kind(), |_| ErrorKind::Other))
                    .ok();
            });
            let response = Response::builder().status(101);
            let response = response
                .header("connection", "upgrade")
                .header("upgrade", "echo");
            response.body(empty()).unwrap()
        }
    });
    (app, ends)
}

/// Makes the kernel drop whatever arrives for this socket, and so answer nothing: as if the client had lost its
/// network.
fn vanish(stream: &TcpStream) {
    // BPF_RET | BPF_K: keep 0 bytes.
    let drop_all = SockFilter::new(6, 0, 0, 0);
    SockRef::from(stream).attach_filter(&[drop_all]).unwrap();
}

#[tokio::test]
async fn vanished_client_is_detected_and_delays_no_drain() {
    let (app, mut ends) = upgrading();
    let keepalive = Keepalive::new(SECOND).interval(SECOND).probes(2);
    let limits = Limits::default().tcp_keepalive(keepalive);
    let setup = Setup::new().limits(limits).drain(Duration::from_secs(20));
    let mut server = setup.start(app).await;
    let mut upgraded = server.connect().await;
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    assert_eq!(upgraded.ask(upgrade).await.status, 101);
    let mut waiting = server.connect().await;
    waiting.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.until_open(2).await;
    tokio::time::sleep(ms(50)).await;
    let gone = [upgraded.into_stream(), waiting.into_stream()];
    gone.iter().for_each(vanish);
    let report = server.drain();
    let report = within(Duration::from_secs(15), "the report", report).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(ends.try_recv(), Ok(ErrorKind::TimedOut));
    let gone = server.reported();
    let gone = gone.iter().filter(|line| line.starts_with("client gone"));
    assert_eq!(gone.count(), 1);
}
