//! Pinning to processor cores.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Runs `work` with the calling thread pinned to `core`, and restores the old mask.
///
/// A process started meanwhile inherits the mask, so it is pinned before it runs its first instruction.
pub fn pinned<T>(core: Option<usize>, work: impl FnOnce() -> T) -> Result<T> {
    let Some(core) = core else {
        return Ok(work());
    };
    let before = sched_getaffinity(None).context("reading the core mask")?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("pinning to core {core}"))?;
    let result = work();
    sched_setaffinity(None, &before).context("putting the core mask back")?;
    Ok(result)
}
