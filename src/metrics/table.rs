use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A grow-only set with a fixed capacity that is read without a lock: open addressing over slots that are each written
/// once. An entry never moves, so its index identifies it.
pub(super) struct Table<T> {
    slots: Box<[OnceLock<Box<T>>]>,
    taken: AtomicUsize,
    max: usize,
}

/// The index of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub u32);

impl<T> Table<T> {
    /// Creates a table for at most `max` entries, at least 1 and at most 2^20. It has twice as many slots, so that a
    /// search soon meets an empty one.
    pub(crate) fn new(max: usize) -> Self {
        let max = max.clamp(1, 1 << 20);
        let slots = (max * 2).next_power_of_two();
        Table {
            slots: (0..slots).map(|_| OnceLock::new()).collect(),
            taken: AtomicUsize::new(0),
            max,
        }
    }

    /// Finds the entry for which `is` returns `true`, or inserts one; returns `None` if the table is full.
    pub(crate) fn find(
        &self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        make: impl Fn() -> T,
    ) -> Option<Place> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at].get() {
                Some(entry) if is(entry) => return Some(Place(at as u32)),
                Some(_) => at = (at + 1) & mask,
                None => {
                    if !self.take() {
                        // The last slot may have been taken for this very entry.
                        match self.slots[at].get() {
                            Some(_) => continue,
                            None => return None,
                        }
                    }
                    if self.slots[at].set(Box::new(make())).is_ok() {
                        return Some(Place(at as u32));
                    }
                    // Another thread was faster. Its entry may be the one sought, so the slot is examined again.
                    self.taken.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Finds the entry for which `is` returns `true`, if there is one.
    pub(crate) fn known(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<Place> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at].get() {
                Some(entry) if is(entry) => return Some(Place(at as u32)),
                Some(_) => at = (at + 1) & mask,
                None => return None,
            }
        }
    }

    /// Reserves room for one entry. Relaxed: it is a budget and publishes nothing, the slot does.
    fn take(&self) -> bool {
        let more = |taken| (taken < self.max).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    pub(crate) fn get(&self, place: Place) -> Option<&T> {
        self.slots
            .get(place.0 as usize)?
            .get()
            .map(|entry| &**entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Place, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some((Place(at as u32), &**slot.get()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}
