//! The place of a tenant in the rollout of a flag.

use sha2::{Digest, Sha256};

/// The number of buckets: a thousandth of a percent each.
pub const BUCKETS: u32 = 100_000;

/// Returns the bucket of a tenant: the first 8 bytes of SHA-256 over the seed, a zero byte and the tenant, as a
/// big-endian number, modulo 100,000. The seed is the flag's salt, or its key where it has no salt.
///
/// It is the same in every instance and every language: `vectors.json` has examples.
pub fn of(seed: &str, tenant: &str) -> u32 {
    let digest = Sha256::new()
        .chain_update(seed)
        .chain_update([0])
        .chain_update(tenant)
        .finalize();
    let first = digest.iter().take(8);
    let number = first.fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    // Below 100,000.
    (number % u64::from(BUCKETS)) as u32
}
