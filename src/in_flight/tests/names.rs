use super::*;

#[tokio::test]
async fn names_method_path_and_peer_and_leaves_the_query_out() {
    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    }));
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    let mut request = Request::put("/users/7?token=secret").body(()).unwrap();
    request
        .extensions_mut()
        .insert(ConnInfo::new(Some(peer), None));
    let running = service.call(request);
    std::thread::sleep(Duration::from_millis(2));
    let named = in_flight.requests();
    let [one] = named.as_slice() else {
        panic!("one is running: {named:?}");
    };
    assert_eq!(one.method, Method::PUT);
    assert_eq!(one.path, "/users/7");
    assert_eq!(one.peer, Some(peer));
    assert_eq!(one.route, None, "no router has seen it");
    assert!(one.age >= Duration::from_millis(2) && one.age < Duration::from_secs(10));
    assert!(!format!("{one:?}").contains("secret"));
    drop(running);
    assert!(in_flight.requests().is_empty());
}

#[tokio::test]
async fn the_age_begins_when_serve_sees_the_request() {
    let layer = InFlightLayer::new();
    let info = ConnInfo {
        arrived: tokio::time::Instant::now().checked_sub(Duration::from_secs(7)),
        ..ConnInfo::default()
    };
    let mut request = Request::get("/").body(()).unwrap();
    request.extensions_mut().insert(info);
    let running = layer
        .layer(service_fn(|_: Request<()>| {
            pending::<Result<Response<Empty<Bytes>>, Infallible>>()
        }))
        .call(request);
    assert!(layer.handle().requests()[0].age >= Duration::from_secs(7));
    drop(running);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn names_the_matched_route() {
    use axum::Router;
    use axum::routing::get as on_get;

    let layer = InFlightLayer::new();
    let in_flight = layer.handle();
    let seen = in_flight.clone();
    let app = Router::new()
        .route(
            "/users/{id}",
            on_get(move || async move {
                let running = seen.requests();
                format!("{:?} {}", running[0].route, running[0].path)
            }),
        )
        .layer(layer);
    let request = Request::get("/users/7?x=1")
        .body(axum::body::Body::empty())
        .unwrap();
    let body = app.oneshot(request).await.unwrap().into_body();
    let text = body.collect().await.unwrap().to_bytes();
    assert_eq!(text, r#"Some("/users/{id}") /users/7"#);
    assert_eq!(in_flight.count(), 0);
}
