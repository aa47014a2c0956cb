//! hyper-util's `auto` server, bare: the baseline of the others.

fn main() -> anyhow::Result<()> {
    lameduck_benches::servers::bare_auto()
}
