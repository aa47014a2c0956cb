use super::*;

/// A body that is sent piece by piece, held by `Held`.
struct Streamed {
    body: Channel<Bytes>,
    _held: Held,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }
}

struct Stream {
    sender: Sender<Bytes>,
    answer: TimeoutBody<Streamed>,
    dropped: Arc<AtomicUsize>,
    emitted: Arc<Mutex<Vec<String>>>,
}

/// Returns a response of this content type that goes on after its head, in a layer of 100 ms.
async fn stream(whole: bool, request: Request<()>, content_type: &'static str) -> Stream {
    let (sender, body) = Channel::new(8);
    let dropped = Arc::new(AtomicUsize::new(0));
    let held = Held(dropped.clone());
    let body = Mutex::new(Some(Streamed { body, _held: held }));
    let (events, emitted) = listening();
    let mut layer = TimeoutLayer::new(ms(100)).events(events);
    if whole {
        layer = layer.whole_response();
    }
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        let mut response = Response::new(body.lock().unwrap().take().unwrap());
        let headers = response.headers_mut();
        headers.insert("content-type", content_type.parse().unwrap());
        ready(Ok::<_, Infallible>(response))
    }));
    let answer = service.call(request).await.unwrap();
    Stream {
        sender,
        answer: answer.into_body(),
        dropped,
        emitted,
    }
}

impl Stream {
    fn emitted(&self) -> Vec<String> {
        self.emitted.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_over_in_time_is_an_error_and_gone() {
    let mut stream = stream(true, get("/"), "text/plain").await;
    let began = Instant::now();
    stream.sender.send_data("one".into()).await.unwrap();
    let first = stream.answer.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "one");
    assert!(!stream.answer.is_end_stream());
    let error = stream.answer.frame().await.unwrap().unwrap_err();
    assert!(error.is::<TimeoutError>(), "{error}");
    assert!((ms(100)..ms(105)).contains(&began.elapsed()));
    assert_eq!(
        stream.dropped.load(Relaxed),
        1,
        "the inner body is gone at once"
    );
    assert!(stream.answer.is_end_stream());
    assert!(stream.answer.frame().await.is_none());
    assert_eq!(stream.emitted(), ["refused: request_timeout GET /"]);
}

#[tokio::test(start_paused = true)]
async fn to_the_head_only_the_body_has_all_the_time() {
    let mut stream = stream(false, get("/"), "text/plain").await;
    advance(ms(500)).await;
    stream.sender.send_data("late".into()).await.unwrap();
    let frame = stream.answer.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "late");
    drop(stream.sender);
    assert!(stream.answer.frame().await.is_none());
    assert!(stream.emitted.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_ready_win_and_an_end_in_time_is_an_end() {
    let mut stream = stream(true, get("/"), "text/plain").await;
    stream.sender.send_data("one".into()).await.unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    stream.sender.send_trailers(trailers).await.unwrap();
    advance(ms(500)).await;
    let one = stream.answer.frame().await.unwrap().unwrap();
    assert_eq!(one.into_data().unwrap(), "one");
    let trailers = stream.answer.frame().await.unwrap().unwrap();
    assert_eq!(trailers.into_trailers().unwrap()["x-sum"], "1");
    drop(stream.sender);
    assert!(stream.answer.frame().await.is_none());
    assert!(stream.emitted.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_grpc_body_ends_with_trailers() {
    let mut stream = stream(true, grpc("40m"), "application/grpc").await;
    let began = Instant::now();
    let trailers = stream.answer.frame().await.unwrap().unwrap();
    let trailers = trailers.into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    assert_eq!(trailers["grpc-message"], "the request took too long");
    assert_eq!(trailers.len(), 2);
    assert!(
        (ms(40)..ms(45)).contains(&began.elapsed()),
        "the client's time"
    );
    assert_eq!(stream.dropped.load(Relaxed), 1);
    assert!(stream.answer.is_end_stream());
    assert!(stream.answer.frame().await.is_none());
    assert_eq!(stream.emitted(), ["refused: request_timeout POST /a.B/C"]);
}

#[tokio::test(start_paused = true)]
async fn only_what_ends_by_trailers_gets_them() {
    let mut below = grpc("40m");
    *below.version_mut() = Version::HTTP_11;
    for (request, content_type) in [
        (grpc("40m"), "application/grpc-web"),
        (grpc("40m"), "text/plain"),
        (below, "application/grpc"),
    ] {
        let mut stream = stream(true, request, content_type).await;
        let error = stream.answer.frame().await.unwrap().unwrap_err();
        assert!(error.is::<TimeoutError>(), "{content_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_body_drops_all_of_it() {
    let mut stream = stream(true, get("/"), "text/plain").await;
    let frame = tokio::time::timeout(ms(10), stream.answer.frame()).await;
    assert!(frame.is_err());
    drop(stream.answer);
    assert_eq!(stream.dropped.load(Relaxed), 1);
    advance(ms(500)).await;
    assert!(stream.emitted.lock().unwrap().is_empty());
}
