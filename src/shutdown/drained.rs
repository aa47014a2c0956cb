//! Waits for servers to have nothing left.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::server::DrainServer;

/// The time that cut connections have to end.
pub(super) const ABORT_GRACE: Duration = Duration::from_millis(100);

/// Waits for requests in flight first, then for idle connections; also of servers that are added meanwhile.
pub(super) async fn drained(servers: impl Fn() -> Vec<Arc<dyn DrainServer>>) {
    let mut seen = 0;
    loop {
        let all = servers();
        for server in &all {
            server.busy().idle().await;
        }
        // Servers are added at the end, and never removed.
        if servers().len() > all.len() {
            continue;
        }
        for server in &all[seen..] {
            server.close_idle();
        }
        for server in &all {
            server.all().idle().await;
        }
        seen = all.len();
        if servers().len() == seen {
            return;
        }
    }
}

/// Returns `true` if `future` was ready before `deadline`.
pub(super) async fn before(deadline: Instant, future: impl Future<Output = ()>) -> bool {
    tokio::time::timeout_at(deadline, future).await.is_ok()
}
