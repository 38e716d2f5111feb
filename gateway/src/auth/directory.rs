//! All keys and accounts, in memory, folded from control events and snapshotted to disk: a restart works with NATS away.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use eventlog::Checkpoint;
use events::control::{Account, Key};
use events::{AccountId, KeyHash};
use serde::{Deserialize, Serialize};

/// A key, and whether it still exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Its newest state.
    pub key: Key,
    /// Deleted keys are kept, so that an older event cannot bring them back.
    pub deleted: bool,
}

/// All keys and accounts.
#[derive(Default)]
pub struct Directory {
    state: RwLock<State>,
    changed: tokio::sync::Notify,
    /// One snapshot is written at a time.
    saving: Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: HashMap<KeyHash, Arc<KeyEntry>>,
    accounts: HashMap<AccountId, Account>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    keys: Vec<KeyEntry>,
    accounts: Vec<Account>,
    checkpoint: Option<(String, u64, String)>,
}

impl Directory {
    /// The directory as an earlier process left it; empty when there is no snapshot.
    ///
    /// # Errors
    /// When the snapshot is there and cannot be read.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let directory = Self::default();
        let bytes = match std::fs::read(path(folder)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(directory),
            Err(error) => return Err(error),
        };
        let snapshot: Snapshot = serde_json::from_slice(&bytes)?;
        for entry in snapshot.keys {
            directory.put_key(entry);
        }
        for account in snapshot.accounts {
            directory.put_account(account);
        }
        directory.write().checkpoint =
            snapshot.checkpoint.map(|(identity, sequence, event_id)| Checkpoint { identity, sequence, event_id });
        Ok(directory)
    }

    /// Writes a snapshot beside the old one and puts it in its place.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = {
            let state = self.read();
            Snapshot {
                keys: state.keys.values().map(|entry| (**entry).clone()).collect(),
                accounts: state.accounts.values().cloned().collect(),
                checkpoint: state.checkpoint.clone().map(|checkpoint| (checkpoint.identity, checkpoint.sequence, checkpoint.event_id)),
            }
        };
        let beside = folder.join("directory.json.new");
        std::fs::write(&beside, serde_json::to_vec(&snapshot)?)?;
        std::fs::File::open(&beside)?.sync_all()?;
        std::fs::rename(beside, path(folder))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a key's state unless a newer one is known.
    pub fn put_key(&self, entry: KeyEntry) {
        let mut state = self.write();
        let newer = state.keys.get(&entry.key.hash).is_none_or(|known| known.key.revision < entry.key.revision);
        if newer {
            state.keys.insert(entry.key.hash.clone(), Arc::new(entry));
            self.changed.notify_one();
        }
    }

    /// Takes an account's state unless a newer one is known.
    pub fn put_account(&self, account: Account) {
        let mut state = self.write();
        let newer = state.accounts.get(&account.id).is_none_or(|known| known.revision < account.revision);
        if newer {
            state.accounts.insert(account.id.clone(), account);
            self.changed.notify_one();
        }
    }

    /// Notes how far the control events are read.
    pub fn advance(&self, checkpoint: Checkpoint) {
        self.write().checkpoint = Some(checkpoint);
        self.changed.notify_one();
    }

    /// How far the control events are read.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.read().checkpoint.clone()
    }

    /// Waits until something changed that is not in a snapshot.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The key of that secret.
    #[must_use]
    pub fn find_secret(&self, secret: &str) -> Option<Arc<KeyEntry>> {
        self.find(&KeyHash::of_secret(secret))
    }

    /// The key of that hash, unless it is deleted.
    #[must_use]
    pub fn find(&self, hash: &KeyHash) -> Option<Arc<KeyEntry>> {
        self.read().keys.get(hash).filter(|entry| !entry.deleted).cloned()
    }

    /// Whether a key of that hash exists or did.
    #[must_use]
    pub fn knows(&self, hash: &KeyHash) -> bool {
        self.read().keys.contains_key(hash)
    }

    /// An account's keys, oldest first.
    #[must_use]
    pub fn keys_of(&self, account: &AccountId) -> Vec<Arc<KeyEntry>> {
        let mut keys: Vec<Arc<KeyEntry>> =
            self.read().keys.values().filter(|entry| entry.key.account == *account && !entry.deleted).cloned().collect();
        keys.sort_by(|one, other| (one.key.created_at_us, &one.key.hash).cmp(&(other.key.created_at_us, &other.key.hash)));
        keys
    }

    /// Whether there is such an account.
    #[must_use]
    pub fn has_account(&self, account: &AccountId) -> bool {
        self.read().accounts.contains_key(account)
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("directory.json")
}
