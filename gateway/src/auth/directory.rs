//! The directory of all keys and accounts: in memory, folded from control events, and saved on disk so that a restart works without NATS.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use eventlog::Checkpoint;
use events::catalog::CatalogVersion;
use events::control::{Account, Key};
use events::ids::KeyKind;
use events::provider_key::ProviderKey;
use events::webhook::Webhook;
use events::{AccountId, KeyHash};
use serde::{Deserialize, Serialize};

use super::catalogs::Catalogs;
use super::change_log::{ChangeLog, Line};
use super::provider_keys::ProviderKeys;

/// A key, and whether it is deleted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyEntry {
    /// The newest state of the key.
    pub key: Key,
    /// Whether the key is deleted. Deleted keys are kept, so that an older event cannot restore them.
    pub deleted: bool,
}

impl KeyEntry {
    /// Returns whether this state replaces another state of the same key. A deleted key stays deleted. Of two changes with the same
    /// revision, which occur only in foreign events, the stricter one wins.
    fn replaces(&self, known: &Self) -> bool {
        let order = |entry: &Self| (entry.key.revision, entry.key.disabled);
        !known.deleted && (self.deleted || order(self) > order(known))
    }
}

/// A webhook, and whether it is deleted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WebhookEntry {
    /// The newest state of the webhook.
    pub webhook: Webhook,
    /// Whether the webhook is deleted, for ever.
    pub deleted: bool,
}

#[derive(Default)]
pub struct Directory {
    state: RwLock<State>,
    changed: tokio::sync::Notify,
    /// The versions of the catalogue of models.
    pub catalogs: Catalogs,
    /// The file, written by one caller at a time.
    change_log: Mutex<Option<ChangeLog>>,
}

#[derive(Default)]
struct State {
    keys: HashMap<KeyHash, Arc<KeyEntry>>,
    by_account: HashMap<AccountId, BTreeSet<KeyHash>>,
    accounts: HashMap<AccountId, Account>,
    webhooks: HashMap<String, Arc<WebhookEntry>>,
    provider_keys: ProviderKeys,
    checkpoint: Option<Checkpoint>,
    /// Lines that are not on disk yet.
    unsaved: Vec<u8>,
    is_moved: bool,
}

impl Directory {
    /// Loads the directory as an earlier process saved it; it is empty if there is no file.
    ///
    /// # Errors
    /// Fails if the file exists but cannot be read.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let directory = Self::default();
        let change_log = ChangeLog::open(folder, |line| match line {
            Line::Key(entry) => directory.put_key(*entry),
            Line::Account(account) => directory.put_account(account),
            Line::Webhook(entry) => directory.put_webhook(*entry),
            Line::Catalog(catalog) => directory.put_catalog(*catalog),
            Line::ProviderKey(key) => directory.put_provider_key(*key),
            Line::Checkpoint(identity, sequence, event_id) => {
                directory.write().checkpoint = Some(Checkpoint { identity, sequence, event_id });
            }
        })?;
        let mut state = directory.write();
        state.unsaved.clear();
        if change_log.is_damaged() {
            // The checkpoint is dropped, so that the lost lines are read again from the log.
            state.checkpoint = None;
        }
        drop(state);
        *directory.change_log.lock().unwrap_or_else(PoisonError::into_inner) = Some(change_log);
        Ok(directory)
    }

    /// Appends the changes to the file and syncs it.
    ///
    /// The time depends on the number of changes, not on the number of keys, except for a rare compaction. Blocks while the disk is busy.
    ///
    /// # Errors
    /// Fails if the disk fails or is full; the next call appends the changes again.
    pub fn save(&self) -> io::Result<()> {
        let mut change_log = self.change_log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(change_log) = change_log.as_mut() else { return Ok(()) };
        let lines = {
            let mut state = self.write();
            if std::mem::take(&mut state.is_moved)
                && let Some(Checkpoint { identity, sequence, event_id }) = state.checkpoint.clone()
            {
                Line::Checkpoint(identity, sequence, event_id).write(&mut state.unsaved);
            }
            std::mem::take(&mut state.unsaved)
        };
        if let Err(error) = change_log.append(&lines) {
            let mut state = self.write();
            let later = std::mem::replace(&mut state.unsaved, lines);
            state.unsaved.extend_from_slice(&later);
            return Err(error);
        }
        if change_log.is_long() {
            change_log.compact(&self.lines())?;
        }
        Ok(())
    }

    /// Returns the whole directory as lines. Requests look keys up while they are written.
    fn lines(&self) -> Vec<u8> {
        let state = self.read();
        let (keys, webhooks): (Vec<_>, Vec<_>) = (state.keys.values().cloned().collect(), state.webhooks.values().cloned().collect());
        let provider_keys: Vec<_> = state.provider_keys.all().cloned().collect();
        let accounts: Vec<Account> = state.accounts.values().cloned().collect();
        let checkpoint = state.checkpoint.clone();
        drop(state);
        let lines = accounts
            .into_iter()
            .map(Line::Account)
            .chain(keys.iter().map(|entry| Line::Key(Box::new((**entry).clone()))))
            .chain(self.catalogs.all().into_iter().map(|catalog| Line::Catalog(Box::new((*catalog).clone()))))
            .chain(webhooks.iter().map(|entry| Line::Webhook(Box::new((**entry).clone()))))
            .chain(provider_keys.iter().map(|key| Line::ProviderKey(Box::new((**key).clone()))))
            .chain(checkpoint.map(|Checkpoint { identity, sequence, event_id }| Line::Checkpoint(identity, sequence, event_id)));
        let mut text = Vec::new();
        for line in lines {
            line.write(&mut text);
        }
        text
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a key's state unless a newer one is known.
    pub fn put_key(&self, mut entry: KeyEntry) {
        if entry.deleted {
            // Of a deleted key, only the fact of its deletion is still needed.
            (entry.key.allowed_models, entry.key.allowed_providers) = (None, None);
        }
        let mut state = self.write();
        if state.keys.get(&entry.key.hash).is_none_or(|known| entry.replaces(known)) {
            Line::Key(Box::new(entry.clone())).write(&mut state.unsaved);
            state.by_account.entry(entry.key.account.clone()).or_default().insert(entry.key.hash.clone());
            state.keys.insert(entry.key.hash.clone(), Arc::new(entry));
            self.changed.notify_one();
        }
    }

    /// Stores an account's state unless a newer one is known.
    pub fn put_account(&self, account: Account) {
        let mut state = self.write();
        let newer = state.accounts.get(&account.id).is_none_or(|known| known.revision < account.revision);
        if newer {
            Line::Account(account.clone()).write(&mut state.unsaved);
            state.accounts.insert(account.id.clone(), account);
            self.changed.notify_one();
        }
    }

    /// Stores a version of the catalogue unless it is known.
    pub fn put_catalog(&self, catalog: CatalogVersion) {
        let mut line = Vec::new();
        Line::Catalog(Box::new(catalog.clone())).write(&mut line);
        if self.catalogs.put(catalog) {
            self.write().unsaved.extend_from_slice(&line);
            self.changed.notify_one();
        }
    }

    /// Stores a webhook's state unless a newer one is known.
    pub fn put_webhook(&self, entry: WebhookEntry) {
        let mut state = self.write();
        let replaces = |known: &Arc<WebhookEntry>| !known.deleted && (entry.deleted || entry.webhook.order() > known.webhook.order());
        if state.webhooks.get(&entry.webhook.id).is_none_or(replaces) {
            Line::Webhook(Box::new(entry.clone())).write(&mut state.unsaved);
            state.webhooks.insert(entry.webhook.id.clone(), Arc::new(entry));
            self.changed.notify_one();
        }
    }

    /// Stores a provider key's state unless a newer one is known.
    pub fn put_provider_key(&self, key: ProviderKey) {
        let mut state = self.write();
        let line = Line::ProviderKey(Box::new(key.clone()));
        if state.provider_keys.put(key) {
            line.write(&mut state.unsaved);
            self.changed.notify_one();
        }
    }

    /// Returns the provider key with that id, unless it is deleted.
    #[must_use]
    pub fn provider_key(&self, id: &str) -> Option<Arc<ProviderKey>> {
        self.read().provider_keys.find(id)
    }

    /// Returns an account's provider keys, oldest first; `None` if it has none.
    #[must_use]
    pub fn provider_keys_of(&self, account: &AccountId) -> Option<Arc<[Arc<ProviderKey>]>> {
        self.read().provider_keys.of(account)
    }

    /// Returns the webhook with that id, unless it is deleted.
    #[must_use]
    pub fn webhook(&self, id: &str) -> Option<Arc<WebhookEntry>> {
        self.read().webhooks.get(id).filter(|entry| !entry.deleted).cloned()
    }

    /// Returns an account's webhooks, oldest first, without deleted ones.
    #[must_use]
    pub fn webhooks_of(&self, account: &AccountId) -> Vec<Arc<WebhookEntry>> {
        let is_own = |entry: &&Arc<WebhookEntry>| !entry.deleted && entry.webhook.account == *account;
        let mut webhooks: Vec<Arc<WebhookEntry>> = self.read().webhooks.values().filter(is_own).cloned().collect();
        webhooks.sort_by(|one, other| (one.webhook.created_at_us, &one.webhook.id).cmp(&(other.webhook.created_at_us, &other.webhook.id)));
        webhooks
    }

    /// Stores the position up to which control events are read.
    pub fn advance(&self, checkpoint: Checkpoint) {
        let mut state = self.write();
        state.checkpoint = Some(checkpoint);
        state.is_moved = true;
        self.changed.notify_one();
    }

    /// Returns the position up to which control events are read.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.read().checkpoint.clone()
    }

    /// Wakes [`Self::changed`] again, because changes are still unsaved.
    pub fn unsaved(&self) {
        self.changed.notify_one();
    }

    /// Waits for a change that is not on disk.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the key with that secret, unless it is deleted.
    #[must_use]
    pub fn find_secret(&self, secret: &str) -> Option<Arc<KeyEntry>> {
        self.find(&KeyHash::of_secret(secret))
    }

    /// Returns the key with that hash, unless it is deleted.
    #[must_use]
    pub fn find(&self, hash: &KeyHash) -> Option<Arc<KeyEntry>> {
        self.read().keys.get(hash).filter(|entry| !entry.deleted).cloned()
    }

    /// Returns the key with that hash, even if it is deleted.
    #[must_use]
    pub fn find_any(&self, hash: &KeyHash) -> Option<Arc<KeyEntry>> {
        self.read().keys.get(hash).cloned()
    }

    /// Returns whether a key with that hash exists or has existed.
    #[must_use]
    pub fn knows(&self, hash: &KeyHash) -> bool {
        self.read().keys.contains_key(hash)
    }

    /// Returns an account's keys, oldest first, without deleted ones.
    #[must_use]
    pub fn keys_of(&self, account: &AccountId) -> Vec<Arc<KeyEntry>> {
        let state = self.read();
        let hashes = state.by_account.get(account).into_iter().flatten();
        let mut keys: Vec<Arc<KeyEntry>> = hashes.filter_map(|hash| state.keys.get(hash)).filter(|entry| !entry.deleted).cloned().collect();
        drop(state);
        keys.sort_by(|one, other| (one.key.created_at_us, &one.key.hash).cmp(&(other.key.created_at_us, &other.key.hash)));
        keys
    }

    /// Returns the number of an account's keys, including deleted ones.
    #[must_use]
    pub fn count_of(&self, account: &AccountId) -> usize {
        self.read().by_account.get(account).map_or(0, BTreeSet::len)
    }

    /// Returns whether a key is the only one with which its account can manage keys.
    #[must_use]
    pub fn is_last_manager(&self, key: &Key, now_us: i64) -> bool {
        let manages =
            |key: &Key| key.kind == KeyKind::Management && !key.disabled && key.expires_at_us.is_none_or(|expires| expires > now_us);
        manages(key) && !self.keys_of(&key.account).iter().any(|other| other.key.hash != key.hash && manages(&other.key))
    }

    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<Account> {
        self.read().accounts.get(id).cloned()
    }

    /// Returns the model of an account's requests that name none.
    #[must_use]
    pub fn default_model(&self, account: &AccountId) -> Option<String> {
        self.read().accounts.get(account)?.default_model.clone()
    }

    #[must_use]
    pub fn has_account(&self, account: &AccountId) -> bool {
        self.read().accounts.contains_key(account)
    }

    #[must_use]
    pub fn is_suspended(&self, account: &AccountId) -> bool {
        self.read().accounts.get(account).is_some_and(|account| account.suspended)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn entry(hash: &str, revision: u64, deleted: bool) -> KeyEntry {
        let key = Key {
            hash: hash.into(),
            account: "a".into(),
            kind: KeyKind::Management,
            name: format!("name {revision}"),
            label: String::new(),
            disabled: false,
            limit_nanos: None,
            limit_reset: None,
            allowed_models: Some(vec!["m".to_owned()]),
            allowed_providers: None,
            rate_limit: events::control::RateLimit::default(),
            enforce_zdr: false,
            include_byok_in_limit: false,
            created_by: None,
            creating_call: None,
            expires_at_us: None,
            created_at_us: 0,
            updated_at_us: None,
            revision,
        };
        KeyEntry { key, deleted }
    }

    #[test]
    fn what_changed_is_there_after_a_restart_and_a_torn_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::load(folder.path()).unwrap();
        directory.put_key(entry("k1", 1, false));
        directory.advance(Checkpoint { identity: "i".into(), sequence: 7, event_id: "e".into() });
        directory.save().unwrap();
        directory.put_key(entry("k1", 2, false));
        directory.put_key(entry("k2", 1, true));
        directory.save().unwrap();
        let path = folder.path().join("directory.log");
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"key\":{\"key\":{\"ha").unwrap();
        let reloaded = Directory::load(folder.path()).unwrap();
        assert_eq!(reloaded.find(&"k1".into()).unwrap().key.name, "name 2");
        assert!(reloaded.find(&"k2".into()).is_none() && reloaded.knows(&"k2".into()));
        assert_eq!(reloaded.checkpoint().unwrap().sequence, 7);
        reloaded.put_key(entry("k3", 1, false));
        reloaded.save().unwrap();
        assert!(Directory::load(folder.path()).unwrap().find(&"k3".into()).is_some(), "what came behind the torn end");
    }

    #[test]
    fn damage_before_the_end_has_the_log_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::load(folder.path()).unwrap();
        for hash in ["k1", "k2", "k3"] {
            directory.put_key(entry(hash, 1, false));
        }
        directory.advance(Checkpoint { identity: "i".into(), sequence: 7, event_id: "e".into() });
        directory.save().unwrap();
        let path = folder.path().join("directory.log");
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"k2\"", "k2", 1);
        std::fs::write(&path, text).unwrap();
        let reloaded = Directory::load(folder.path()).unwrap();
        assert!(reloaded.find(&"k1".into()).is_some() && reloaded.find(&"k3".into()).is_some());
        assert_eq!(reloaded.checkpoint(), None);
    }

    #[test]
    fn many_changes_of_few_keys_leave_a_short_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::load(folder.path()).unwrap();
        for revision in 1..20_000 {
            directory.put_key(entry("k1", revision, false));
            if revision % 100 == 0 {
                directory.save().unwrap();
            }
        }
        directory.save().unwrap();
        assert!(std::fs::metadata(folder.path().join("directory.log")).unwrap().len() < 2 * 1024 * 1024);
        assert_eq!(Directory::load(folder.path()).unwrap().find(&"k1".into()).unwrap().key.revision, 19_999);
    }

    #[test]
    fn what_is_deleted_stays_deleted_and_equals_are_strict() {
        let directory = Directory::default();
        directory.put_key(entry("k1", 5, false));
        directory.put_key(entry("k1", 3, true));
        directory.put_key(entry("k1", 9, false));
        assert!(directory.find(&"k1".into()).is_none());
        directory.put_key(entry("k2", 2, false));
        let mut disabled = entry("k2", 2, false);
        disabled.key.disabled = true;
        directory.put_key(disabled);
        assert!(directory.find(&"k2".into()).unwrap().key.disabled);
        directory.put_key(entry("k2", 2, false));
        assert!(directory.find(&"k2".into()).unwrap().key.disabled);
    }
}
