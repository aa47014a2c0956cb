use super::*;
use crate::ConnInfo;
use http::{Method, StatusCode, Version};
use http_body::Frame;
use http_body_util::{Empty, StreamBody};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio_stream::StreamExt as _;

#[tokio::test]
async fn a_request_is_recorded_with_all_its_labels() {
    let metrics = by_path().build();
    let request = Request::post("/a")
        .version(Version::HTTP_2)
        .header("content-length", "1234")
        .body(())
        .unwrap();
    ask(metrics.layer().layer(service_fn(hello)), request).await;
    let scrape = scrape(&metrics);
    assert!(scrape.contains(
        "http_server_request_duration_seconds_count{http_request_method=\"POST\",http_route=\"/a\",\
         http_response_status_code=\"200\",network_protocol_version=\"2\",error_type=\"\"} 1\n"
    ), "{scrape}");
    let of = ["http_request_method=\"POST\"", "http_route=\"/a\""];
    let value = |name| value(&scrape, name, &of);
    assert_eq!(value("http_server_request_body_size_bytes_sum"), 1234.0);
    assert_eq!(value("http_server_response_body_size_bytes_sum"), 5.0);
    assert_eq!(value("lameduck_http_time_to_head_seconds_count"), 1.0);
    assert_eq!(
        samples(&scrape, "http_server_request_duration_seconds_bucket"),
        15
    );
    assert_eq!(
        samples(&scrape, "http_server_response_body_size_bytes_bucket"),
        8
    );
}

#[tokio::test]
async fn the_duration_is_to_the_end_of_the_body_and_the_head_has_its_own() {
    let metrics = Metrics::new();
    let service = metrics.layer().layer(service_fn(|_: Request<()>| async {
        let frames = tokio_stream::iter(["a", "b", "c"]).then(|text| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from(text)))
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    }));
    let answer = service.oneshot(get("/")).await.unwrap();
    let before = scrape(&metrics);
    let get = ["http_request_method=\"GET\""];
    assert_eq!(value(&before, "http_server_active_requests", &get), 1.0);
    assert_eq!(samples(&before, DURATION), 0, "not before its end");
    assert_eq!(
        value(&before, "lameduck_http_time_to_head_seconds_count", &get),
        1.0
    );

    answer.into_body().collect().await.unwrap();
    let after = scrape(&metrics);
    let duration = value(&after, "http_server_request_duration_seconds_sum", &[]);
    let head = value(&after, "lameduck_http_time_to_head_seconds_sum", &[]);
    assert!(duration >= 0.06, "three pauses, but {duration}");
    assert!(
        head <= duration - 0.06,
        "none of them, but {head} of {duration}"
    );
    assert_eq!(value(&after, "http_server_active_requests", &get), 0.0);
    assert_eq!(
        value(&after, "http_server_response_body_size_bytes_sum", &[]),
        3.0
    );
}

#[tokio::test]
async fn the_duration_begins_when_serve_sees_the_request() {
    let metrics = Metrics::new();
    let service = metrics.layer().layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let mut request = get("/");
    request.extensions_mut().insert(ConnInfo {
        arrived: tokio::time::Instant::now().checked_sub(Duration::from_secs(7)),
        ..ConnInfo::default()
    });
    let answer = service.oneshot(request).await.unwrap();
    answer.into_body().collect().await.unwrap();
    let scraped = scrape(&metrics);
    for name in [
        "http_server_request_duration_seconds_sum",
        "lameduck_http_time_to_head_seconds_sum",
    ] {
        let sum = value(&scraped, name, &[]);
        assert!((7.0..60.0).contains(&sum), "{name}: {sum}");
    }
}

/// The labels of a cancelled request.
const GONE: &str = "error_type=\"499\"";

#[tokio::test]
async fn a_client_gone_before_the_head() {
    let metrics = Metrics::new();
    let service = metrics.layer().layer(service_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
    }));
    let mut call = Box::pin(service.oneshot(get("/")));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    drop(call);
    let scrape = scrape(&metrics);
    let labels = [GONE, "http_response_status_code=\"\""];
    assert_eq!(value(&scrape, DURATION, &labels), 1.0);
    let active = "http_server_active_requests";
    assert_eq!(value(&scrape, active, &["\"GET\""]), 0.0);
    let head = "lameduck_http_time_to_head_seconds_count";
    assert_eq!(value(&scrape, head, &[]), 0.0, "there was none");
    let size = "http_server_response_body_size_bytes_count";
    assert_eq!(value(&scrape, size, &[]), 0.0, "nor a body");
}

#[tokio::test]
async fn a_client_gone_half_way_through_the_body() {
    let metrics = Metrics::new();
    let service = metrics.layer().layer(service_fn(|_: Request<()>| {
        let frames = ["abc", "never read"].map(|text| Ok(Frame::data(Bytes::from(text))));
        let body = StreamBody::new(tokio_stream::iter(frames));
        ready(Ok::<_, Infallible>(Response::new(body)))
    }));
    let answer = service.oneshot(get("/")).await.unwrap();
    let mut body = answer.into_body();
    let _: Result<Frame<Bytes>, Infallible> = body.frame().await.unwrap();
    drop(body);
    let scrape = scrape(&metrics);
    let labels = [GONE, "http_response_status_code=\"200\""];
    assert_eq!(value(&scrape, DURATION, &labels), 1.0);
    let size = "http_server_response_body_size_bytes_sum";
    assert_eq!(value(&scrape, size, &[]), 3.0, "what was sent");
}

#[tokio::test]
async fn failures_have_names() {
    let metrics = by_path().build();
    let service = metrics
        .layer()
        .layer(service_fn(|request: Request<()>| async move {
            match request.uri().path() {
                "/panic" => panic!("as asked"),
                "/error" => return Err("failed"),
                _ => {}
            }
            let frames = [
                Ok(Frame::data(Bytes::from("a"))),
                Err(io::Error::other("b")),
            ];
            Ok(Response::new(StreamBody::new(tokio_stream::iter(frames))))
        }));
    service.clone().oneshot(get("/error")).await.unwrap_err();
    let answer = service.clone().oneshot(get("/body")).await.unwrap();
    answer.into_body().collect().await.unwrap_err();
    let panicking = AssertUnwindSafe(|| poll_now(service.clone().oneshot(get("/panic"))));
    assert!(std::panic::catch_unwind(panicking).is_err());
    // A service that panics in its call, before there is a future.
    let early = metrics
        .layer()
        .layer(service_fn(|request: Request<()>| match request.method() {
            &Method::GET => panic!("as asked"),
            _ => hello(request),
        }));
    let panicking = AssertUnwindSafe(|| poll_now(early.oneshot(get("/early"))));
    assert!(std::panic::catch_unwind(panicking).is_err());

    // A service whose body panics.
    let late = metrics.layer().layer(service_fn(|_: Request<()>| async {
        let frames = tokio_stream::iter([1, 0]).map(|by| {
            let text = Bytes::from((1 / by).to_string());
            Ok::<_, Infallible>(Frame::data(text))
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    }));
    let answer = late.oneshot(get("/late")).await.unwrap();
    let panicking = AssertUnwindSafe(|| drop(poll_now(answer.into_body().collect())));
    assert!(std::panic::catch_unwind(panicking).is_err());

    let scrape = scrape(&metrics);
    for (route, status, error) in [
        ("/error", "", "service_error"),
        ("/late", "200", "panic"),
        ("/body", "200", "body_error"),
        ("/panic", "", "panic"),
        ("/early", "", "panic"),
    ] {
        let labels = [
            format!("http_route=\"{route}\""),
            format!("http_response_status_code=\"{status}\""),
            format!("error_type=\"{error}\""),
        ];
        let labels = labels.each_ref().map(String::as_str);
        assert_eq!(value(&scrape, DURATION, &labels), 1.0);
    }
    assert_eq!(
        value(&scrape, "http_server_active_requests", &["\"GET\""]),
        0.0
    );
}

#[tokio::test]
async fn a_server_error_is_an_error_and_a_client_error_is_not() {
    let metrics = Metrics::new();
    let service = metrics.layer().layer(service_fn(|request: Request<()>| {
        let mut response = Response::new(Empty::<Bytes>::new());
        let status = request.uri().path()[1..].parse().unwrap();
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        ready(Ok::<_, Infallible>(response))
    }));
    for status in [204, 304, 404, 503, 599, 600] {
        ask(service.clone(), get(&format!("/{status}"))).await;
    }
    let scrape = scrape(&metrics);
    for (status, error) in [
        ("204", ""),
        ("304", ""),
        ("404", ""),
        ("503", "503"),
        ("599", "599"),
        ("600", ""),
    ] {
        let status = format!("http_response_status_code=\"{status}\"");
        let error = format!("error_type=\"{error}\"");
        assert_eq!(value(&scrape, DURATION, &[&status, &error]), 1.0);
    }
}

#[tokio::test]
async fn the_answer_to_a_head_is_complete_unread() {
    let metrics = Metrics::new();
    let service = metrics.layer().layer(service_fn(hello));
    let request = Request::head("/").body(()).unwrap();
    drop(service.oneshot(request).await.unwrap());
    let scrape = scrape(&metrics);
    let labels = ["http_request_method=\"HEAD\"", "error_type=\"\""];
    assert_eq!(value(&scrape, DURATION, &labels), 1.0);
    assert_eq!(
        value(&scrape, "http_server_response_body_size_bytes_sum", &[]),
        0.0
    );
}

#[tokio::test]
async fn the_size_of_a_request_is_what_it_declares() {
    let sizes = |request: http::request::Builder| async {
        let metrics = Metrics::new();
        let service = metrics.layer().layer(service_fn(hello));
        ask(service, request.body(()).unwrap()).await;
        let scrape = scrape(&metrics);
        let name = "http_server_request_body_size_bytes";
        let of = |what: &str| value(&scrape, &format!("{name}{what}"), &[]);
        (of("_count") as u32, of("_sum") as u32)
    };
    let post = || Request::post("/");
    assert_eq!(sizes(post().header("content-length", "7")).await, (1, 7));
    assert_eq!(sizes(post()).await, (1, 0), "none, in HTTP/1");
    let chunked = post().header("transfer-encoding", "chunked");
    assert_eq!(sizes(chunked).await, (0, 0), "not known");
    let h2 = post().version(Version::HTTP_2);
    assert_eq!(sizes(h2).await, (0, 0), "not known");
    let h2 = Request::get("/").version(Version::HTTP_2);
    assert_eq!(sizes(h2).await, (1, 0));
    assert_eq!(sizes(post().header("content-length", "x")).await, (0, 0));
}

#[tokio::test]
async fn off_is_off_and_length_and_end_are_passed_on() {
    use http_body::Body as _;
    let metrics = Metrics::new();
    for (layer, recorded) in [(MetricsLayer::off(), 0), (metrics.layer(), 1)] {
        let answer = layer
            .layer(service_fn(hello))
            .oneshot(get("/"))
            .await
            .unwrap();
        assert_eq!(answer.body().size_hint().exact(), Some(5));
        assert!(!answer.body().is_end_stream());
        let mut body = pin!(answer.into_body());
        let frame = body.as_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "hello");
        assert!(body.is_end_stream());
        assert_eq!(samples(&scrape(&metrics), DURATION), recorded);
    }
}

/// A length is a claim: a few large ones must not spoil the sum for ever.
#[tokio::test]
async fn a_false_length_does_not_spoil_the_sum() {
    let metrics = Metrics::new();
    let sum = || {
        let scrape = scrape(&metrics);
        value(&scrape, "http_server_request_body_size_bytes_sum", &[])
    };
    let mut before = 0.0;
    for _ in 0..3 {
        let request = Request::post("/").header("content-length", "9223372036854775807");
        ask(
            metrics.layer().layer(service_fn(hello)),
            request.body(()).unwrap(),
        )
        .await;
        assert!(sum() >= before, "{} after {before}", sum());
        before = sum();
    }
    let request = Request::post("/").header("content-length", "7");
    ask(
        metrics.layer().layer(service_fn(hello)),
        request.body(()).unwrap(),
    )
    .await;
    assert_eq!(sum() - before, 7.0, "what is small is still seen");
}

#[tokio::test]
async fn request_whose_label_panics_is_not_active() {
    let metrics = Metrics::builder()
        .route(|_| panic!("a user's function"))
        .build();
    let mut service = metrics.layer().layer(service_fn(hello));
    let called = std::panic::catch_unwind(AssertUnwindSafe(|| service.call(get("/"))));
    assert!(called.is_err());
    let scrape = scrape(&metrics);
    assert_eq!(
        value(&scrape, "http_server_active_requests", &["\"GET\""]),
        0.0
    );
}
