use std::time::Duration;

use anyhow::Result;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::time;

use crate::app::App;

/// Serves by hyper-util's bare `auto` server: no deadlines, no drain. SIGTERM ends it as it ends any process.
pub fn bare_auto() -> Result<()> {
    super::runtime()?.block_on(async {
        let listener = super::listen().await?;
        let app = App::new(|| true);
        let builder = auto::Builder::new(TokioExecutor::new());
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // The process is probably out of descriptors: a pause keeps the loop from spinning.
                time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let app = app.clone();
            let builder = builder.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| app.call(request));
                // How a connection ends is the client's business here.
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}
