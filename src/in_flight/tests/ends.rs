use super::*;

#[tokio::test]
async fn a_dropped_future_ends_it() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    }));
    let unpolled = service.call(get("/"));
    assert_eq!(in_flight.count(), 1);
    drop(unpolled);
    assert_eq!(in_flight.count(), 0, "dropped before it was polled");

    let mut polled = Box::pin(service.call(get("/")));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(polled.as_mut().poll(&mut cx).is_pending());
    assert_eq!(in_flight.count(), 1);
    drop(polled);
    assert_eq!(in_flight.count(), 0, "dropped while it was waiting");
}

#[tokio::test]
async fn a_dropped_body_ends_it() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = layer.layer(service_fn(|_: Request<()>| async {
        let frames = ["a", "b"].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
        Ok::<_, Infallible>(Response::new(StreamBody::new(tokio_stream::iter(frames))))
    }));
    for read in 0..=2 {
        let response = service.clone().oneshot(get("/")).await.unwrap();
        let mut body = response.into_body();
        for _ in 0..read {
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(in_flight.count(), 1, "after {read} frames");
        drop(body);
        assert_eq!(in_flight.count(), 0, "after {read} frames");
    }
}

#[tokio::test]
async fn an_error_of_the_service_ends_it() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Err::<Response<Empty<Bytes>>, _>("broke")
    }));
    let mut answer = pin!(service.oneshot(get("/")));
    assert_eq!(answer.as_mut().await.unwrap_err(), "broke");
    assert_eq!(in_flight.count(), 0, "while the future is still held");
}

#[tokio::test]
async fn an_error_of_the_body_ends_it() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let service = layer.layer(service_fn(|_: Request<()>| async {
        let frames = [Ok(Frame::data(Bytes::from("a"))), Err("broke")];
        Ok::<_, Infallible>(Response::new(StreamBody::new(tokio_stream::iter(frames))))
    }));
    let mut body = service.oneshot(get("/")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "broke");
    assert_eq!(in_flight.count(), 0);
}

#[test]
fn a_panic_in_the_call_or_in_the_future_ends_it() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let run = |inner: fn(Request<()>) -> Answer| {
        let mut service = layer.layer(service_fn(inner));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let mut future = service.call(get("/"));
            let mut cx = Context::from_waker(Waker::noop());
            let _ = std::pin::Pin::new(&mut future).poll(&mut cx);
        }))
    };
    type Answer =
        std::pin::Pin<Box<dyn Future<Output = Result<Response<Empty<Bytes>>, Infallible>> + Send>>;
    run(|_| panic!("in the call")).unwrap_err();
    assert_eq!(in_flight.count(), 0);
    run(|_| Box::pin(async { panic!("in the future") })).unwrap_err();
    assert_eq!(in_flight.count(), 0);
}
