#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    lameduck_benches::layers::layers().await
}
