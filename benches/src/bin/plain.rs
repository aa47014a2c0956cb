//! A plain service through `lameduck::serve` with the in-flight and drain layers.

fn main() -> anyhow::Result<std::process::ExitCode> {
    lameduck_benches::servers::plain()
}
