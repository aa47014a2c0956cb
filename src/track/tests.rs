use super::*;
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<BodyEnd>>>);

impl Guard for Ends {
    fn end(self, how: BodyEnd) {
        self.0.lock().unwrap().push(how);
    }
}

impl Ends {
    fn seen(&self) -> Vec<BodyEnd> {
        self.0.lock().unwrap().clone()
    }
}

type Script = Vec<Result<Frame<Bytes>, &'static str>>;

fn scripted(frames: Script) -> impl Body<Data = Bytes, Error = &'static str> + Unpin {
    StreamBody::new(tokio_stream::iter(frames))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test]
async fn read_to_the_end_is_complete_and_trailers_pass() {
    let ends = Ends::default();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = scripted(vec![data("a"), Ok(Frame::trailers(trailers.clone()))]);
    let collected = TrackedBody::new(body, ends.clone())
        .collect()
        .await
        .unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "a");
    assert_eq!(ends.seen(), [BodyEnd::Complete]);
}

#[tokio::test]
async fn data_is_reported_before_the_end_and_trailers_are_not() {
    #[derive(Clone, Default)]
    struct Bytes(Arc<Mutex<Vec<String>>>);
    impl Guard for Bytes {
        fn data(&mut self, bytes: usize) {
            self.0.lock().unwrap().push(bytes.to_string());
        }
        fn end(self, how: BodyEnd) {
            self.0.lock().unwrap().push(format!("{how:?}"));
        }
    }
    let ends = Bytes::default();
    let trailers = http::HeaderMap::new();
    let body = scripted(vec![data("abc"), data("de"), Ok(Frame::trailers(trailers))]);
    let body = TrackedBody::new(body, ends.clone());
    body.collect().await.unwrap();
    let full = Full::<bytes::Bytes>::from("whole");
    let body = TrackedBody::new(full, ends.clone());
    body.collect().await.unwrap();
    let ends = ends.0.lock().unwrap().join(" ");
    assert_eq!(ends, "3 2 Complete 5 Complete");
}

#[tokio::test]
async fn an_error_ends_it_once() {
    let ends = Ends::default();
    let mut body = TrackedBody::new(
        scripted(vec![data("a"), Err("broke"), data("b")]),
        ends.clone(),
    );
    while body.frame().await.is_some() {}
    drop(body);
    assert_eq!(ends.seen(), [BodyEnd::Error]);
}

#[tokio::test]
async fn dropped_half_way_is_cancelled() {
    let ends = Ends::default();
    let mut body = TrackedBody::new(scripted(vec![data("a"), data("b")]), ends.clone());
    body.frame().await.unwrap().unwrap();
    assert!(ends.seen().is_empty(), "not yet ended");
    drop(body);
    assert_eq!(ends.seen(), [BodyEnd::Cancelled]);
}

#[tokio::test]
async fn the_last_frame_of_a_known_length_is_the_end() {
    let ends = Ends::default();
    let mut body = TrackedBody::new(Full::<Bytes>::from("all"), ends.clone());
    assert_eq!(body.size_hint().exact(), Some(3));
    assert!(!body.is_end_stream());
    body.frame().await.unwrap().unwrap();
    assert_eq!(ends.seen(), [BodyEnd::Complete]);
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn a_drop_after_the_declared_length_is_complete() {
    for (declared, end) in [
        (Some(3), BodyEnd::Complete),
        (Some(2), BodyEnd::Complete),
        (Some(4), BodyEnd::Cancelled),
        (None, BodyEnd::Cancelled),
    ] {
        let ends = Ends::default();
        let body = scripted(vec![data("ab"), data("c")]);
        let mut body = TrackedBody::new(body, ends.clone()).declared(declared);
        for _ in 0..2 {
            body.frame().await.unwrap().unwrap();
            assert!(ends.seen().is_empty(), "trailers may come, or an error");
        }
        drop(body);
        assert_eq!(ends.seen(), [end], "{declared:?}");
    }
}

#[test]
fn a_body_without_bytes_is_complete_when_dropped() {
    let ends = Ends::default();
    let body = TrackedBody::new(Empty::<Bytes>::new(), ends.clone());
    assert!(body.is_end_stream());
    drop(body);
    drop(TrackedBody::unread(
        Full::<Bytes>::from("for a HEAD"),
        ends.clone(),
    ));
    assert_eq!(ends.seen(), [BodyEnd::Complete, BodyEnd::Complete]);
}

#[tokio::test]
async fn a_tally_wakes_its_waiter_at_zero() {
    let tally = Arc::new(Tally::new());
    tally.idle().await;
    let one = Tally::enter(&tally);
    let two = Tally::enter(&tally);
    assert_eq!(tally.count(), 2);
    let waiter = tokio::spawn({
        let tally = tally.clone();
        async move { tally.idle().await }
    });
    tokio::task::yield_now().await;
    drop(one);
    tokio::task::yield_now().await;
    assert!(!waiter.is_finished());
    drop(two);
    waiter.await.unwrap();
    assert_eq!(tally.count(), 0);
}

/// A task that counts its wakes.
#[derive(Default)]
struct Wakes(std::sync::atomic::AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn polls(self: &Arc<Self>, future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        std::pin::Pin::new(future).poll(&mut cx).is_ready()
    }
}

#[test]
fn each_waiter_is_woken_once_at_its_own_count() {
    let tally = Arc::new(Tally::new());
    let mut guards: Vec<_> = (0..6).map(|_| Tally::enter(&tally)).collect();
    let mut waiters: Vec<_> = [4, 0, 2, 4]
        .map(|most| (most, Arc::<Wakes>::default(), Box::pin(tally.at_most(most))))
        .into();
    for (most, wakes, waiter) in &mut waiters {
        assert!(!wakes.polls(waiter), "{most}");
    }
    while let Some(guard) = guards.pop() {
        drop(guard);
        let left = guards.len();
        waiters.retain_mut(|(most, wakes, waiter)| {
            let reached = left <= *most;
            assert_eq!(wakes.count(), usize::from(reached), "{most} at {left}");
            assert_eq!(wakes.polls(waiter), reached, "{most} at {left}");
            !reached
        });
    }
    assert!(waiters.is_empty());
    assert!(Arc::<Wakes>::default().polls(&mut Box::pin(tally.at_most(0))));
}

#[test]
fn a_waiter_that_has_not_run_yet_holds_up_no_other() {
    let tally = Arc::new(Tally::new());
    let guards = [Tally::enter(&tally), Tally::enter(&tally)];
    let (first, last) = (Arc::<Wakes>::default(), Arc::<Wakes>::default());
    let (mut high, mut low) = (Box::pin(tally.at_most(1)), Box::pin(tally.at_most(0)));
    assert!(!first.polls(&mut high) && !last.polls(&mut low));
    drop(guards);
    assert_eq!((first.count(), last.count()), (1, 1));
    assert!(last.polls(&mut low) && first.polls(&mut high));
}

#[test]
fn a_waiter_that_is_dropped_leaves_the_others_waiting() {
    let tally = Arc::new(Tally::new());
    let guards = [Tally::enter(&tally), Tally::enter(&tally)];
    let wakes = Arc::<Wakes>::default();
    let (mut high, mut low) = (Box::pin(tally.at_most(1)), Box::pin(tally.at_most(0)));
    assert!(!wakes.polls(&mut high) && !wakes.polls(&mut low));
    drop(high);
    let [one, two] = guards;
    drop(one);
    assert_eq!(wakes.count(), 0, "no one waits for 1");
    drop(two);
    assert_eq!(wakes.count(), 1);
    assert!(wakes.polls(&mut low));
}

#[test]
fn a_waiter_moves_to_another_task() {
    let tally = Arc::new(Tally::new());
    let guard = Tally::enter(&tally);
    let (first, second) = (Arc::<Wakes>::default(), Arc::<Wakes>::default());
    let mut waiter = Box::pin(tally.at_most(0));
    assert!(!first.polls(&mut waiter) && !second.polls(&mut waiter));
    drop(guard);
    assert_eq!((first.count(), second.count()), (0, 1));
    assert!(second.polls(&mut waiter));
}
