//! A process without HTTP: it takes jobs until a signal, finishes the one in its hands, and reports.
//!
//! ```sh
//! cargo run --example worker --features serve
//! ```

use lameduck::Server;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), lameduck::server::ServerError> {
    let report = Server::new("jobs")
        .essential_worker("queue", |stop| async move {
            while !stop.is_cancelled() {
                tokio::select! {
                    () = stop.cancelled() => {}
                    job = next() => work(job?).await,
                }
            }
            Ok::<(), std::io::Error>(())
        })
        .run()
        .await?;
    report.exit()
}

async fn next() -> std::io::Result<u64> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(7)
}

async fn work(job: u64) {
    println!("job {job}");
}
