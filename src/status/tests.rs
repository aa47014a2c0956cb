use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tower_service::Service;

use super::body::MAX_WATCHERS;
use super::recent_events::CAPACITY;
use super::service::{PAGE, POLICY};
use super::{StatusBody, StatusPage};
use crate::events::{Closed, Event, RequestInfo, Timeout};
use crate::json::Json;
use crate::reply::Reason;
use crate::serve::App;
use crate::shutdown::Handle;
use crate::{AllowedHosts, Phase, Shutdown};

const PEER: Option<SocketAddr> = Some(SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    4321,
));

fn page() -> (Handle, StatusPage) {
    let handle = Shutdown::new().handle();
    let page = StatusPage::new(&handle);
    (handle, page)
}

async fn ask(page: &StatusPage, method: Method, path: &str) -> Response<StatusBody> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    page.clone().call(request).await.unwrap()
}

async fn get(page: &StatusPage, path: &str) -> Response<StatusBody> {
    ask(page, Method::GET, path).await
}

async fn text(answer: Response<StatusBody>) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn snapshot(page: &StatusPage) -> Value {
    serde_json::from_str(&text(get(page, "/snapshot").await).await).unwrap()
}

/// A watcher.
struct Watching(StatusBody);

impl Watching {
    async fn begin(page: &StatusPage) -> Watching {
        let answer = get(page, "/live").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Watching(answer.into_body())
    }

    /// Returns the next snapshot; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        let next = tokio::time::timeout(Duration::from_secs(60), self.0.frame());
        let frame = next.await.expect("a snapshot in time")?;
        Some(Watching::read(&frame.unwrap().into_data().unwrap()))
    }

    /// Returns the snapshot that is available without waiting.
    fn at_once(&mut self) -> Option<Value> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => Some(Watching::read(&frame.into_data().unwrap())),
            Poll::Ready(Some(Err(never))) => match never {},
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    fn read(event: &Bytes) -> Value {
        let event = std::str::from_utf8(event).unwrap();
        let data = event.strip_prefix("data: ").unwrap();
        let document = data.strip_suffix("\n\n").unwrap();
        assert!(!document.contains('\n'), "one line");
        serde_json::from_str(document).unwrap()
    }
}

#[test]
fn the_page_serves_requests_with_any_body() {
    fn is_a_service<B, S: Service<Request<B>, Error = std::convert::Infallible> + Send + Sync>(
        _: &S,
    ) {
    }
    let (_, page) = page();
    fn is_an_app<A: App>(_: &A) {}
    is_a_service::<(), _>(&page);
    is_a_service::<String, _>(&page);
    is_an_app(&page);
}

#[test]
fn json_round_trips() {
    let every: String = (0u32..=0x2100).filter_map(char::from_u32).collect();
    for text in [
        "",
        "\"",
        "\\",
        "a\r\nb\tc",
        "<img src=x onerror='1'>",
        "\u{1F986}\u{2028}",
        &every,
    ] {
        let mut json = Json::default();
        json.array(|json| {
            json.text(text);
            json.number(u64::MAX);
            json.array(|_| {});
            json.object(|json| {
                json.key(text).bool(true);
                json.key("b").or_null(None::<()>, |_, ()| {});
                json.key("c")
                    .or_null(Some(7), |json, seven| json.number(seven));
            });
        });
        let read: Value = serde_json::from_str(&json.finish()).unwrap();
        let mut expected = json!([text, u64::MAX, [], {"b": null, "c": 7}]);
        expected[3][text] = Value::Bool(true);
        assert_eq!(read, expected, "{text:?}");
    }
}

#[tokio::test]
async fn the_page_is_one_file_without_external_resources() {
    let (_, page) = page();
    for path in ["/", "/?a=b"] {
        let answer = get(&page, path).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers();
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(headers["content-security-policy"], POLICY);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        let body = answer.body();
        assert_eq!(body.size_hint().exact(), Some(PAGE.len() as u64));
        assert_eq!(text(answer).await, PAGE);
    }
    for forbidden in [
        "http:",
        "https:",
        "src=",
        "innerHTML",
        "insertAdjacent",
        "eval(",
        "style=",
        "onclick",
    ] {
        assert!(!PAGE.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn the_policy_lets_the_pages_own_script_and_style_run() {
    for tag in ["script", "style"] {
        let parts: Vec<_> = PAGE.split(&format!("<{tag}>")).collect();
        assert_eq!(parts.len(), 2, "one {tag}");
        let inside = parts[1].split(&format!("</{tag}>")).next().unwrap();
        let source = format!("{tag}-src 'sha256-{}'", base64(&Sha256::digest(inside)));
        assert!(POLICY.contains(&source), "it has to say: {source}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            text.push(match digit <= chunk.len() {
                true => char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]),
                false => '=',
            });
        }
    }
    text
}

#[tokio::test]
async fn anything_else_is_refused() {
    let (_, page) = page();
    for path in ["/favicon.ico", "/live/", "/status", "/snapshot/x", "/Live"] {
        assert_eq!(
            get(&page, path).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    for path in ["/", "/live", "/snapshot"] {
        for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
            let answer = ask(&page, method, path).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.headers()["allow"], "GET, HEAD");
        }
        let head = ask(&page, Method::HEAD, path).await;
        let whole = get(&page, path).await;
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.headers(), whole.headers());
    }
    assert_eq!(text(ask(&page, Method::HEAD, "/live").await).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_each_phase_at_once_and_ages_in_between() {
    let (handle, page) = page();
    let mut watching = Watching::begin(&page).await;
    assert_eq!(watching.next().await.unwrap()["phase"], "starting");

    let began = Instant::now();
    assert_eq!(watching.next().await.unwrap()["phase"], "starting");
    assert_eq!(began.elapsed(), Duration::from_millis(500));

    let phases = [
        Phase::Ready,
        Phase::LameDuck,
        Phase::Draining,
        Phase::Closed,
    ];
    for phase in phases {
        let began = Instant::now();
        match phase {
            Phase::LameDuck => handle.lifecycle().lame_duck(Duration::from_secs(20)),
            phase => handle.lifecycle().advance(phase),
        };
        let snapshot = watching.next().await.unwrap();
        assert_eq!(snapshot["phase"], phase.as_str());
        assert_eq!(began.elapsed(), Duration::ZERO, "{phase}");
        assert!(snapshot["phases"][phase.as_str()].is_u64(), "{snapshot}");
        if phase == Phase::LameDuck {
            let left = snapshot["lame_duck_left_ms"].as_u64().unwrap();
            let whole = snapshot["lame_duck_ms"].as_u64().unwrap();
            assert!((19_000..=20_000).contains(&left), "{left}");
            assert!((19_999..=20_001).contains(&whole), "{whole}");
        } else {
            assert_eq!(snapshot["lame_duck_ms"], 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_pushed_soon_but_at_most_ten_times_a_second() {
    let (_handle, page) = page();
    let events = page.events();
    let mut watching = Watching::begin(&page).await;
    watching.next().await.unwrap();
    let began = Instant::now();
    events.tell(|| Event::Refused {
        reason: Reason::RateLimited,
        request: RequestInfo::default(),
    });
    let shown = watching.next().await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(100));
    assert_eq!(shown["events"][0]["what"], "rate_limited");

    let attack = async {
        loop {
            events.tell(|| Event::Refused {
                reason: Reason::RateLimited,
                request: RequestInfo::default(),
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let watch = async {
        let began = Instant::now();
        let mut snapshots = 0;
        while began.elapsed() < Duration::from_secs(10) {
            watching.next().await.unwrap();
            snapshots += 1;
        }
        snapshots
    };
    let snapshots = tokio::select! {
        never = attack => never,
        snapshots = watch => snapshots,
    };
    assert!((90..=101).contains(&snapshots), "{snapshots}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_queued_for_a_watcher_that_does_not_read() {
    let (handle, page) = page();
    let mut watching = Watching::begin(&page).await;
    watching.next().await.unwrap();
    for second in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let events = page.events();
        events.tell(|| Event::Timeout {
            kind: Timeout::Idle,
            request: RequestInfo::from_peer(PEER),
        });
        if second == 30 {
            handle.lifecycle().advance(Phase::Ready);
        }
    }
    let late = watching.at_once().expect("the state of now");
    assert_eq!(late["phase"], "ready");
    assert_eq!(late["events"][0]["count"], 60);
    assert_eq!(watching.at_once(), None, "and no other");
}

#[tokio::test]
async fn at_most_sixty_four_watch() {
    let (_, page) = page();
    let mut watching = Vec::new();
    for _ in 0..MAX_WATCHERS {
        watching.push(Watching::begin(&page).await);
    }
    let refused = get(&page.clone().title("another"), "/live").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(
        snapshot(&page).await["phase"],
        "starting",
        "to be asked still"
    );
    assert_eq!(
        ask(&page, Method::HEAD, "/live").await.status(),
        StatusCode::OK
    );
    watching.pop();
    Watching::begin(&page).await;
}

#[tokio::test]
async fn the_stream_ends_with_the_report() {
    let shutdown = Shutdown::new().signals(false).lame_duck(Duration::ZERO);
    let handle = shutdown.handle();
    let page = StatusPage::new(&handle).title("a \"shop\"");
    let mut watching = Watching::begin(&page).await;
    let first = watching.next().await.unwrap();
    assert_eq!(
        (&first["title"], &first["report"]),
        (&json!("a \"shop\""), &Value::Null)
    );
    let watch = async {
        let mut last = first;
        while let Some(next) = watching.next().await {
            last = next;
        }
        last
    };
    handle.shutdown();
    let (report, last) = tokio::join!(shutdown.run(), watch);
    let report = report.unwrap();
    assert_eq!(last["phase"], "closed");
    assert_eq!(
        last["report"],
        json!({"clean": true, "cut": 0, "text": report.to_string()})
    );
    assert_eq!(last["phases"].get("lame_duck"), None, "skipped");

    // A late watcher gets the report, and the end.
    let mut late = Watching::begin(&page).await;
    assert_eq!(late.next().await.unwrap()["report"]["clean"], true);
    assert!(late.0.is_end_stream());
    assert_eq!(late.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_attack_cannot_flush_the_list() {
    let (_, page) = page();
    let events = page.events();
    let cut = Event::Cut {
        request: get_of("/slow", PEER),
        state: "in the handler",
        age: Duration::from_secs(3),
    };
    events.tell(|| cut.clone());
    // Two events alternate for ten minutes, each time from another peer, and the errors have a different text each
    // time.
    for round in 0..6_000u32 {
        let peer = Some(SocketAddr::from((round.to_be_bytes(), 1)));
        let error = std::io::Error::other(format!("{round} {}", "ä".repeat(500)));
        events.tell(|| Event::Timeout {
            kind: Timeout::ReadHeader,
            request: RequestInfo::from_peer(peer),
        });
        events.tell(|| Event::Refused {
            reason: Reason::HeadTooSlow,
            request: RequestInfo::default(),
        });
        events.tell(|| Event::ServiceError {
            error: &error,
            request: RequestInfo::default(),
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let shown = snapshot(&page).await;
    let list = shown["events"].as_array().unwrap();
    assert_eq!(list.len(), 4, "{list:?}");
    assert_eq!(list[3]["detail"], "GET /slow");
    assert_eq!(list[3]["peer"], "127.0.0.1:4321");
    let timeout = &list[2];
    assert_eq!(
        (&timeout["what"], &timeout["count"]),
        (&json!("read_header"), &json!(6000))
    );
    assert_eq!(timeout["peer"], "0.0.23.111:1", "the last one");
    assert!(timeout["first_ms"].as_u64() > Some(599_000) && timeout["last_ms"] == 100);
    let detail = list[0]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("5999 ä") && detail.len() < 210,
        "{detail}"
    );
    let counters = shown["counters"].as_array().unwrap();
    assert!(counters.contains(&json!({"kind": "refused", "what": "head_too_slow", "count": 6000})));
    assert!(counters.contains(&json!({"kind": "cut", "what": "request", "count": 1})));
}

/// An error that emits an event while it is formatted.
#[derive(Debug)]
struct Talkative(crate::events::Events);

impl std::fmt::Display for Talkative {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.tell(|| Event::RateLimitFull);
        f.write_str("talkative")
    }
}

impl Error for Talkative {}

#[test]
fn an_error_that_emits_while_it_is_formatted_blocks_no_one() {
    let (done, was_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (_, page) = page();
        let events = page.events();
        let error = Talkative(events.clone());
        events.tell(|| Event::ServiceError {
            error: &error,
            request: RequestInfo::default(),
        });
        done.send(page.shared.recent_events.log().list.len())
            .unwrap();
    });
    assert_eq!(was_done.recv_timeout(Duration::from_secs(5)), Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_periodic_event_cannot_flush_the_list() {
    let (_, page) = page();
    let events = page.events();
    let error = std::io::Error::other("the one that matters");
    events.tell(|| Event::Phase(Phase::Ready));
    events.tell(|| Event::ServiceError {
        error: &error,
        request: RequestInfo::default(),
    });
    // Idle connections do this in every quiet hour.
    for _ in 0..1_000 {
        for kind in [Timeout::Idle, Timeout::ReadHeader] {
            events.tell(|| Event::Timeout {
                kind,
                request: RequestInfo::from_peer(PEER),
            });
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let shown = snapshot(&page).await;
    let list = shown["events"].as_array().unwrap();
    assert_eq!(list.len(), CAPACITY);
    let whats: Vec<_> = list
        .iter()
        .map(|one| one["what"].as_str().unwrap())
        .collect();
    assert_eq!(whats[98..], ["service", "ready"]);
    assert_eq!(whats[..2], ["read_header", "idle"]);
    assert_eq!(list[97]["last_ms"], 98_000);
}

#[tokio::test(start_paused = true)]
async fn an_attack_causes_at_most_twenty_snapshots_a_second() {
    let (handle, page) = page();
    let events = page.events();
    let mut different = std::collections::HashSet::new();
    for _ in 0..1_000 {
        events.tell(|| Event::RateLimitFull);
        let (event, _) = page.shared.event().await;
        different.insert(event.as_ptr());
        // Leaked, so that no other event reuses its address.
        std::mem::forget(event);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!((15..=21).contains(&different.len()), "{}", different.len());

    // A phase is never late.
    handle.lifecycle().advance(Phase::Ready);
    assert_eq!(snapshot(&page).await["phase"], "ready");
    // A watcher that was given an older snapshot misses nothing.
    let mut watching = Watching::begin(&page).await;
    watching.next().await.unwrap();
    events.tell(|| Event::RateLimitRestored);
    watching.next().await.unwrap();
    let shown = watching.next().await.unwrap();
    assert_eq!(shown["events"][0]["what"], "restored");
}

#[tokio::test(start_paused = true)]
async fn the_list_is_bounded_and_the_latest_comes_first() {
    let (_, page) = page();
    let events = page.events();
    for number in 0..250 {
        let path = format!("/{number}");
        events.tell(|| Event::Cut {
            request: get_of(&path, None),
            state: "in the handler",
            age: Duration::ZERO,
        });
    }
    let shown = snapshot(&page).await;
    let list = shown["events"].as_array().unwrap();
    assert_eq!(list.len(), CAPACITY);
    assert_eq!(
        (&list[0]["detail"], &list[99]["detail"]),
        (&json!("GET /249"), &json!("GET /150"))
    );
    // After a second a repetition is another entry.
    for _ in 0..2 {
        events.tell(|| Event::RateLimitFull);
        tokio::time::sleep(Duration::from_millis(1001)).await;
    }
    let shown = snapshot(&page).await;
    assert_eq!(
        (&shown["events"][0]["count"], &shown["events"][1]["what"]),
        (&json!(1), &json!("full"))
    );
}

#[tokio::test]
async fn every_event_is_counted_by_kind() {
    let (_, page) = page();
    let events = page.events();
    let io = std::io::Error::other("no more");
    let error: &(dyn Error + 'static) = &io;
    let all = [
        Event::Phase(Phase::Ready),
        Event::Drained {
            took: Duration::from_millis(1500),
            cut: 0,
        },
        Event::Readiness { ready: true },
        Event::Timeout {
            kind: Timeout::Write,
            request: RequestInfo::from_peer(PEER),
        },
        Event::Refused {
            reason: Reason::Draining,
            request: RequestInfo::default(),
        },
        Event::MalformedGrpcTimeout,
        Event::RateLimitFull,
        Event::RateLimitFallback { error },
        Event::RateLimitRestored,
        Event::ServiceError {
            error,
            request: RequestInfo::default(),
        },
        Event::ClientGone {
            request: RequestInfo::default(),
            age: Duration::ZERO,
        },
        Event::AcceptError {
            error: &io,
            pause: None,
        },
        Event::AcceptError {
            error: &io,
            pause: Some(Duration::from_millis(5)),
        },
        Event::Cut {
            request: get_of("/", None),
            state: "in the handler",
            age: Duration::ZERO,
        },
    ];
    for event in &all {
        events.tell(|| event.clone());
    }
    let ways = [
        Closed::Ended,
        Closed::Timeout(Timeout::Idle),
        Closed::Error,
        Closed::Drained,
        Closed::Cut,
        Closed::ClientGone,
        Closed::Panicked,
    ];
    for why in ways {
        events.tell(|| Event::Opened { peer: None });
        events.tell(|| Event::Closed { peer: None, why });
    }
    let shown = snapshot(&page).await;
    let connections = &shown["connections"];
    assert_eq!(connections["opened"], ways.len());
    let closed = json!({
        "ended": 1, "timeout": 1, "error": 1, "drained": 1, "cut": 1, "client_gone": 1, "panicked": 1
    });
    assert_eq!(connections["closed"], closed);
    // The two accept errors are one kind, and one entry.
    assert_eq!(shown["events"].as_array().unwrap().len(), all.len() - 1);
    let counters = shown["counters"].as_array().unwrap();
    assert_eq!(counters.len(), all.len() - 1);
    let accept = json!({"kind": "error", "what": "accept", "count": 2});
    assert!(counters.contains(&accept), "{counters:?}");
    assert_eq!(shown["events"][1]["detail"], "no more; pausing for 5ms");
}

/// Returns a GET of this path from this peer.
fn get_of(path: &str, peer: Option<SocketAddr>) -> RequestInfo<'_> {
    let mut request = RequestInfo::from_peer(peer);
    request.method = Some("GET");
    request.path = Some(path);
    request
}

#[tokio::test]
async fn a_page_of_another_site_gets_nothing() {
    let (_, page) = page();
    let ask = |mut page: StatusPage, path: &str, name: &str, value: &str| {
        let request = Request::builder().uri(path).header(name, value);
        page.call(request.body(()).unwrap())
    };
    for path in ["/", "/snapshot", "/live", "/nothing"] {
        let evil = ask(page.clone(), path, "host", "evil.example")
            .await
            .unwrap();
        assert_eq!(evil.status(), StatusCode::MISDIRECTED_REQUEST, "{path}");
        let other = ask(page.clone(), path, "sec-fetch-site", "cross-site").await;
        assert_eq!(other.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
    }
    for host in ["localhost:8081", "10.0.3.17:8081", "[::1]:8081", "shop"] {
        let answer = ask(page.clone(), "/snapshot", "host", host).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
        let headers = answer.headers();
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
    let named = page.allowed_hosts(AllowedHosts::private().and("evil.example"));
    let answer = ask(named, "/", "host", "evil.example").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
