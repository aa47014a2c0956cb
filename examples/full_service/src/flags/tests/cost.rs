//! The cost of a value: no memory, and little time.

use std::{
    fmt::Write,
    hint::black_box,
    time::{Duration, Instant},
};

use super::{Flags, flags};

/// Returns a flag with 10,000 tenants among 100 others.
fn large() -> (Flags, Vec<String>) {
    let tenants: Vec<String> = (0..10_000)
        .map(|number| format!("tenant-{number}"))
        .collect();
    let mut text = format!("[large]\nenabled = true\nrollout = 10\ntenants = {tenants:?}\n");
    for number in 0..100 {
        let _ = write!(text, "[other-{number}]\nenabled = true\nrollout = 50\n");
    }
    (flags(&text), tenants)
}

#[test]
fn value_takes_no_memory() {
    let (flags, tenants) = large();
    // The first read of a thread registers it, once.
    flags.is_on("large", None, false);
    let taken = allocation_counter::measure(|| {
        for tenant in &tenants {
            assert!(flags.is_on("large", Some(tenant), false));
            flags.is_on("other-7", Some(tenant), false);
            flags.is_on("unknown", Some(tenant), false);
            flags.is_on("large", None, false);
        }
    });
    assert_eq!(taken.count_total, 0);
}

/// The fastest of many rounds is the cost; the others are the machine's. `cargo test --release` shows what a service has.
#[test]
fn value_takes_little_time() {
    let (flags, tenants) = large();
    let fastest = |what: &str, value: &dyn Fn(&str) -> bool| {
        let rounds = (0..30).map(|_| {
            let begun = Instant::now();
            for tenant in &tenants {
                black_box(value(black_box(tenant)));
            }
            begun.elapsed() / 10_000
        });
        let fastest = rounds.min().unwrap_or(Duration::MAX);
        println!("{what}: {fastest:?}");
        fastest
    };
    let hit = fastest("one of 10,000 tenants", &|tenant| {
        flags.is_on("large", Some(tenant), false)
    });
    fastest("a bucket", &|tenant| {
        flags.is_on("other-7", Some(tenant), false)
    });
    fastest("unknown", &|tenant| {
        flags.is_on("unknown", Some(tenant), false)
    });
    // Unoptimized code is some ten times slower.
    let most = if cfg!(debug_assertions) { 20_000 } else { 300 };
    assert!(hit < Duration::from_nanos(most), "{hit:?}");
}
