//! Changes of a key: of two changes based on the same revision, one is recorded and the other is recomputed from the new state.

use std::time::{Duration, Instant};

use events::control::{Key, KeyDeleted, KeyDisabled, KeyUpdated};
use events::rpc::{CLAIM_LASTS, ClaimRevision, RevisionClaim};
use events::{AccountId, KeyHash};
use tokio::sync::MutexGuard;

use crate::admin::Admin;
use crate::error::GatewayError;

/// The time after which a change stops retrying because the key's newest state has not arrived here from other gateways.
const PATIENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(20);
/// The longest wait for the ledger to grant a revision.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
/// The distance by which an unclaimed revision exceeds the known one, so that it supersedes revisions claimed in the meantime.
const UNCLAIMED_LEAD: u64 = 1_000_000;

/// The new state of a key. Its revision and time of change are set as it is recorded.
pub enum Change {
    /// New values of fields, or the key is enabled again.
    Update(Key),
    /// The key is disabled; this overrides concurrent updates.
    Disable(Key),
    /// The key is deleted; this overrides concurrent updates.
    Delete(Key),
}

impl Change {
    const fn key(&mut self) -> &mut Key {
        match self {
            Self::Update(key) | Self::Disable(key) | Self::Delete(key) => key,
        }
    }

    const fn wins(&self) -> bool {
        !matches!(self, Self::Update(_))
    }
}

impl Admin {
    /// Locks the keys of an account against other changes on this gateway.
    pub async fn lock_keys(&self, account: &AccountId) -> MutexGuard<'_, ()> {
        let place = account.as_str().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.changing[place % self.changing.len()].lock().await
    }

    /// Applies `change` to the newest state of an account's key, records it, and returns the new state.
    ///
    /// # Errors
    /// Returns 404 for a key of another account, the error of `change`, and 409 if concurrent changes do not stop. Returns 503 if nothing
    /// can be recorded. Returns 503 if the ledger does not reply, unless the key is disabled or deleted.
    pub async fn change_key(
        &self,
        account: &AccountId,
        hash: &KeyHash,
        change: impl Fn(&Key) -> Result<Change, GatewayError>,
    ) -> Result<Key, GatewayError> {
        let _alone = self.lock_keys(account).await;
        let since = Instant::now();
        loop {
            let before = self.key_of(account, hash)?;
            let mut change = change(&before.key)?;
            let is_late = since.elapsed() >= PATIENCE;
            let claim = ClaimRevision { key: hash.clone(), known: before.key.revision, wins: is_late && change.wins() };
            let claimed = Instant::now();
            let answer = match self.ledger.call(&claim, CLAIM_PATIENCE).await {
                // Revoking a key must work even if the ledger is unavailable. The lead in revision supersedes concurrent changes of an
                // older state.
                Err(error) if change.wins() => {
                    tracing::warn!(%error, key = %hash, "a key is switched off or deleted without the ledger's word: {error}");
                    RevisionClaim::Granted { revision: before.key.revision + UNCLAIMED_LEAD }
                }
                answer => answer?,
            };
            match answer {
                // A claim that took longer may already have been granted to another gateway.
                RevisionClaim::Granted { revision } if claimed.elapsed() < CLAIM_LASTS => {
                    let key = change.key();
                    (key.revision, key.updated_at_us) = (revision, Some(self.clock.now_us()));
                    let key = key.clone();
                    self.record_change(change).await?;
                    return Ok(key);
                }
                RevisionClaim::Granted { .. } | RevisionClaim::Behind if is_late => {
                    return Err(GatewayError::Conflict("This key is being changed by others: read it and try again.".to_owned()));
                }
                RevisionClaim::Granted { .. } | RevisionClaim::Behind => tokio::time::sleep(RETRY).await,
            }
        }
    }

    async fn record_change(&self, change: Change) -> Result<(), GatewayError> {
        match change {
            Change::Update(key) => self.record_key(&key.clone(), &KeyUpdated { key }).await,
            Change::Disable(key) => self.record_key(&key.clone(), &KeyDisabled { key }).await,
            Change::Delete(key) => self.record_key(&key.clone(), &KeyDeleted { key }).await,
        }
    }

    async fn record_key<P: events::Payload>(&self, key: &Key, payload: &P) -> Result<(), GatewayError> {
        self.record(key.account.as_str(), key.hash.as_str(), payload).await
    }

    /// Protects the last key with which an account can manage its keys.
    ///
    /// # Errors
    /// Returns 409 if `key` is the last one.
    pub fn keep_a_manager(&self, key: &Key) -> Result<(), GatewayError> {
        if self.directory.is_last_manager(key, self.clock.now_us()) {
            return Err(GatewayError::Conflict(
                "This is the account's last usable management key: make another one first, or ask the operator to revoke it.".to_owned(),
            ));
        }
        Ok(())
    }
}
