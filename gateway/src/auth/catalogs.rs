//! The newest versions of the operator's catalogue of models.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use events::catalog::CatalogVersion;
use tokio::sync::watch;

/// The number of versions that are kept, to show them and to return to one of them.
const KEPT: usize = 50;

/// The versions that are kept.
pub struct Catalogs {
    versions: RwLock<BTreeMap<u64, Arc<CatalogVersion>>>,
    /// The number of the newest version; 0 before the first.
    newest: watch::Sender<u64>,
}

impl Default for Catalogs {
    fn default() -> Self {
        Self { versions: RwLock::default(), newest: watch::Sender::new(0) }
    }
}

impl Catalogs {
    /// Stores a version. Returns whether it is new, and among the newest.
    pub fn put(&self, catalog: CatalogVersion) -> bool {
        let version = catalog.version;
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        if versions.contains_key(&version) {
            return false;
        }
        versions.insert(version, Arc::new(catalog));
        if versions.len() > KEPT {
            versions.pop_first();
        }
        let (is_kept, newest) = (versions.contains_key(&version), versions.last_key_value().map_or(0, |(newest, _)| *newest));
        drop(versions);
        self.newest.send_if_modified(|known| std::mem::replace(known, newest.max(*known)) < newest);
        is_kept
    }

    /// Returns the newest version; `None` before the first.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<CatalogVersion>> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).last_key_value().map(|(_, catalog)| Arc::clone(catalog))
    }

    /// Returns a version; `None` if it does not exist, or is no longer kept.
    #[must_use]
    pub fn get(&self, version: u64) -> Option<Arc<CatalogVersion>> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).get(&version).cloned()
    }

    /// Returns all versions that are kept, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<CatalogVersion>> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Returns a receiver that is notified of new versions.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: u64) -> CatalogVersion {
        CatalogVersion { version, models: Vec::new(), comment: None, applied_at_us: 0 }
    }

    #[test]
    fn the_highest_version_is_the_newest_in_any_order_of_arrival() {
        let catalogs = Catalogs::default();
        let changes = catalogs.changes();
        assert!(catalogs.newest().is_none() && catalogs.put(version(2)) && catalogs.put(version(1)) && !catalogs.put(version(2)));
        assert_eq!((catalogs.newest().unwrap().version, *changes.borrow()), (2, 2));
        (3..=100).for_each(|number| assert!(catalogs.put(version(number))));
        assert_eq!((catalogs.all().len(), catalogs.get(51).is_some(), catalogs.get(50).is_some()), (KEPT, true, false));
        assert!(!catalogs.put(version(7)), "it is older than all that are kept");
        assert_eq!(*changes.borrow(), 100);
    }
}
