use super::*;

#[tokio::test]
async fn declared_oversize_never_reaches_the_handler() {
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
        let (answer, called, emitted) = ask(layer.clone(), Handler::Says(200), request).await;
        assert_refused(answer).await;
        assert_eq!((called, emitted), (0, 1));
    }
    // An invalid number is the server's to refuse.
    for length in ["10", "0", "", "+11", "-11", "11, 11", "eleven", "1e9"] {
        let (answer, called, emitted) = ask(layer.clone(), Handler::Says(200), says(length)).await;
        assert_own(answer, 200, "1");
        assert_eq!((called, emitted), (1, 0), "{length:?}");
    }
}

#[tokio::test]
async fn whatever_the_handler_makes_of_the_error_the_client_gets_the_413() {
    let layer = BodyLimitLayer::new(10);
    for handler in [200, 204, 101, 400, 500].map(Handler::Says) {
        let request = put(Frames::of(&[4, 4, 4]));
        let (answer, called, emitted) = ask(layer.clone(), handler, request).await;
        assert_refused(answer).await;
        assert_eq!((called, emitted), (1, 1));
    }
    let request = put(Frames::of(&[11]));
    let (answer, _, emitted) = ask(layer.clone(), Handler::Fails, request).await;
    assert_refused(answer).await;
    assert_eq!(emitted, 1);
    // Its own 413 is as good.
    let request = put(Frames::of(&[11]));
    let (answer, _, emitted) = ask(layer, Handler::Says(413), request).await;
    assert_own(answer, 413, "10");
    assert_eq!(emitted, 1);
}

#[tokio::test]
async fn an_answer_or_error_within_the_limit_is_the_handlers() {
    let layer = BodyLimitLayer::new(10);
    for status in [101, 200, 413, 500] {
        let request = put(Frames::of(&[4, 4, 2]));
        let (answer, _, emitted) = ask(layer.clone(), Handler::Says(status), request).await;
        assert_own(answer, status, "10");
        assert_eq!(emitted, 0);
    }
    let (answer, _, emitted) = ask(layer, Handler::Fails, put(Frames::of(&[10]))).await;
    assert_eq!(answer.unwrap_err().to_string(), "failed");
    assert_eq!(emitted, 0);
}

/// As a gRPC stream of two directions does: too late for another response, but not for listeners.
#[tokio::test]
async fn body_cut_after_its_response_is_emitted_too() {
    let emitted = Arc::new(AtomicUsize::new(0));
    let count = emitted.clone();
    let layer = BodyLimitLayer::new(10).events(EventSink::to(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let service = layer.layer(service_fn(|request: Asked| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    }));
    let mut body = service.oneshot(put(Frames::of(&[4, 4, 4]))).await.unwrap();
    while let Some(Ok(_)) = next(body.body_mut()) {}
    assert_eq!(emitted.load(Ordering::Relaxed), 1);
}

/// The response of a handler does not depend on how the bytes were cut.
#[tokio::test]
async fn a_handler_that_stops_reading_at_the_limit_has_its_answer_sent() {
    for chunks in [&[11][..], &[10, 1], &[5, 6], &[9, 1, 1]] {
        let layer = BodyLimitLayer::new(10);
        let (answer, _, emitted) = ask(layer, Handler::Reads(10), put(Frames::of(chunks))).await;
        assert_own(answer, 200, "10");
        assert_eq!(emitted, 0, "{chunks:?}");
    }
}

/// A body that exceeds its declared length is cut to the byte too; it is not worth a flag.
#[tokio::test]
async fn a_body_that_lies_is_cut() {
    let request = put(Frames::of(&[4, 4, 4]).saying(9));
    let (answer, _, emitted) = ask(BodyLimitLayer::new(10), Handler::Says(200), request).await;
    assert_own(answer, 200, "10");
    assert_eq!(emitted, 0);
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
            let (answer, _, emitted) = ask(BodyLimitLayer::new(10), handler, request).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["grpc-status"], "8");
            assert_eq!(answer.headers()["content-type"], "application/grpc+proto");
            assert_eq!(answer.headers().get("connection"), None);
            assert!(answer.body().is_end_stream(), "Trailers-Only");
            assert_eq!(emitted, 1);
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
    let (answer, _, emitted) = ask(layer, Handler::Says(200), request).await;
    assert_own(answer, 200, "600");
    assert_eq!(emitted, 0);
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
