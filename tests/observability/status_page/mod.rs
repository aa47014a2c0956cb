//! The status page, as a browser shows it through a real drain.
#![cfg(all(feature = "status", feature = "axum", unix))]

mod browser;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::WebSocketUpgrade;
use axum::routing::{any, get};
use browser::Browser;
use http::Request;
use http_body_util::BodyExt;
use lameduck::events::{Event, RequestInfo};
use lameduck::reply::RefusalReason;
use lameduck::serve::{App, ServeError};
use lameduck::shutdown::{ConnectionState, ShutdownHandle};
use lameduck::status::StatusPage;
use lameduck::{InFlightLayer, Phase, Report, Shutdown, Timeouts};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::support::{LIMIT, Raw, ms, within};

const EVIL: &str = "<img src=x onerror=window.hacked=1>";

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn observe(
    listener: TcpListener,
    app: impl App,
    timeouts: Timeouts,
    handle: &ShutdownHandle,
) -> JoinHandle<Result<Report, ServeError>> {
    let serve = lameduck::serve(listener, app).timeouts(timeouts);
    tokio::spawn(serve.observe(handle).into_future())
}

/// Builds a service with a report that never comes, a websocket that never ends, and a page that is ready at once.
fn public(in_flight: InFlightLayer) -> Router {
    let for_ever = || async { std::future::pending::<()>().await };
    let upgrade = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|socket| async {
            let _held = socket;
            std::future::pending().await
        })
    };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/users/{id}/report", any(for_ever))
        .route("/chat", get(upgrade))
        .layer(in_flight)
}

/// The public port and its clients.
struct Public {
    handle: ShutdownHandle,
    page: StatusPage,
    addr: SocketAddr,
    report: JoinHandle<Result<Report, ServeError>>,
    clients: Vec<Raw>,
}

impl Public {
    async fn start() -> Public {
        let shutdown = Shutdown::new()
            .signals(false)
            .lame_duck(Duration::from_secs(10))
            .drain(Duration::from_secs(8))
            .closer("database", ms(500), || async {});
        let handle = shutdown.handle();
        let in_flight = InFlightLayer::new();
        let page = StatusPage::new(&handle)
            .title("shop / i-0c6f")
            .in_flight(in_flight.handle());
        let (listener, addr) = listen().await;
        let serve = lameduck::serve(listener, public(in_flight))
            .timeouts(Timeouts::none().read_header(ms(300)))
            .events(page.event_sink())
            .shutdown(shutdown);
        let report = tokio::spawn(serve.into_future());
        let ready = handle.lifecycle().reached(Phase::Ready);
        within(LIMIT, "ready", ready).await;
        Public {
            handle,
            page,
            addr,
            report,
            clients: Vec::new(),
        }
    }

    async fn ask(&mut self, request: &str) {
        let mut client = Raw::connect(self.addr).await;
        client.send(request).await;
        self.clients.push(client);
    }

    /// Makes two slow requests, a websocket, an idle connection, a timeout and a refusal.
    async fn ask_for_all_kinds(&mut self) {
        let slow = "GET /users/42/report?secret=1 HTTP/1.1\r\nhost: a\r\n\r\n";
        self.ask(slow).await;
        if std::env::var_os("STATUS_SCREENSHOT").is_some() {
            tokio::time::sleep(ms(2300)).await;
        }
        self.ask("POST /users/7/report HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        let upgrade = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        self.ask(upgrade).await;
        let chat = self.clients.last_mut().unwrap().read_response().await;
        assert_eq!(chat.status, 101);
        self.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let hello = self.clients.last_mut().unwrap().read_response().await;
        assert_eq!(hello.text(), "hello");
        // A head that is never whole, and one that names no host.
        for bad in ["GET / HTTP/1.1\r\nhost", "GET / HTTP/1.1\r\n\r\n"] {
            let mut client = Raw::connect(self.addr).await;
            client.send(bad).await;
            client.read_until_close().await;
        }
    }
}

/// A script that finds the row of the slow request.
const SLOW: &str = "[...document.querySelectorAll('#requests tbody tr')]\
    .find(row => row.textContent.includes('GET /users/42/report'))";

fn age_of_the_slow_one(browser: &mut Browser) -> f64 {
    let age = browser.evaluate(&format!("parseFloat({SLOW}.cells[0].textContent)"));
    age.as_f64().expect("a number")
}

/// Builds a script that looks for an event on the page.
fn happened(kind: &str, what: &str) -> String {
    format!(
        "[...document.querySelectorAll('#events tbody tr')]\
         .some(row => row.cells[1].textContent.trim() === '{kind} {what}')"
    )
}

fn phase_is(phase: &str) -> String {
    format!("document.getElementById('phase').textContent === '{phase}'")
}

#[test]
fn browser_shows_a_drain_from_beginning_to_end() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut public = runtime.block_on(Public::start());
    let (admin, url) = runtime.block_on(async {
        let (listener, addr) = listen().await;
        // The path has no slash at its end: the page finds its stream by itself.
        let pages = Router::new().nest_service("/status", public.page.clone());
        let timeouts = Timeouts::none().write(Duration::from_secs(1));
        let admin = observe(listener, pages, timeouts, &public.handle);
        (admin, format!("http://{addr}/status"))
    });
    let mut browser = Browser::start();
    browser.open(&url, 1200, 900);
    browser.until(&phase_is("ready"));
    assert_eq!(browser.text("title"), "shop / i-0c6f");
    assert_eq!(browser.evaluate("document.title"), "ready - shop / i-0c6f");

    runtime.block_on(public.ask_for_all_kinds());
    browser.until(SLOW);
    browser.until("document.getElementById('flying').textContent === 'In flight: 3'");
    let row = browser.evaluate(&format!("{SLOW}.textContent"));
    let row = row.as_str().unwrap();
    for part in ["/users/{id}/report", "in the handler", "127.0.0.1:"] {
        assert!(row.contains(part), "{part} in {row:?}");
    }
    assert!(!row.contains("secret"), "{row:?}");
    assert!(browser.text("requests").contains("POST /users/7/report"));
    let before = age_of_the_slow_one(&mut browser);
    browser.until(&format!(
        "parseFloat({SLOW}.cells[0].textContent) >= {before} + 1"
    ));
    browser.until(&happened("timeout", "read header"));
    browser.until(&happened("refused", "no host"));
    assert!(browser.text("connections").contains("upgraded1"));
    it_fits_a_phone_and_the_night(&mut browser);

    public.handle.shutdown();
    browser.until(&phase_is("lame duck"));
    let clock = browser.text("clock");
    assert!(clock.ends_with("left of 10.0 s"), "{clock}");
    assert_eq!(
        browser.evaluate("document.getElementById('window').hidden"),
        false
    );

    // An attack is one line of the list.
    for _ in 0..1_240 {
        let reason = RefusalReason::RateLimited;
        public.page.event_sink().emit(|| Event::Refused {
            reason,
            request: RequestInfo::default(),
        });
    }
    browser.until(&happened("refused", "rate limited"));
    browser.until("document.querySelector('#events tbody').textContent.includes('× 1,240')");
    picture(&mut browser, "-lame-duck", 2500);

    public.handle.drain_now();
    browser.until(&phase_is("draining"));
    browser
        .until("document.getElementById('flying').textContent === '3 requests hold up the drain'");
    let clock = browser.text("clock");
    assert!(clock.contains(" left of "), "{clock}");
    picture(&mut browser, "", 2500);
    external_text_is_escaped(&mut browser, &public.page);

    browser.until("document.getElementById('verdict').textContent === 'NOT CLEAN: 3 requests cut'");
    assert_eq!(
        browser.evaluate("document.getElementById('report').hidden"),
        false
    );
    let shown = browser.text("report-text");
    assert!(
        shown.contains("GET /users/42/report") && shown.contains("closer database: done"),
        "{shown}"
    );
    browser.until("document.getElementById('ended').textContent === 'The process has ended.'");
    assert_eq!(browser.text("phase"), "closed");
    assert_eq!(browser.text("report-text"), shown, "the report stays");
    browser.until(&happened("cut", "request"));
    picture(&mut browser, "-ended", 0);

    let report = runtime.block_on(within(LIMIT, "the end", public.report));
    let report = report.unwrap().unwrap();
    assert_eq!(shown, report.to_string());
    runtime
        .block_on(within(LIMIT, "the end", admin))
        .unwrap()
        .unwrap();
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn browser_falls_back_to_polling_and_shows_a_lost_server() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let page = StatusPage::new(&Shutdown::new().signals(false).handle());
    let (watchers, addr) = runtime.block_on(async {
        let mut watchers = Vec::new();
        for _ in 0..64 {
            let watch = Request::get("/live").body(()).unwrap();
            watchers.push(page.clone().oneshot(watch).await.unwrap());
        }
        let (listener, addr) = listen().await;
        let handle = Shutdown::new().handle();
        observe(listener, page, Timeouts::none(), &handle);
        (watchers, addr)
    });
    let link = |says: &str| format!("document.getElementById('link').textContent === '{says}'");
    let mut browser = Browser::start();
    browser.open(&format!("http://{addr}/"), 800, 600);
    browser.until(&link("polled every 2 s"));
    browser.until(&phase_is("starting"));
    drop(watchers);
    browser.until(&link("live"));
    drop(runtime);
    browser.until(&link("trying again"));
    let lost = browser.text("lost");
    assert!(lost.starts_with("No connection"), "{lost}");
    let hidden = "['lost', 'ended'].map(id => document.getElementById(id).hidden).join()";
    assert_eq!(browser.evaluate(hidden), "false,true");
    assert_eq!(
        browser.text("phase"),
        "starting",
        "what was last seen stays"
    );
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// Asserts that external text is shown as text, wherever it appears.
fn external_text_is_escaped(browser: &mut Browser, page: &StatusPage) {
    let error = std::io::Error::other(EVIL);
    page.event_sink().emit(|| Event::ServiceError {
        error: &error,
        request: RequestInfo::default(),
    });
    let listed = "document.getElementById('events').textContent";
    browser.until(&format!("{listed}.includes('{EVIL}')"));
    // The value takes the place of every text but the phase, which decides what is shown.
    let everywhere = format!(
        "render(JSON.parse(JSON.stringify({{...seen, report: {{clean: false, cut: 1, text: ''}}}}), \
         (key, value) => key !== 'phase' && typeof value === 'string' ? '{EVIL}' : value)); \
         document.body.innerText.split('{EVIL}').length"
    );
    let times = browser.evaluate(&everywhere);
    assert!(times.as_u64() > Some(15), "{times} times");
    let elements = "document.body.querySelectorAll('img, [onerror]').length";
    assert_eq!(browser.evaluate(elements), 0);
    assert_eq!(browser.evaluate("typeof window.hacked"), "undefined");
}

/// Writes a picture to `STATUS_SCREENSHOT`, after so many milliseconds that make it look alive.
fn picture(browser: &mut Browser, suffix: &str, wait: u64) {
    let path = std::env::var("STATUS_SCREENSHOT").ok();
    if path.is_some() {
        std::thread::sleep(ms(wait));
    }
    let shot = browser.screenshot();
    assert!(shot.starts_with(b"\x89PNG"));
    assert!(shot.len() > 10_000, "{}", shot.len());
    if let Some(path) = path {
        std::fs::write(path.replace(".png", &format!("{suffix}.png")), shot).unwrap();
    }
}

fn it_fits_a_phone_and_the_night(browser: &mut Browser) {
    browser.resize(360, 800);
    let wide = "document.documentElement.scrollWidth";
    assert_eq!(browser.evaluate(wide), 360, "nothing is cut off");
    let back = "getComputedStyle(document.body).backgroundColor";
    let mut backs: Vec<Value> = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        backs.push(browser.evaluate(back));
        picture(browser, &format!("-phone-{scheme}"), 0);
    }
    assert_ne!(backs[0], backs[1]);
    browser.prefer("light");
    browser.resize(1200, 900);
}

#[tokio::test]
async fn page_on_its_own_port_outlives_the_write_deadline() {
    let shutdown = Shutdown::new().signals(false).lame_duck(ms(50));
    let handle = shutdown.handle();
    let page = StatusPage::new(&handle);
    let (listener, admin) = listen().await;
    let serving = observe(
        listener,
        page.clone(),
        Timeouts::none().write(ms(200)),
        &handle,
    );
    let (listener, _) = listen().await;
    let serve = lameduck::serve(listener, public(InFlightLayer::off()));
    let serve = serve.events(page.event_sink()).shutdown(shutdown);
    let public = tokio::spawn(serve.into_future());

    let mut watcher = Raw::connect(admin).await;
    watcher.send("GET /live HTTP/1.1\r\nhost: a\r\n\r\n").await;
    tokio::time::sleep(ms(800)).await;
    let mut curl = Raw::connect(admin).await;
    let answer = curl.ask("GET /snapshot HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let snapshot: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!((&snapshot["phase"], answer.status), (&"ready".into(), 200));
    let head = curl.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head.header("content-security-policy").is_some());
    assert!(
        handle.in_flight().is_empty(),
        "who watches is not waited for"
    );
    assert_eq!(handle.connections().of(ConnectionState::Responding), 0);

    handle.shutdown();
    let report = within(LIMIT, "the end", public).await.unwrap().unwrap();
    within(LIMIT, "the end", serving).await.unwrap().unwrap();
    let seen = watcher.read_until_close().await.answer();
    assert!(seen.complete);
    let seen = seen.text();
    let last = seen.trim_end().rsplit("data: ").next().unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["report"]["text"], report.to_string());
    for phase in ["ready", "lame_duck", "draining", "closed"] {
        assert!(seen.contains(&format!("\"phase\":\"{phase}\"")), "{phase}");
    }
}

async fn snapshot(page: &StatusPage) -> Value {
    let ask = Request::get("/snapshot").body(()).unwrap();
    let answer = page.clone().oneshot(ask).await.unwrap();
    let snapshot = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&snapshot).unwrap()
}

async fn until_in_flight(handle: &ShutdownHandle, count: usize) {
    let there = async {
        while handle.in_flight().len() < count {
            tokio::time::sleep(ms(5)).await;
        }
    };
    within(LIMIT, "the requests", there).await;
}

#[tokio::test]
async fn request_is_listed_with_its_route() {
    let mut public = Public::start().await;
    let path = r#"/users/"\'{}|^/report"#;
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    public.ask(&request).await;
    until_in_flight(&public.handle, 1).await;
    let snapshot = snapshot(&public.page).await;
    let in_flight = &snapshot["in_flight"];
    assert_eq!(
        (&in_flight["count"], &in_flight["peak"]),
        (&1.into(), &1.into())
    );
    let one = &in_flight["requests"][0];
    assert_eq!(
        (&one["method"], &one["path"]),
        (&"GET".into(), &path.into())
    );
    assert_eq!(one["route"], "/users/{id}/report");
    assert_eq!(snapshot["connections"]["by_state"]["handler"], 1);
    public.handle.cut();
    within(LIMIT, "the end", public.report)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn hundred_requests_are_listed_and_the_rest_counted() {
    let mut public = Public::start().await;
    for number in 0..103 {
        let request = format!("GET /users/{number}/report HTTP/1.1\r\nhost: a\r\n\r\n");
        public.ask(&request).await;
    }
    until_in_flight(&public.handle, 103).await;
    let snapshot = snapshot(&public.page).await;
    let in_flight = &snapshot["in_flight"];
    assert_eq!(
        (&in_flight["count"], &in_flight["more"]),
        (&103.into(), &3.into())
    );
    let named = in_flight["requests"].as_array().unwrap();
    assert_eq!(named.len(), 100);
    let ages: Vec<_> = named.iter().map(|one| one["age_ms"].as_u64()).collect();
    assert!(
        ages.is_sorted_by(|a, b| a >= b),
        "the oldest first: {ages:?}"
    );
    public.handle.cut();
    within(LIMIT, "the end", public.report)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn slow_watcher_misses_snapshots_and_nothing_is_kept() {
    let handle = Shutdown::new().signals(false).handle();
    let page = StatusPage::new(&handle);
    // The sockets fill quickly.
    let listener = TcpSocket::new_v4().unwrap();
    listener.set_send_buffer_size(8 * 1024).unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(8).unwrap();
    let admin = listener.local_addr().unwrap();
    observe(listener, page.clone(), Timeouts::none(), &handle);
    let watcher = TcpSocket::new_v4().unwrap();
    watcher.set_recv_buffer_size(8 * 1024).unwrap();
    let mut watcher = watcher.connect(admin).await.unwrap();
    let events = page.event_sink();
    for number in 0..100 {
        let path = format!("/{number}/{}", "x".repeat(180));
        let event = || Event::Cut {
            request: get_of(&path, None),
            state: "in the handler",
            age: ms(1),
        };
        events.emit(event);
    }
    let telling = tokio::spawn(async move {
        loop {
            events.emit(|| Event::RateLimitFull);
            tokio::time::sleep(ms(20)).await;
        }
    });
    let watch = b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n";
    watcher.write_all(watch).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    telling.abort();
    // Some snapshots wait in hyper's buffer and in the sockets; the rest was never made.
    let mut read = Vec::new();
    let reading = async { while watcher.read_buf(&mut read).await.unwrap() > 0 {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), reading).await;
    let read = String::from_utf8_lossy(&read);
    let counts: Vec<u64> = read
        .split("\"what\":\"full\",\"count\":")
        .skip(1)
        .filter_map(|rest| rest.split('}').next()?.parse().ok())
        .collect();
    let most = counts.windows(2).map(|two| two[1] - two[0]).max();
    assert!(most > Some(50), "a gap of a second at least: {counts:?}");
}

/// Builds a GET of this path, from this peer.
fn get_of(path: &str, peer: Option<SocketAddr>) -> RequestInfo<'_> {
    let mut request = RequestInfo::from_peer(peer);
    request.method = Some("GET");
    request.path = Some(path);
    request
}
