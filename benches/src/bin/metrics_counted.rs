//! `metrics` with every heap allocation counted. Not for timing: counting costs time.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn count() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    lameduck_benches::metrics::run(Some(count)).await
}
