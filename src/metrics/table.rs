use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A set that only grows, up to a fixed number of entries, and is read without a lock: open addressing over
/// slots that are each written once. An entry never moves, so that its place is its name.
pub(super) struct Table<T> {
    slots: Box<[OnceLock<Box<T>>]>,
    taken: AtomicUsize,
    most: usize,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub u32);

impl<T> Table<T> {
    /// For at most `most` entries, at least 1 and at most 2^20. The slots are twice as many, so that a
    /// search soon meets an empty one.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, 1 << 20);
        let slots = (most * 2).next_power_of_two();
        Table {
            slots: (0..slots).map(|_| OnceLock::new()).collect(),
            taken: AtomicUsize::new(0),
            most,
        }
    }

    /// The entry that `is` the one, or a new one; `None` when there is no room for it.
    pub fn find(&self, hash: u64, is: impl Fn(&T) -> bool, make: impl Fn() -> T) -> Option<Place> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at].get() {
                Some(entry) if is(entry) => return Some(Place(at as u32)),
                Some(_) => at = (at + 1) & mask,
                None => {
                    if !self.take() {
                        // The last one may have been taken for this very entry.
                        match self.slots[at].get() {
                            Some(_) => continue,
                            None => return None,
                        }
                    }
                    if self.slots[at].set(Box::new(make())).is_ok() {
                        return Some(Place(at as u32));
                    }
                    // Another thread was quicker; what it wrote may be the one, so the slot is looked at
                    // again.
                    self.taken.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Room for one more. Relaxed: it is a budget and publishes nothing, the slot does.
    fn take(&self) -> bool {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    pub fn get(&self, place: Place) -> Option<&T> {
        self.slots
            .get(place.0 as usize)?
            .get()
            .map(|entry| &**entry)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Place, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some((Place(at as u32), &**slot.get()?)))
    }

    pub fn len(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}
