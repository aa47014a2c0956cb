//! What `lameduck::Server` refuses to start with, and says at its start.
#![cfg(all(
    feature = "axum",
    feature = "metrics",
    feature = "status",
    feature = "rate-limit"
))]

use std::net::SocketAddr;
use std::time::Duration;

use axum::{Router, routing::get};
use lameduck::server::ServerError;
use lameduck::shutdown::CancellationToken;
use lameduck::{AllowedHosts, Server};

use crate::support::{Answer, Raw};

const AT_ONCE: &str = "127.0.0.1:0";
const SECOND: Duration = Duration::from_secs(1);

fn app() -> Router {
    Router::new()
        .route("/", get(async || "hello\n"))
        .route("/healthz", get(async || "mine\n"))
}

async fn refusal(server: Server) -> String {
    let error = server.serve(AT_ONCE, app()).spawn().await.unwrap_err();
    assert!(matches!(error, ServerError::Setting(_)), "{error}");
    error.to_string()
}

async fn ask(addr: SocketAddr, path: &str, host: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    Raw::connect(addr).await.ask(request).await
}

async fn stopped(stop: CancellationToken) {
    stop.cancelled().await;
}

#[tokio::test]
async fn settings_that_cannot_be_meant_are_refused() {
    let well = || async { Ok::<(), std::io::Error>(()) };
    let server = Server::for_tests;
    for (server, problem) in [
        (server().timeout(Duration::ZERO), "timeout: zero"),
        (
            server().check("db", well).optional_check("db", well),
            "check: there are two with the name \"db\"",
        ),
        (server().check("workers", well), "check: there are two"),
        (
            server().health(|health| health.deadline(Duration::ZERO)),
            "health: the deadline",
        ),
        (
            server().worker("mailer", stopped).worker("mailer", stopped),
            "worker: there are two",
        ),
        (
            server()
                .closer("db", SECOND, || async {})
                .closer("db", SECOND, || async {}),
            "closer: there are two",
        ),
        (
            server().flush("logs", Duration::ZERO, || async {}),
            "flush \"logs\": its budget is zero",
        ),
    ] {
        let refusal = refusal(server).await;
        assert!(refusal.starts_with(problem), "{problem}: {refusal}");
    }
}

#[tokio::test]
async fn address_without_a_host_or_a_port_is_refused_with_the_form_of_one() {
    for address in ["18090", ":18090", "localhost"] {
        let serving = Server::for_tests().serve(address, app());
        let on_its_own = serving.spawn().await.unwrap_err().to_string();
        let admin = refusal(Server::for_tests().admin(address)).await;
        for said in [on_its_own, admin] {
            assert!(said.contains(&format!("{address:?}")), "{said}");
            assert!(said.contains("\"127.0.0.1:"), "{said}");
        }
    }
}

#[tokio::test]
async fn admin_port_on_the_port_of_the_service_is_named() {
    let listener = std::net::TcpListener::bind(AT_ONCE).unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = Server::for_tests().admin(addr).serve(listener, app());
    let error = serving.spawn().await.unwrap_err().to_string();
    assert!(
        error.starts_with("admin: its port is that of the service"),
        "{error}"
    );
}

#[tokio::test]
async fn admin_port_answers_under_a_name_that_is_allowed() {
    let hosts = AllowedHosts::private().and("admin.example.com");
    for (server, status) in [
        (Server::for_tests(), 421),
        (Server::for_tests().admin_hosts(hosts), 200),
    ] {
        let running = server
            .admin(AT_ONCE)
            .serve(AT_ONCE, app())
            .spawn()
            .await
            .unwrap();
        let admin = running.admin_addr().unwrap();
        for path in ["/metrics", "/"] {
            let answer = ask(admin, path, "admin.example.com").await;
            assert_eq!(answer.status, status, "{path}");
            if status == 421 {
                assert!(
                    answer.text().contains("Server::admin_hosts"),
                    "{}",
                    answer.text()
                );
            }
        }
        let health = ask(admin, "/readyz", "admin.example.com").await.text();
        assert_eq!(health.contains("components"), status == 200, "{health}");
        running.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn probe_leaves_its_path_to_the_service_when_it_is_moved() {
    let server = Server::for_tests().probes(|layer| layer.liveness_at("/live"));
    let running = server.serve(AT_ONCE, app()).spawn().await.unwrap();
    let addr = running.addr().unwrap();
    assert_eq!(ask(addr, "/healthz", "a").await.text(), "mine\n");
    assert_eq!(ask(addr, "/live", "a").await.status, 200);
    running.shutdown().await.unwrap();
}
