//! Bad input gets a clear error or the right status, and leaves nothing behind.
#![cfg(feature = "serve")]

mod support;

use lameduck::Timeouts;
use support::*;

#[tokio::test]
async fn smoke() {
    let app = app(|_| async { reply(200, "ok") });
    let server = Server::start(Timeouts::default(), app).await;
    server.finish().await;
}
