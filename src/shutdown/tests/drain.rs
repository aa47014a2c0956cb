//! The requests that a drain waits for and those it cuts, and the fate of the waiting tasks when nothing drives it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::events::{Event, EventSink, RequestInfo};
use crate::phase::Phase;
use crate::shutdown::drained::ABORT_GRACE;
use crate::shutdown::sequence::NAMED;
use crate::shutdown::{Cause, ConnectionCounts, CutRequest, DrainServer, Shutdown, StepEnd};
use crate::track::{Tally, TallyGuard};

const SECOND: Duration = Duration::from_secs(1);

/// A server with a request in flight that ends on request, or when it is cut.
struct Server {
    tally: Arc<Tally>,
    running: Arc<Mutex<Option<TallyGuard>>>,
    requests: u64,
    cut: Vec<CutRequest>,
    /// The time that a cut request takes to end.
    falls_in: Duration,
    closes_idle: Mutex<usize>,
}

impl Server {
    fn busy(cut: usize) -> Self {
        let tally = Arc::default();
        let running = Arc::new(Mutex::new(Some(Tally::enter(&tally))));
        let request = |index| {
            let age = Duration::from_millis(index as u64);
            let peer = Some(SocketAddr::from(([192, 0, 2, 1], 80)));
            let path = format!("/{index}");
            let request = RequestInfo {
                method: Some("GET"),
                path: Some(&path),
                ..RequestInfo::from_peer(peer)
            };
            CutRequest::new(request, age, "in the handler")
        };
        Server {
            tally,
            running,
            requests: cut as u64 + 5,
            cut: (0..cut).map(request).collect(),
            falls_in: Duration::ZERO,
            closes_idle: Mutex::new(0),
        }
    }

    fn finish(&self) {
        self.running.lock().unwrap().take();
    }
}

impl DrainServer for Server {
    fn phase_moved(&self) {}

    fn busy(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    fn all(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    fn close_idle(&self) {
        *self.closes_idle.lock().unwrap() += 1;
    }

    fn cut(&self) -> Vec<CutRequest> {
        let (running, falls_in) = (self.running.clone(), self.falls_in);
        tokio::spawn(async move {
            sleep(falls_in).await;
            running.lock().unwrap().take();
        });
        self.cut.clone()
    }

    fn in_flight(&self) -> Vec<CutRequest> {
        self.cut.clone()
    }

    #[cfg(feature = "status")]
    fn oldest(&self, most: usize) -> (usize, Vec<CutRequest>) {
        (
            self.cut.len(),
            self.cut.iter().take(most).cloned().collect(),
        )
    }

    fn count(&self, _: &mut ConnectionCounts) {}

    fn timed_out(&self) -> u64 {
        0
    }
    fn client_gone(&self) -> u64 {
        0
    }
    fn requests(&self) -> u64 {
        self.requests
    }

    fn connections(&self) -> u64 {
        1
    }
}

fn quiet() -> Shutdown {
    Shutdown::with_signals(false)
        .lame_duck(Duration::ZERO)
        .drain(3 * SECOND)
}

#[tokio::test(start_paused = true)]
async fn of_many_that_are_cut_the_oldest_have_an_event_each() {
    let heard = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let hear = heard.clone();
    let events = EventSink::to(move |event| match event {
        Event::Cut { request, .. } => hear
            .lock()
            .unwrap()
            .0
            .push(request.path.unwrap_or_default().to_owned()),
        Event::MoreCut { count } => hear.lock().unwrap().1.push(*count),
        _ => {}
    });
    let shutdown = quiet();
    let handle = shutdown.handle();
    handle.register(Arc::new(Server::busy(250)));
    handle.register(Arc::new(Server::busy(10)));
    handle.drain_now();
    let report = shutdown.events(events).start().unwrap().run().await;
    let heard = heard.lock().unwrap();
    let named: Vec<_> = (250 - NAMED..250)
        .rev()
        .map(|age| format!("/{age}"))
        .collect();
    assert_eq!(heard.0, named);
    assert_eq!(heard.1, [260 - NAMED]);
    assert_eq!(report.cut.len(), 260);
    assert_eq!(report.requests, 10, "what was cut was not served");
}

#[tokio::test(start_paused = true)]
async fn cut_requests_get_a_moment_to_end_and_no_more() {
    for (falls_in, drain) in [
        (ABORT_GRACE / 2, 3 * SECOND + ABORT_GRACE / 2),
        (10 * SECOND, 3 * SECOND + ABORT_GRACE),
    ] {
        let shutdown = quiet();
        let mut server = Server::busy(1);
        server.falls_in = falls_in;
        shutdown.handle().register(Arc::new(server));
        shutdown.handle().drain_now();
        let report = shutdown.run().await.unwrap();
        let late = report.drain.abs_diff(drain);
        assert!(late < Duration::from_millis(5), "{falls_in:?}: {report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_during_the_drain_is_waited_for() {
    let shutdown = quiet();
    let handle = shutdown.handle();
    let (first, late) = (Arc::new(Server::busy(0)), Arc::new(Server::busy(0)));
    handle.register(first.clone());
    handle.drain_now();
    let driven = tokio::spawn(shutdown.run());
    handle.lifecycle().reached(Phase::Draining).await;
    sleep(SECOND / 2).await;
    handle.register(late.clone());
    first.finish();
    sleep(SECOND).await;
    assert!(
        !driven.is_finished(),
        "the late one has a request in flight"
    );
    late.finish();
    let report = driven.await.unwrap().unwrap();
    assert!(report.is_clean() && report.drain < 2 * SECOND, "{report}");
    let closed = |server: &Server| *server.closes_idle.lock().unwrap();
    assert_eq!((closed(&first), closed(&late)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_after_the_drain_ends_at_once() {
    let shutdown = quiet();
    let handle = shutdown.handle();
    handle.drain_now();
    shutdown.run().await.unwrap();
    let late = Arc::new(Server::busy(1));
    handle.register(late.clone());
    late.tally.idle().await;
}

#[tokio::test(start_paused = true)]
async fn when_nothing_drives_it_any_more_nothing_waits_for_ever() {
    // Dropped while it serves, in the lame duck, and while it drains.
    for drop_after in [None, Some(SECOND / 2), Some(3 * SECOND / 2)] {
        let shutdown = quiet().lame_duck(SECOND);
        let handle = shutdown.handle();
        handle.register(Arc::new(Server::busy(2)));
        let (stopped, stop) = (handle.stop_token(), handle.stop_token());
        handle.spawn_worker("stubborn", |_| std::future::pending::<()>());
        handle.spawn_worker("obedient", move |_| async move { stop.cancelled().await });
        let driven = tokio::spawn(shutdown.run());
        handle.lifecycle().reached(Phase::Ready).await;
        if let Some(after) = drop_after {
            handle.shutdown();
            sleep(after).await;
        }
        let began = Instant::now();
        driven.abort();
        let report = handle.reported().await;
        assert!(began.elapsed() < SECOND / 10);
        let cause = match drop_after {
            None => Cause::Dropped,
            Some(_) => Cause::Called,
        };
        assert_eq!((report.cause, report.at_once), (cause, true));
        assert_eq!(report.cut.len(), 2);
        assert!(!report.is_clean(), "{report}");
        assert!(
            report
                .steps
                .iter()
                .any(|step| step.end == StepEnd::CutShort)
        );
        assert!(stopped.is_cancelled());
        assert_eq!(handle.lifecycle().phase(), Phase::Closed);
        handle.lifecycle().reached(Phase::Closed).await;
    }
}
