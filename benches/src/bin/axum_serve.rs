//! `axum::serve` with a lame-duck wait and graceful shutdown: the best practice without lameduck.

fn main() -> anyhow::Result<()> {
    lameduck_benches::servers::axum_serve()
}
