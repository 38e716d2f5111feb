//! Endpoints that have a prompt in their cache: a table of fixed memory from account and prefix to endpoint.

use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::seeded::mixed;

/// An entry is forgotten so long after its last use: the shortest life of a provider's prompt cache.
pub const EXPIRY_US: i64 = 5 * 60_000_000;
/// Entries with one lock.
const PER_SET: usize = 8;

/// The key of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StickyKey {
    /// The account's id.
    pub account: u128,
    /// The hash of the prompt's prefix and the model, see [`prefix_hash`].
    pub prefix: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: StickyKey,
    endpoint: u64,
    used_us: i64,
}

/// The table, shared between threads. If a set is full, its least recently used entry is replaced.
#[derive(Debug)]
pub struct Sticky {
    sets: Box<[Mutex<[Option<Entry>; PER_SET]>]>,
}

/// Returns the hash of the parts that a conversation keeps, such as the model, the instructions and the first message.
#[must_use]
pub fn prefix_hash<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}

impl Sticky {
    /// Returns an empty table for at least so many entries.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        Self { sets: (0..entries.div_ceil(PER_SET).max(1)).map(|_| Mutex::new([None; PER_SET])).collect() }
    }

    /// Returns the endpoint of a prefix and extends its life.
    #[must_use]
    pub fn find(&self, now_us: i64, key: StickyKey) -> Option<u64> {
        let mut set = self.set(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = set.iter_mut().flatten().find(|entry| entry.key == key)?;
        let is_alive = now_us.saturating_sub(entry.used_us) < EXPIRY_US;
        is_alive.then(|| {
            entry.used_us = entry.used_us.max(now_us);
            entry.endpoint
        })
    }

    /// Stores the endpoint that answered.
    pub fn store(&self, now_us: i64, key: StickyKey, endpoint: u64) {
        let Some(set) = self.set(key) else { return };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |entry: &Option<Entry>| match entry {
            Some(entry) if entry.key == key => (0, 0),
            None => (1, 0),
            Some(entry) => (2, entry.used_us),
        };
        if let Some(place) = set.iter_mut().min_by_key(|entry| age(entry)) {
            *place = Some(Entry { key, endpoint, used_us: now_us });
        }
    }

    fn set(&self, key: StickyKey) -> Option<&Mutex<[Option<Entry>; PER_SET]>> {
        let account = u64::try_from(key.account & u128::from(u64::MAX)).unwrap_or(0);
        let account = mixed(account ^ u64::try_from(key.account >> 64).unwrap_or(0));
        let sets = u64::try_from(self.sets.len()).unwrap_or(1);
        self.sets.get(usize::try_from(mixed(account ^ key.prefix) % sets).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(account: u128, prefix: u64) -> StickyKey {
        StickyKey { account, prefix }
    }

    #[test]
    fn entries_live_five_minutes_after_their_last_use() {
        let sticky = Sticky::new(100);
        sticky.store(0, key(1, 1), 7);
        assert_eq!(sticky.find(EXPIRY_US - 1, key(1, 1)), Some(7));
        assert_eq!(sticky.find(2 * EXPIRY_US - 2, key(1, 1)), Some(7));
        assert_eq!(sticky.find(3 * EXPIRY_US - 2, key(1, 1)), None);
        assert_eq!(sticky.find(EXPIRY_US, key(2, 1)), None, "another account's");
        assert_eq!(sticky.find(EXPIRY_US, key(1, 2)), None);
    }

    #[test]
    fn the_least_recently_used_entry_is_replaced() {
        let sticky = Sticky::new(1);
        for prefix in 0..8 {
            sticky.store(i64::try_from(prefix).unwrap(), key(1, prefix), prefix);
        }
        assert_eq!(sticky.find(10, key(1, 0)), Some(0));
        sticky.store(11, key(1, 100), 100);
        assert_eq!(sticky.find(12, key(1, 1)), None, "0 was used later");
        sticky.store(13, key(1, 2), 200);
        assert_eq!(sticky.find(14, key(1, 2)), Some(200));
        assert!([0, 3, 4, 5, 6, 7, 100].iter().all(|prefix| sticky.find(14, key(1, *prefix)) == Some(*prefix)));
    }

    #[test]
    fn prefixes_differ_by_their_parts() {
        let of = |parts: &[&str]| prefix_hash(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab", ""]));
    }
}
