//! The provider keys of accounts, as a part of the directory.

use std::collections::HashMap;
use std::sync::Arc;

use events::AccountId;
use events::provider_key::ProviderKey;

/// The provider keys, with deleted ones, so that an older event cannot restore them.
#[derive(Default)]
pub struct ProviderKeys {
    by_id: HashMap<String, Arc<ProviderKey>>,
    /// The keys of each account that are not deleted, oldest first.
    by_account: HashMap<AccountId, Arc<[Arc<ProviderKey>]>>,
}

impl ProviderKeys {
    /// Stores a key's state. Returns whether it is newer than the known one.
    pub fn put(&mut self, key: ProviderKey) -> bool {
        if self.by_id.get(&key.id).is_some_and(|known| !key.replaces(known)) {
            return false;
        }
        let account = key.account.clone();
        let others = self.of(&account).into_iter().flat_map(|keys| keys.iter().cloned().collect::<Vec<_>>());
        let mut keys: Vec<Arc<ProviderKey>> = others.filter(|other| other.id != key.id).collect();
        let key = Arc::new(key);
        self.by_id.insert(key.id.clone(), Arc::clone(&key));
        if !key.deleted {
            keys.push(key);
        }
        keys.sort_by(|one, other| (one.created_at_us, &one.id).cmp(&(other.created_at_us, &other.id)));
        if keys.is_empty() {
            self.by_account.remove(&account);
        } else {
            self.by_account.insert(account, keys.into());
        }
        true
    }

    /// Returns the key with that id, unless it is deleted.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<ProviderKey>> {
        self.by_id.get(id).filter(|key| !key.deleted).cloned()
    }

    /// Returns an account's keys, oldest first; `None` if it has none.
    #[must_use]
    pub fn of(&self, account: &AccountId) -> Option<Arc<[Arc<ProviderKey>]>> {
        self.by_account.get(account).cloned()
    }

    /// Returns all keys, with deleted ones.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ProviderKey>> {
        self.by_id.values()
    }
}
