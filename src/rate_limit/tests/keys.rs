use super::*;

#[tokio::test]
async fn keys_group_requests() {
    let hand = Hand::default();
    let layer = hand.layer(Quota::per_hour(1));
    assert_eq!(status(&layer, from("2001:db8:0:1::1")).await, 200);
    assert_eq!(status(&layer, from("2001:db8:0:1:ffff::2")).await, 429);
    assert_eq!(status(&layer, from("2001:db8:0:2::1")).await, 200);
    assert_eq!(status(&layer, from("192.0.2.1")).await, 200);
    assert_eq!(status(&layer, from("::ffff:192.0.2.1")).await, 429);
    assert_eq!(status(&layer, Request::new(())).await, 200, "unknown");
    assert_eq!(status(&layer, Request::new(())).await, 429, "unknown");

    // The client found by real_ip takes precedence over the peer.
    let mut request = from("192.0.2.9");
    let info = request.extensions_mut().get_mut::<ConnInfo>().unwrap();
    let client = "198.51.100.1".parse().unwrap();
    info.client = Some(ClientIp::new(
        Some(client),
        info.peer,
        ClientIpSource::Forwarded,
    ));
    assert_eq!(status(&layer, request).await, 200);
    assert_eq!(status(&layer, from("198.51.100.1")).await, 429);
    assert_eq!(status(&layer, from("192.0.2.9")).await, 200);

    let layer = hand.layer(Quota::per_hour(1)).ipv6_prefix(48);
    assert_eq!(status(&layer, from("2001:db8:0:1::1")).await, 200);
    assert_eq!(status(&layer, from("2001:db8:0:2::1")).await, 429);

    let header = HeaderName::from_static("x-tenant");
    let layer = hand.layer(Quota::per_hour(1)).by_header(header);
    let tenant = |name| with_header(from("192.0.2.1"), "x-tenant", name);
    assert_eq!(status(&layer, tenant("a")).await, 200);
    assert_eq!(status(&layer, tenant("a")).await, 429);
    assert_eq!(status(&layer, tenant("b")).await, 200);
    assert_eq!(status(&layer, from("192.0.2.1")).await, 200);
    assert_eq!(status(&layer, from("192.0.2.1")).await, 429);

    let layer = hand
        .layer(Quota::per_hour(1))
        .by(|head| head.uri.path().strip_prefix("/for/").map(Key::from));
    let get = |path: &str| Request::get(path).body(()).unwrap();
    for (path, expected) in [("/for/a", 200), ("/for/a", 429), ("/for/b", 200)] {
        assert_eq!(status(&layer, get(path)).await, expected);
    }
    for _ in 0..3 {
        assert_eq!(status(&layer, get("/")).await, 200, "not limited");
    }
}

#[tokio::test]
async fn exempt_and_off() {
    let hand = Hand::default();
    let layer = hand
        .layer(Quota::per_hour(1))
        .exempt(|head| head.method == http::Method::OPTIONS);
    let options = || Request::options("/").body(()).unwrap();
    for _ in 0..3 {
        assert_eq!(status(&layer, options()).await, 200);
    }
    assert_eq!(layer.handle().keys(), 0);
    assert_eq!(status(&layer, Request::new(())).await, 200);
    assert_eq!(status(&layer, Request::new(())).await, 429);

    let off = RateLimitLayer::off().fields(Fields::RateLimit).max_keys(1);
    for _ in 0..3 {
        let answer = ask(&off, Request::new(())).await;
        assert_eq!((answer.status().as_u16(), answer.headers().len()), (200, 0));
    }
    let handle = off.handle();
    assert_eq!(
        (handle.keys(), handle.forgotten(), handle.refused()),
        (0, 0, 0)
    );
}
