use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lameduck::events::{Event, EventSink};
use lameduck::serve::{App, Listener, ServeError};
use lameduck::shutdown::ShutdownHandle;
use lameduck::{Limits, Report, Shutdown, Timeouts};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Door, LIMIT, Raw, ms, within};

/// A server that is about to be started, without timeouts unless some are given.
pub struct Setup {
    timeouts: Timeouts,
    limits: Limits,
    lame_duck: Duration,
    drain: Duration,
}

/// A running server on a port of its own, in the test's runtime. Dropping it cuts it.
pub struct Server {
    pub addr: SocketAddr,
    pub handle: ShutdownHandle,
    door: Option<Door>,
    seen: Arc<Seen>,
    report: Option<JoinHandle<Result<Report, ServeError>>>,
}

/// The events that the server reported.
struct Seen {
    open: watch::Sender<usize>,
    reported: Mutex<Vec<String>>,
}

impl Setup {
    pub fn new() -> Setup {
        Setup {
            timeouts: Timeouts::none(),
            limits: Limits::default(),
            lame_duck: Duration::ZERO,
            drain: Duration::from_secs(5),
        }
    }

    pub fn timeouts(mut self, timeouts: Timeouts) -> Setup {
        self.timeouts = timeouts;
        self
    }

    pub fn limits(mut self, limits: Limits) -> Setup {
        self.limits = limits;
        self
    }

    pub fn lame_duck(mut self, window: Duration) -> Setup {
        self.lame_duck = window;
        self
    }

    pub fn drain(mut self, most: Duration) -> Setup {
        self.drain = most;
        self
    }

    pub async fn start(self, app: impl App) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        self.start_at(addr, None, listener, app).await
    }

    /// Starts it without a socket, for a paused clock: its clients come by [`Server::connect`] alone.
    pub async fn start_in_memory(self, app: impl App) -> Server {
        let (door, listener) = Door::new();
        let nowhere = (Ipv4Addr::UNSPECIFIED, 0).into();
        self.start_at(nowhere, Some(door), listener, app).await
    }

    async fn start_at(
        self,
        addr: SocketAddr,
        door: Option<Door>,
        listener: impl Listener,
        app: impl App,
    ) -> Server {
        let shutdown = Shutdown::new()
            .signals(false)
            .lame_duck(self.lame_duck)
            .drain(self.drain)
            .workers(ms(500));
        let handle = shutdown.handle();
        let seen = Arc::new(Seen {
            open: watch::Sender::new(0),
            reported: Mutex::default(),
        });
        let serve = lameduck::serve(listener, app)
            .timeouts(self.timeouts)
            .limits(self.limits)
            .events(seen.clone().event_sink())
            .shutdown(shutdown);
        let report = tokio::spawn(async move { serve.await });
        within(
            LIMIT,
            "ready",
            handle.lifecycle().reached(lameduck::Phase::Ready),
        )
        .await;
        Server {
            addr,
            handle,
            door,
            seen,
            report: Some(report),
        }
    }
}

impl Seen {
    fn event_sink(self: Arc<Self>) -> EventSink {
        EventSink::to(move |event| {
            match event {
                Event::Opened { .. } => self.open.send_modify(|open| *open += 1),
                Event::Closed { .. } => self.open.send_modify(|open| *open -= 1),
                _ => {}
            }
            self.reported.lock().unwrap().push(event.to_string());
        })
    }
}

impl Server {
    /// Starts a server with these timeouts and defaults otherwise.
    pub async fn start(timeouts: Timeouts, app: impl App) -> Server {
        Setup::new().timeouts(timeouts).start(app).await
    }

    pub async fn connect(&self) -> Raw {
        match &self.door {
            Some(door) => Raw::on(door.connect()),
            None => Raw::connect(self.addr).await,
        }
    }

    /// Returns the entrance of clients of a server in memory.
    pub fn door(&self) -> Door {
        self.door.clone().expect("a server in memory")
    }

    /// Returns the number of open connections.
    pub fn open(&self) -> usize {
        *self.seen.open.borrow()
    }

    /// Waits until `count` connections are open.
    pub async fn until_open(&self, count: usize) {
        let mut open = self.seen.open.subscribe();
        let reached = async {
            let reached = open.wait_for(|open| *open == count).await;
            reached.expect("the server is there");
        };
        if tokio::time::timeout(LIMIT, reached).await.is_err() {
            panic!("{} connections are open, not {count}", self.open());
        }
    }

    /// Returns the events that the server reported, in words.
    pub fn reported(&self) -> Vec<String> {
        self.seen.reported.lock().unwrap().clone()
    }

    /// Waits for the end of the server, and returns its report.
    pub async fn report(&mut self) -> Report {
        let report = self.report.take().expect("it is asked for once");
        let report = within(LIMIT, "the report", report).await;
        report.expect("no panic").expect("it started")
    }

    /// Drains without a lame-duck wait.
    pub async fn drain(&mut self) -> Report {
        self.handle.drain_now();
        self.report().await
    }

    /// Asserts, after every case, that the server answers a good request, no connection is left, and it leaves at once
    /// with a clean report.
    pub async fn finish(mut self) -> Report {
        let mut good = self.connect().await;
        good.send("GET /good HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
        let answer = good.read_response().await;
        assert_eq!(answer.status, 200, "a good request: {answer:?}");
        drop(good);
        self.until_open(0).await;
        let report = self.drain().await;
        assert!(report.is_clean(), "{report}");
        assert!(report.drain < ms(300), "nothing to wait for, but: {report}");
        report
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.cut();
    }
}
