//! hyper-util's `auto` server, bare: what the others are compared with.

fn main() -> anyhow::Result<()> {
    lameduck_benches::servers::bare_auto()
}
