//! The whole stack of layers through `lameduck::serve`.

fn main() -> anyhow::Result<std::process::ExitCode> {
    lameduck_benches::servers::stacked()
}
