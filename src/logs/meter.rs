use std::sync::atomic::{AtomicU64, Ordering};

/// A counter of the lines of one kind in the most recent second.
///
/// It is one word: the second in the upper half, the count in the lower. All accesses are relaxed, because the word
/// publishes nothing but itself.
#[derive(Debug, Default)]
pub(super) struct Meter {
    word: AtomicU64,
}

/// The decision on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    /// `true` if the line is to be written.
    pub write: bool,
    /// The number of lines left out in an earlier second, which this caller must report.
    pub left_out: u32,
}

fn word(second: u32, count: u32) -> u64 {
    u64::from(second) << 32 | u64::from(count)
}

fn second(word: u64) -> u32 {
    (word >> 32) as u32
}

fn count(word: u64) -> u32 {
    word as u32
}

impl Meter {
    /// Counts one line in second `now`, of which at most `max` are written.
    pub(crate) fn count(&self, now: u32, max: u32) -> Measured {
        let mut seen = self.word.load(Ordering::Relaxed);
        while second(seen) < now {
            // The thread that starts the new second reads the final count of the old one, so it is reported exactly
            // once.
            let turned = self.word.compare_exchange_weak(
                seen,
                word(now, 1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match turned {
                Ok(_) => {
                    return Measured {
                        write: max > 0,
                        left_out: count(seen).saturating_sub(max),
                    };
                }
                Err(other) => seen = other,
            }
        }
        // The current second, or a later one if another thread has moved on meanwhile.
        let before = self.word.fetch_add(1, Ordering::Relaxed);
        Measured {
            write: count(before) < max,
            left_out: 0,
        }
    }

    /// Returns the number of lines left out and not yet reported, and marks them as reported.
    pub(crate) fn settle(&self, max: u32) -> u32 {
        let mut seen = self.word.load(Ordering::Relaxed);
        while count(seen) > max {
            let settled = self.word.compare_exchange_weak(
                seen,
                word(second(seen), max),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match settled {
                Ok(_) => return count(seen) - max,
                Err(other) => seen = other,
            }
        }
        0
    }
}
