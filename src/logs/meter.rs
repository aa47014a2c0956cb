use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the lines of one kind in the second in which it was last asked.
///
/// One word: the second above, the count below. Relaxed throughout: the word publishes nothing but itself.
#[derive(Debug, Default)]
pub(super) struct Meter {
    word: AtomicU64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    /// It is written.
    pub write: bool,
    /// So many were left out in an earlier second, and this is the one to tell it.
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
    /// Counts one more in second `now`, of which `most` are written.
    pub fn count(&self, now: u32, most: u32) -> Measured {
        let mut seen = self.word.load(Ordering::Relaxed);
        while second(seen) < now {
            // Whoever turns the page reads the last count of the old one: it is told once.
            let turned = self.word.compare_exchange_weak(
                seen,
                word(now, 1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match turned {
                Ok(_) => {
                    return Measured {
                        write: most > 0,
                        left_out: count(seen).saturating_sub(most),
                    };
                }
                Err(other) => seen = other,
            }
        }
        // This second's, or a later one's, if another thread has turned the page meanwhile.
        let before = self.word.fetch_add(1, Ordering::Relaxed);
        Measured {
            write: count(before) < most,
            left_out: 0,
        }
    }

    /// How many were left out and have not been told; now they are.
    pub fn settle(&self, most: u32) -> u32 {
        let mut seen = self.word.load(Ordering::Relaxed);
        while count(seen) > most {
            let settled = self.word.compare_exchange_weak(
                seen,
                word(second(seen), most),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match settled {
                Ok(_) => return count(seen) - most,
                Err(other) => seen = other,
            }
        }
        0
    }
}
