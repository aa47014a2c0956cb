//! `axum::serve` within the layers of tower-http and tower_governor that come nearest to lameduck's.

fn main() -> anyhow::Result<()> {
    lameduck_benches::servers::axum_stacked()
}
