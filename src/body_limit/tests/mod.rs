mod body;
mod service;

use super::*;
use crate::error::BoxError;
use crate::events::EventSink;
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

/// A body of frames, with a declared length.
#[derive(Default)]
struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    hint: SizeHint,
    /// A count of the body, while it exists.
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

/// Returns the output: the bytes, `true` if trailers came, and `true` if it ended with the error.
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

/// Returns every way to cut `total` bytes into up to `total` chunks.
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

type Asked = Request<BodyLimitBody<Frames>>;
type Answer = Result<Response<ReplyBody<Full<Bytes>>>, BoxError>;

/// The handler's treatment of the body.
#[derive(Clone, Copy)]
enum Handler {
    /// Reads it all and answers this status, whatever happened.
    Says(u16),
    /// Reads it all and fails.
    Fails,
    /// Reads so many bytes of data, and answers 200.
    Reads(usize),
}

/// Returns the response, the number of handler calls, and the number of emitted refusals.
async fn ask(
    layer: BodyLimitLayer,
    handler: Handler,
    request: Request<Frames>,
) -> (Answer, usize, usize) {
    let called = Arc::new(AtomicUsize::new(0));
    let emitted = Arc::new(AtomicUsize::new(0));
    let count = emitted.clone();
    let layer = layer.events(EventSink::to(move |event| {
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
    (answer, count(called), count(emitted))
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
