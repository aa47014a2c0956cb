//! The draw of tenants: even, stable when a rollout is raised, and independent from flag to flag.

use proptest::prelude::*;

use super::{Rollout, bucket, flag};

const TENANTS: usize = 100_000;
const KEYS: usize = 20;
const BINS: usize = 10;

/// Draws all tenants for a key.
fn draw(key: usize) -> Vec<u32> {
    let key = format!("flag-{key}");
    let tenants = (0..TENANTS).map(|tenant| format!("tenant-{tenant}"));
    tenants.map(|tenant| bucket::of(&key, &tenant)).collect()
}

/// Returns the sum of (found - expected)² / expected.
fn chi_squared(found: &[u32], expected: f64) -> f64 {
    let each = found
        .iter()
        .map(|found| (f64::from(*found) - expected).powi(2) / expected);
    each.sum()
}

#[test]
fn draw_is_even_and_independent_from_flag_to_flag() {
    let draws: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let draws: Vec<_> = (0..KEYS)
            .map(|key| scope.spawn(move || draw(key)))
            .collect();
        let draws = draws.into_iter();
        draws.map(|draw| draw.join().expect("no panic")).collect()
    });
    for draw in &draws {
        for percent in [0.5, 1.0, 5.0, 12.345, 25.0, 50.0, 75.0, 99.0, 99.5] {
            let rollout = Rollout::try_from(percent).expect("a rollout");
            let on = draw
                .iter()
                .filter(|bucket| rollout.includes(**bucket))
                .count();
            let share = 100.0 * on as f64 / TENANTS as f64;
            assert!((share - percent).abs() < 0.5, "{share} % of {percent} %");
        }
        let mut bins = [0; 100];
        for bucket in draw {
            bins[*bucket as usize / 1000] += 1;
        }
        let even = chi_squared(&bins, TENANTS as f64 / 100.0);
        // 99 degrees of freedom: 160 is exceeded once in 10,000 times.
        assert!(even < 160.0, "{even}");
    }

    // Each pair of flags: the tenths of one against those of the other.
    let mut all = Vec::new();
    for (number, one) in draws.iter().enumerate() {
        for other in &draws[number + 1..] {
            let mut bins = [0; BINS * BINS];
            for (one, other) in one.iter().zip(other) {
                let tenth = |bucket: u32| bucket as usize / (100_000 / BINS);
                bins[tenth(*one) * BINS + tenth(*other)] += 1;
            }
            all.push(chi_squared(&bins, TENANTS as f64 / 100.0));
        }
    }
    assert_eq!(all.len(), KEYS * (KEYS - 1) / 2);
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let most = all.iter().copied().fold(0.0, f64::max);
    println!(
        "chi² of {} pairs, 99 expected: mean {mean:.1}, most {most:.1}",
        all.len()
    );
    // 190 of them: the mean is 99 ± 1, and 170 is exceeded once in 1,000 such tests.
    assert!((mean - 99.0).abs() < 5.0 && most < 170.0, "{mean} {most}");
}

proptest! {
    #[test]
    fn raising_a_rollout_turns_no_tenant_off(
        salt in "[!-~]{1,20}",
        tenant in any::<String>(),
        rollouts in (0_u32..=100_000, 0_u32..=100_000),
    ) {
        let (lower, higher) = (rollouts.0.min(rollouts.1), rollouts.0.max(rollouts.1));
        let value = |rollout: u32| {
            let salt = serde_json::to_string(&salt).expect("JSON");
            let percent = f64::from(rollout) / 1000.0;
            let flag = flag(&format!(r#"{{"enabled": true, "rollout": {percent}, "salt": {salt}}}"#));
            flag.decide("key", Some(&tenant)).value
        };
        prop_assert!(value(lower) <= value(higher));
        prop_assert!(value(100_000) && !value(0));
    }
}
