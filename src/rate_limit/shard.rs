use std::hash::RandomState;

use indexmap::IndexMap;
use indexmap::map::raw_entry_v1::{RawEntryApiV1, RawEntryMut};

use super::decision::Outcome;
use super::limits::{Limits, MAX_QUOTAS, Times, until};
use super::{Key, WhenFull};

/// A subset of the keys under one lock.
///
/// A key is dead when all its quotas are full again: dropping it loses nothing. Dead keys are swept a few at a time
/// when a new key arrives, so that no request pays for many and nothing runs in the background.
pub(super) struct Shard {
    limits: Limits,
    room: usize,
    /// The latest time seen. Time stands still here if the clock goes backwards; otherwise a key that was dropped as
    /// dead would get a fresh quota in its own past.
    latest: u64,
    /// A lower bound of the time at which a key is dead: no search begins before it.
    none_dead_before: u64,
    /// The index at which the sweep continues.
    hand: usize,
    keys: IndexMap<Key, (), RandomState>,
    /// The times of each key at its index in `keys`, one per quota: kept contiguous, so that a scan reads little
    /// memory.
    times: Vec<u64>,
}

/// The number of keys examined for each new one: more than one, so that the sweep gains on arrivals.
const SWEEP: usize = 4;
/// The number of live keys from which the one nearest to death is evicted.
const SAMPLE: usize = 16;

impl Shard {
    pub(super) fn new(quotas: &[governor::Quota], room: usize, hasher: RandomState) -> Self {
        Shard {
            limits: Limits::new(quotas),
            room,
            latest: 0,
            none_dead_before: u64::MAX,
            hand: 0,
            keys: IndexMap::with_hasher(hasher),
            times: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn take(&mut self, hash: u64, key: &Key, read: u64, when_full: WhenFull) -> Outcome {
        let now = read.max(self.latest);
        self.latest = now;
        let known = self
            .keys
            .raw_entry_v1()
            .index_from_hash(hash, |known| known == key);
        let mut times: Times = [0; MAX_QUOTAS];
        let stride = self.limits.len();
        let Some(index) = known else {
            let full = match self.make_room(now, when_full) {
                Room::Free => false,
                Room::Forgot => true,
                Room::None => return Outcome::no_room(until(self.none_dead_before, read)),
            };
            let decision = self.limits.take(now, read, &mut times);
            self.insert(hash, *key, &times[..stride]);
            return Outcome { decision, full };
        };
        let kept = &mut self.times[index * stride..][..stride];
        times[..stride].copy_from_slice(kept);
        let decision = self.limits.take(now, read, &mut times);
        if decision.admitted {
            kept.copy_from_slice(&times[..stride]);
        }
        Outcome {
            decision,
            full: false,
        }
    }

    fn insert(&mut self, hash: u64, key: Key, times: &[u64]) {
        if self.keys.len() == self.keys.capacity() {
            // Never beyond the limit: plain doubling could reserve twice as much.
            let more = self.keys.len().max(8).min(self.room - self.keys.len());
            self.keys.reserve_exact(more);
            self.times.reserve_exact(more * times.len());
        }
        let entry = self.keys.raw_entry_mut_v1();
        if let RawEntryMut::Vacant(entry) = entry.from_hash(hash, |known| *known == key) {
            entry.insert_hashed_nocheck(hash, key, ());
            self.times.extend_from_slice(times);
            let dead_at = times.iter().copied().max().unwrap_or(0);
            self.none_dead_before = self.none_dead_before.min(dead_at);
        }
    }

    /// Returns the time at which the key at this index is dead.
    fn dead_at(&self, index: usize) -> u64 {
        let stride = self.limits.len();
        let times = &self.times[index * stride..][..stride];
        times.iter().copied().max().unwrap_or(0)
    }

    /// Removes a key; the last one takes its place.
    fn remove(&mut self, index: usize) {
        let stride = self.limits.len();
        if self.keys.swap_remove_index(index).is_some() {
            let last = self.keys.len() * stride;
            self.times.copy_within(last..last + stride, index * stride);
            self.times.truncate(last);
        }
    }

    fn make_room(&mut self, now: u64, when_full: WhenFull) -> Room {
        self.sweep(now);
        if self.keys.len() < self.room {
            return Room::Free;
        }
        self.look_at_all(now);
        if self.keys.len() < self.room {
            return Room::Free;
        }
        match when_full {
            WhenFull::Refuse => Room::None,
            WhenFull::Forget => {
                self.forget_one();
                Room::Forgot
            }
        }
    }

    fn sweep(&mut self, now: u64) {
        for _ in 0..SWEEP {
            if now < self.none_dead_before || self.keys.is_empty() {
                return;
            }
            if self.hand >= self.keys.len() {
                self.hand = 0;
            }
            if self.dead_at(self.hand) <= now {
                self.remove(self.hand);
            } else {
                self.hand += 1;
            }
        }
    }

    /// Drops all dead keys. If there is none, the next scan waits until one can be dead, so that a flood of new keys
    /// does not pay for a scan each.
    fn look_at_all(&mut self, now: u64) {
        if now < self.none_dead_before {
            return;
        }
        let mut first = u64::MAX;
        // Backwards, so that the key that takes a dead one's place has already been examined.
        for index in (0..self.keys.len()).rev() {
            let dead_at = self.dead_at(index);
            if dead_at <= now {
                self.remove(index);
            } else {
                first = first.min(dead_at);
            }
        }
        self.none_dead_before = first;
    }

    /// Evicts one of the live keys. It is not simply the first one found: a client that has used much of its quota must
    /// not regain it because others arrive.
    fn forget_one(&mut self) {
        let keys = self.keys.len();
        let sample = (0..SAMPLE.min(keys)).map(|step| (self.hand + step) % keys);
        if let Some(index) = sample.min_by_key(|index| self.dead_at(*index)) {
            self.hand = (self.hand + SAMPLE) % keys;
            self.remove(index);
        }
    }
}

enum Room {
    Free,
    Forgot,
    None,
}
