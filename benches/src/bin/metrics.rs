//! What measuring costs a request, beside axum-prometheus in one run, and what a scrape costs.

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    lameduck_benches::metrics::run(None).await
}
