//! The cost of metrics for a request, beside axum-prometheus in one run, and the cost of a scrape.

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    lameduck_benches::metrics::run(None).await
}
