use super::*;

#[tokio::test(start_paused = true)]
async fn late_is_503_or_504_and_in_time_is_as_it_was() {
    let layer = TimeoutLayer::new(ms(100));
    let (answer, took) = ask(&layer, ms(200), get("/")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer.headers().get("connection").is_none(),
        "the connection stays"
    );
    assert_eq!(
        answer.body().size_hint().exact(),
        Some(26),
        "Content-Length is known"
    );
    assert!((ms(100)..ms(105)).contains(&took), "{took:?}");
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "the request took too long\n");

    let (answer, _) = ask(&layer.clone().gateway(), ms(200), get("/")).await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);

    let (answer, took) = ask(&layer, ms(50), get("/")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.body().size_hint().exact(), Some(4));
    assert!(took < ms(60), "{took:?}");
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "done"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_ready_is_kept_though_the_deadline_has_passed() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let service = TimeoutLayer::new(ms(100)).layer(service_fn(move |_: Request<()>| {
        let receiver = receiver.clone();
        async move {
            (&mut *receiver.lock().await).await.unwrap();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("late")))
        }
    }));
    let mut call = pin!(service.oneshot(get("/")));
    let pending = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
    assert!(pending);
    sender.send(()).unwrap();
    advance(ms(500)).await;
    assert_eq!(call.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_time_runs_from_the_call() {
    let mut service = slow(&TimeoutLayer::new(ms(100)), ms(300));
    let call = service.call(get("/"));
    advance(ms(80)).await;
    let began = Instant::now();
    assert_eq!(call.await.unwrap().status(), 503);
    assert!(began.elapsed() <= ms(25), "{:?}", began.elapsed());
}

#[test]
fn no_runtime_is_needed_for_an_answer_at_once_or_without_a_deadline() {
    let answer = |request: Request<()>| -> Ready<Result<_, Infallible>> {
        drop(request);
        ready(Ok(Response::new(Full::<Bytes>::from("now"))))
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = pin!(
        TimeoutLayer::new(ms(1))
            .layer(service_fn(answer))
            .call(get("/"))
    );
    assert!(call.as_mut().poll(&mut cx).is_ready());

    let never =
        |_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>();
    for layer in [TimeoutLayer::off(), TimeoutLayer::new(Duration::MAX)] {
        let mut call = pin!(layer.layer(service_fn(never)).call(get("/")));
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
}

#[tokio::test(start_paused = true)]
async fn the_handler_is_dropped_before_the_answer_is_out_and_with_the_future() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let held = dropped.clone();
    let mut service = TimeoutLayer::new(ms(100)).layer(service_fn(move |_: Request<()>| {
        let held = Held(held.clone());
        async move {
            let _held = held;
            std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
        }
    }));
    // The future outlives its response here, and its resources are freed all the same.
    let mut call = pin!(service.call(get("/")));
    assert_eq!(call.as_mut().await.unwrap().status(), 503);
    assert_eq!(dropped.load(Relaxed), 1);
    let again = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
    assert!(again, "polled once too often, it is no panic");

    let call = service.call(get("/"));
    tokio::time::timeout(ms(10), call).await.unwrap_err();
    assert_eq!(dropped.load(Relaxed), 2, "a dropped future leaves nothing");
}

#[tokio::test]
async fn a_handler_that_uses_up_every_budget_is_ended_too() {
    let service = TimeoutLayer::new(ms(30)).layer(service_fn(|_: Request<()>| async {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        loop {
            sender.send(()).unwrap();
            receiver.recv().await;
        }
        #[allow(unreachable_code)] // it names the response's type
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let call = tokio::spawn(async move { service.oneshot(get("/")).await });
    let answer = tokio::time::timeout(ms(5000), call).await;
    assert_eq!(answer.expect("it ends").unwrap().unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_route_has_its_own_time_and_the_function_wins() {
    let layer = TimeoutLayer::new(ms(100));
    let with = |route: RouteTimeout| {
        let mut request = get("/");
        request.extensions_mut().insert(route);
        request
    };
    for (route, status, at) in [
        (RouteTimeout::after(ms(20)), 503, 20),
        (RouteTimeout::after(ms(900)), 200, 300),
        (RouteTimeout::after(Duration::ZERO), 503, 0),
        (RouteTimeout::off(), 200, 300),
    ] {
        let (answer, took) = ask(&layer, ms(300), with(route)).await;
        assert_eq!(answer.status(), status, "{route:?}");
        assert!((ms(at)..ms(at + 5)).contains(&took), "{route:?}: {took:?}");
    }
    let layer = layer.per_request(|head| match head.uri.path() {
        "/long" => Some(RouteTimeout::after(ms(900))),
        "/off" => Some(RouteTimeout::off()),
        "/short" => Some(RouteTimeout::after(ms(20))),
        _ => None,
    });
    for (path, extension, status, at) in [
        ("/long", None, 200, 300),
        ("/off", Some(RouteTimeout::after(ms(1))), 200, 300),
        ("/short", Some(RouteTimeout::off()), 503, 20),
        ("/else", None, 503, 100),
        ("/else", Some(RouteTimeout::after(ms(40))), 503, 40),
    ] {
        let mut request = get(path);
        if let Some(route) = extension {
            request.extensions_mut().insert(route);
        }
        let (answer, took) = ask(&layer, ms(300), request).await;
        assert_eq!(answer.status(), status, "{path} {extension:?}");
        assert!((ms(at)..ms(at + 5)).contains(&took), "{path}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn off_does_nothing_whatever_is_said() {
    let layer = TimeoutLayer::off()
        .gateway()
        .whole_response()
        .per_request(|_| Some(RouteTimeout::after(ms(1))));
    let mut request = grpc("1m");
    request.extensions_mut().insert(RouteTimeout::after(ms(1)));
    let (answer, _) = ask(&layer, ms(500), request).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().get("grpc-status").is_none());
}

#[tokio::test(start_paused = true)]
async fn the_shorter_of_ours_and_the_grpc_clients_is_in_force() {
    let layer = TimeoutLayer::new(ms(100));
    let off = layer.clone().per_request(|_| Some(RouteTimeout::off()));
    let deaf = layer.clone().without_grpc_timeout();
    let deaf_off = off.clone().without_grpc_timeout();
    for (layer, said, at) in [
        (&layer, "30m", Some(30)),
        (&layer, "5S", Some(100)),
        (&layer, "30000u", Some(30)),
        (&layer, "0n", Some(0)),
        (&layer, "99999999H", Some(100)),
        (&layer, "nonsense", Some(100)),
        (&TimeoutLayer::new(Duration::MAX), "30m", Some(30)),
        (&off, "30m", Some(30)),
        (&off, "nonsense", None),
        (&deaf, "30m", Some(100)),
        (&deaf_off, "30m", None),
    ] {
        let (answer, took) = ask(layer, ms(300), grpc(said)).await;
        assert_eq!(answer.status(), 200, "gRPC is always 200");
        let status = answer.headers().get("grpc-status");
        match at {
            Some(at) => {
                assert_eq!(status.unwrap(), "4", "{said}");
                assert_eq!(answer.headers()["content-type"], "application/grpc+proto");
                assert!(answer.body().is_end_stream(), "Trailers-Only");
                assert!((ms(at)..ms(at + 5)).contains(&took), "{said}: {took:?}");
            }
            None => assert!(status.is_none(), "{said}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_timeout_means_nothing_in_another_request() {
    let (events, emitted) = listening();
    let layer = TimeoutLayer::new(ms(100)).events(events);
    for said in ["1m", "nonsense"] {
        let request = Request::post("/")
            .header("content-type", "application/json")
            .header("grpc-timeout", said)
            .body(())
            .unwrap();
        assert_eq!(ask(&layer, ms(50), request).await.0.status(), 200);
    }
    assert!(emitted.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_expiry_and_malformed_timeout_is_emitted_once() {
    let (events, emitted) = listening();
    let layer = TimeoutLayer::new(ms(100)).events(events);
    let emitted = || std::mem::take(&mut *emitted.lock().unwrap());
    ask(&layer, ms(50), grpc("1S")).await;
    assert!(emitted().is_empty());
    ask(&layer, ms(200), get("/")).await;
    assert_eq!(emitted(), ["refused: request_timeout GET /"]);
    ask(&layer, ms(50), grpc("1 S")).await;
    assert_eq!(emitted(), ["a malformed grpc-timeout was ignored"]);
    let mut two = grpc("1S");
    two.headers_mut()
        .append("grpc-timeout", "1S".parse().unwrap());
    ask(&layer.clone().gateway(), ms(200), two).await;
    assert_eq!(
        emitted(),
        [
            "a malformed grpc-timeout was ignored",
            "refused: gateway_timeout POST /a.B/C"
        ]
    );
    ask(&layer.without_grpc_timeout(), ms(50), grpc("1 S")).await;
    assert!(emitted().is_empty(), "it was not asked for");
}

#[tokio::test(start_paused = true)]
async fn a_failing_service_fails_as_before() {
    let service = TimeoutLayer::new(ms(100)).layer(service_fn(|_: Request<()>| async {
        sleep(ms(10)).await;
        Err::<Response<Full<Bytes>>, _>("broken")
    }));
    assert_eq!(service.oneshot(get("/")).await.unwrap_err(), "broken");
}
