//! `axum_stacked` with every heap allocation counted (`GET /__allocs`). Not for timing: counting costs time.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> anyhow::Result<()> {
    lameduck_benches::servers::axum_stacked()
}
