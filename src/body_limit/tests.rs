use super::*;
use crate::error::BoxError;
use crate::events::Events;
use crate::reply::ReplyBody;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, LengthLimitError};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tower::{Layer, Service, ServiceExt, service_fn};

/// Frames, and what the body says of their length.
#[derive(Default)]
struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    hint: SizeHint,
    /// Counts the body, while it is there.
    alive: Arc<()>,
}

impl Frames {
    fn of(chunks: &[usize]) -> Self {
        let mut byte = 0_u8;
        let frames = chunks.iter().map(|length| {
            let chunk = (0..*length).map(|_| {
                byte = byte.wrapping_add(1);
                byte
            });
            Frame::data(chunk.collect::<Vec<_>>().into())
        });
        Frames {
            frames: frames.collect(),
            ..Frames::default()
        }
    }

    fn trailers(mut self) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        self.frames.push_back(Frame::trailers(trailers));
        self
    }

    fn saying(mut self, exact: u64) -> Self {
        self.hint = SizeHint::with_exact(exact);
        self
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

type Frame1 = Option<Result<Frame<Bytes>, BoxError>>;

fn next<B: Body<Data = Bytes, Error = BoxError> + Unpin>(body: &mut B) -> Frame1 {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("it is never pending"),
    }
}

/// What comes out: the bytes, whether trailers came, and whether it ended with the error.
fn read(mut body: BodyLimitBody<Frames>) -> (Vec<u8>, bool, bool) {
    let (mut bytes, mut trailers) = (Vec::new(), false);
    loop {
        let ends = body.is_end_stream();
        match next(&mut body) {
            None => return (bytes, trailers, false),
            Some(Ok(frame)) => {
                assert!(!ends, "more came after is_end_stream");
                match frame.into_data() {
                    Ok(data) => bytes.extend_from_slice(&data),
                    Err(_) => trailers = true,
                }
            }
            Some(Err(error)) => {
                assert!(!ends, "an error came after is_end_stream");
                assert!(error.is::<LengthLimitError>(), "{error:?}");
                assert!(is_too_large(&*error));
                assert!(next(&mut body).is_none(), "it ends after the error");
                assert!(body.is_end_stream());
                assert_eq!(body.size_hint().exact(), Some(0));
                return (bytes, trailers, true);
            }
        }
    }
}

/// Every way to cut `total` bytes into up to `total` chunks.
fn cuts(total: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1_u32 << total.saturating_sub(1)).map(move |mask| {
        let mut chunks = vec![usize::from(total > 0)];
        for at in 1..total {
            match mask >> (at - 1) & 1 {
                1 => chunks.push(1),
                _ => *chunks.last_mut().unwrap() += 1,
            }
        }
        chunks
    })
}

#[test]
fn cut_to_the_byte_however_it_is_chunked() {
    for total in 0..=9 {
        let expected: Vec<u8> = (1..=total as u8).collect();
        for chunks in cuts(total) {
            for limit in 0..=10 {
                let body = BodyLimitBody::new(Frames::of(&chunks), Some(limit as u64), None);
                let (bytes, _, error) = read(body);
                assert_eq!(bytes, expected[..total.min(limit)], "{chunks:?} of {limit}");
                assert_eq!(error, total > limit, "{chunks:?} of {limit}");
            }
        }
    }
}

#[test]
fn trailers_and_empty_frames_are_no_bytes() {
    let body = BodyLimitBody::new(Frames::of(&[0, 2, 0, 1, 0]).trailers(), Some(3), None);
    assert_eq!(read(body), (vec![1, 2, 3], true, false));
    let body = BodyLimitBody::new(Frames::of(&[0, 2, 2]).trailers(), Some(3), None);
    assert_eq!(read(body), (vec![1, 2, 3], false, true));
    let body = BodyLimitBody::new(Frames::of(&[5]).trailers(), None, None);
    assert_eq!(read(body), (vec![1, 2, 3, 4, 5], true, false));
}

#[test]
fn the_inner_body_is_dropped_at_the_cut_and_the_error_is_told_once_it_is_read() {
    let frames = Frames::of(&[2, 2, 2]);
    let alive = frames.alive.clone();
    let none = Events::none();
    let subject = crate::served::Subject::of(&mut Request::new(()), &none);
    let over = super::body::Over::new(none, subject, false, 4, None);
    let mut body = BodyLimitBody::new(frames, Some(3), Some(over.clone()));
    next(&mut body).unwrap().unwrap();
    assert_eq!(Arc::strong_count(&alive), 2);
    let part = next(&mut body).unwrap().unwrap().into_data().unwrap();
    assert_eq!(part, &[3][..]);
    assert_eq!(Arc::strong_count(&alive), 1, "nothing more is read");
    assert!(!over.is_set(), "within the limit so far");
    assert!(!body.is_end_stream());
    next(&mut body).unwrap().unwrap_err();
    assert!(over.is_set());
}

#[test]
fn the_size_hint_is_clamped() {
    let hint = |lower, upper: Option<u64>, limit| {
        let mut frames = Frames::of(&[1, 1]);
        frames.hint.set_lower(lower);
        if let Some(upper) = upper {
            frames.hint.set_upper(upper);
        }
        let mut body = BodyLimitBody::new(frames, limit, None);
        let before = body.size_hint();
        next(&mut body).unwrap().unwrap();
        let after = body.size_hint();
        [before, after].map(|hint| (hint.lower(), hint.upper()))
    };
    assert_eq!(hint(0, None, Some(9)), [(0, Some(9)), (0, Some(8))]);
    assert_eq!(hint(2, Some(20), Some(9)), [(2, Some(9)), (2, Some(8))]);
    assert_eq!(hint(2, Some(3), Some(9)), [(2, Some(3)), (2, Some(3))]);
    assert_eq!(hint(20, None, Some(9)), [(9, Some(9)), (8, Some(8))]);
    assert_eq!(hint(20, None, None), [(20, None), (20, None)]);
}

#[test]
fn the_error_is_found_behind_others() {
    #[derive(Debug)]
    struct Wrapped(BoxError);
    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("wrapped")
        }
    }
    impl std::error::Error for Wrapped {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&*self.0)
        }
    }
    let error = Wrapped(Box::new(Wrapped(super::error::too_large())));
    assert!(is_too_large(&error));
    assert!(is_too_large(&axum::Error::new(error)));
    assert!(!is_too_large(&Wrapped(BoxError::from("something else"))));
}

type Asked = Request<BodyLimitBody<Frames>>;
type Answer = Result<Response<ReplyBody<Full<Bytes>>>, BoxError>;

/// What the handler does with the body.
#[derive(Clone, Copy)]
enum Handler {
    /// Reads it all and answers this status, whatever happened.
    Says(u16),
    /// Reads it all and fails.
    Fails,
    /// Reads so many bytes of data, and answers 200.
    Reads(usize),
}

/// The answer, how often the handler was called, how many refusals were told.
async fn ask(
    layer: BodyLimitLayer,
    handler: Handler,
    request: Request<Frames>,
) -> (Answer, usize, usize) {
    let called = Arc::new(AtomicUsize::new(0));
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let layer = layer.events(Events::to(move |event| {
        assert!(
            event.to_string().starts_with("refused: body_too_large "),
            "{event}"
        );
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let calls = called.clone();
    let service = layer.layer(service_fn(move |request: Asked| {
        calls.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut body = request.into_body();
            let mut bytes = 0;
            while !matches!(handler, Handler::Reads(most) if bytes >= most) {
                match body.frame().await {
                    Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) | None => break,
                }
            }
            let status = match handler {
                Handler::Fails => return Err(BoxError::from("failed")),
                Handler::Reads(_) => 200,
                Handler::Says(status) => status,
            };
            let answer = Response::builder()
                .status(status)
                .header("x-handler", bytes)
                .body(Full::from(Bytes::from_static(b"own")));
            Ok::<_, BoxError>(answer.unwrap())
        }
    }));
    let answer = service.oneshot(request).await;
    let count = |count: Arc<AtomicUsize>| count.load(Ordering::Relaxed);
    (answer, count(called), count(told))
}

fn put(frames: Frames) -> Request<Frames> {
    Request::put("/").body(frames).unwrap()
}

async fn assert_refused(answer: Answer) {
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.headers()["connection"], "close");
    assert_eq!(answer.headers().get("x-handler"), None);
    assert_eq!(answer.headers().len(), 2, "{answer:?}");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let limit = text.strip_prefix("the request body is larger than ");
    let limit = limit.and_then(|text| text.strip_suffix(" bytes\n"));
    assert!(
        limit.is_some_and(|limit| limit.parse::<u64>().is_ok()),
        "{text}"
    );
}

fn assert_own(answer: Answer, status: u16, bytes: &str) {
    let answer = answer.unwrap();
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["x-handler"], bytes);
}

#[tokio::test]
async fn what_is_known_to_be_too_large_never_reaches_the_handler() {
    let layer = BodyLimitLayer::new(10);
    let says = |length: &str| {
        Request::put("/")
            .header("content-length", length)
            .body(Frames::of(&[1]))
            .unwrap()
    };
    let mut two = says("1");
    two.headers_mut()
        .append("content-length", "11".parse().unwrap());
    let refused = [
        put(Frames::of(&[11]).saying(11)),
        says("11"),
        says("0011"),
        says("99999999999999999999999999999999"),
        two,
    ];
    for request in refused {
        let (answer, called, told) = ask(layer.clone(), Handler::Says(200), request).await;
        assert_refused(answer).await;
        assert_eq!((called, told), (0, 1));
    }
    // What is no number is the server's to refuse.
    for length in ["10", "0", "", "+11", "-11", "11, 11", "eleven", "1e9"] {
        let (answer, called, told) = ask(layer.clone(), Handler::Says(200), says(length)).await;
        assert_own(answer, 200, "1");
        assert_eq!((called, told), (1, 0), "{length:?}");
    }
}

#[tokio::test]
async fn whatever_the_handler_makes_of_the_error_the_client_gets_the_413() {
    let layer = BodyLimitLayer::new(10);
    for handler in [200, 204, 101, 400, 500].map(Handler::Says) {
        let request = put(Frames::of(&[4, 4, 4]));
        let (answer, called, told) = ask(layer.clone(), handler, request).await;
        assert_refused(answer).await;
        assert_eq!((called, told), (1, 1));
    }
    let request = put(Frames::of(&[11]));
    let (answer, _, told) = ask(layer.clone(), Handler::Fails, request).await;
    assert_refused(answer).await;
    assert_eq!(told, 1);
    // Its own 413 is as good.
    let request = put(Frames::of(&[11]));
    let (answer, _, told) = ask(layer, Handler::Says(413), request).await;
    assert_own(answer, 413, "10");
    assert_eq!(told, 1);
}

#[tokio::test]
async fn an_answer_or_error_within_the_limit_is_the_handlers() {
    let layer = BodyLimitLayer::new(10);
    for status in [101, 200, 413, 500] {
        let request = put(Frames::of(&[4, 4, 2]));
        let (answer, _, told) = ask(layer.clone(), Handler::Says(status), request).await;
        assert_own(answer, status, "10");
        assert_eq!(told, 0);
    }
    let (answer, _, told) = ask(layer, Handler::Fails, put(Frames::of(&[10]))).await;
    assert_eq!(answer.unwrap_err().to_string(), "failed");
    assert_eq!(told, 0);
}

/// As a gRPC stream of two directions does: too late for another answer, not for whoever listens.
#[tokio::test]
async fn a_body_that_is_cut_behind_its_answer_is_told_too() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let layer = BodyLimitLayer::new(10).events(Events::to(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let service = layer.layer(service_fn(|request: Asked| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    }));
    let mut body = service.oneshot(put(Frames::of(&[4, 4, 4]))).await.unwrap();
    while let Some(Ok(_)) = next(body.body_mut()) {}
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

/// Whether a handler has its answer sent does not depend on how the bytes were cut.
#[tokio::test]
async fn a_handler_that_stops_reading_at_the_limit_has_its_answer_sent() {
    for chunks in [&[11][..], &[10, 1], &[5, 6], &[9, 1, 1]] {
        let layer = BodyLimitLayer::new(10);
        let (answer, _, told) = ask(layer, Handler::Reads(10), put(Frames::of(chunks))).await;
        assert_own(answer, 200, "10");
        assert_eq!(told, 0, "{chunks:?}");
    }
}

/// What lies about its length is cut to the byte too; it is not worth a flag.
#[tokio::test]
async fn a_body_that_lies_is_cut() {
    let request = put(Frames::of(&[4, 4, 4]).saying(9));
    let (answer, _, told) = ask(BodyLimitLayer::new(10), Handler::Says(200), request).await;
    assert_own(answer, 200, "10");
    assert_eq!(told, 0);
}

#[tokio::test]
async fn grpc_is_refused_in_its_own_form() {
    for frames in [Frames::of(&[11]).saying(11), Frames::of(&[11])] {
        for handler in [Handler::Says(413), Handler::Says(200), Handler::Fails] {
            let request = Request::post("/helloworld.Greeter/SayHello")
                .version(Version::HTTP_2)
                .header("content-type", "application/grpc+proto")
                .body(Frames {
                    frames: frames.frames.iter().map(data_again).collect(),
                    hint: frames.hint,
                    ..Frames::default()
                })
                .unwrap();
            let (answer, _, told) = ask(BodyLimitLayer::new(10), handler, request).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["grpc-status"], "8");
            assert_eq!(answer.headers()["content-type"], "application/grpc+proto");
            assert_eq!(answer.headers().get("connection"), None);
            assert!(answer.body().is_end_stream(), "Trailers-Only");
            assert_eq!(told, 1);
        }
    }
}

fn data_again(frame: &Frame<Bytes>) -> Frame<Bytes> {
    Frame::data(frame.data_ref().unwrap().clone())
}

#[tokio::test]
async fn a_route_has_its_own_limit() {
    let with = |extension: Option<RouteBodyLimit>, path: &str| {
        let mut request = Request::put(path).body(Frames::of(&[6, 6])).unwrap();
        if let Some(extension) = extension {
            request.extensions_mut().insert(extension);
        }
        request
    };
    let plain = BodyLimitLayer::new(10);
    let asked = plain.clone().per_request(|head| match head.uri.path() {
        "/small" => Some(RouteBodyLimit::bytes(1)),
        "/large" => Some(RouteBodyLimit::bytes(12)),
        "/any" => Some(RouteBodyLimit::off()),
        _ => None,
    });
    let small = Some(RouteBodyLimit::bytes(11));
    let large = Some(RouteBodyLimit::bytes(12));
    let any = Some(RouteBodyLimit::off());
    let cases = [
        (&plain, None, "/any", false),
        (&plain, small, "/", false),
        (&plain, large, "/", true),
        (&plain, any, "/", true),
        (&asked, None, "/", false),
        (&asked, large, "/", true),
        (&asked, large, "/small", false),
        (&asked, None, "/large", true),
        (&asked, small, "/large", true),
        (&asked, small, "/any", true),
    ];
    for (layer, extension, path, passes) in cases {
        let request = with(extension, path);
        let (answer, _, _) = ask(layer.clone(), Handler::Says(200), request).await;
        let status = answer.unwrap().status();
        assert_eq!(status == 200, passes, "{layer:?} {extension:?} {path}");
    }
}

#[tokio::test]
async fn off_does_nothing() {
    let layer = BodyLimitLayer::off().per_request(|_| panic!("it is off"));
    let mut request = Request::put("/")
        .header("content-length", "99999999999999999999")
        .body(Frames::of(&[600]).trailers().saying(600))
        .unwrap();
    request.extensions_mut().insert(RouteBodyLimit::bytes(1));
    let (answer, _, told) = ask(layer, Handler::Says(200), request).await;
    assert_own(answer, 200, "600");
    assert_eq!(told, 0);
}

#[tokio::test]
async fn a_limit_in_a_limit_refuses_by_the_smaller() {
    for (outer, inner) in [(5, 10), (10, 5)] {
        let handler = service_fn(
            |request: Request<BodyLimitBody<BodyLimitBody<Frames>>>| async {
                let read = request.into_body().collect().await;
                assert!(is_too_large(&*read.unwrap_err()));
                Ok::<_, Infallible>(Response::new(Full::from("own")))
            },
        );
        let service = BodyLimitLayer::new(outer).layer(BodyLimitLayer::new(inner).layer(handler));
        let answer = service.oneshot(put(Frames::of(&[4, 4]))).await.unwrap();
        assert_eq!(answer.status(), 413, "{outer} {inner}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "the request body is larger than 5 bytes\n");
    }
}

#[test]
fn the_handlers_future_is_dropped_with_its_answer() {
    let frames = Frames::of(&[1]);
    let alive = frames.alive.clone();
    let mut service = BodyLimitLayer::new(1).layer(service_fn(|request: Asked| {
        // Held until the future is dropped, not until it is ready.
        let held = request;
        std::future::poll_fn(move |_| {
            let _ = &held;
            Poll::Ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        })
    }));
    let mut call = pin!(service.call(put(frames)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_ready());
    assert_eq!(Arc::strong_count(&alive), 1);
}
