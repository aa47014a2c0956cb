//! `axum::serve` with a lame-duck wait and graceful shutdown: what a careful user has today.

fn main() -> anyhow::Result<()> {
    lameduck_benches::servers::axum_serve()
}
