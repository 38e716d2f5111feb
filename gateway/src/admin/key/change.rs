//! Changing a key: of two changes that were made of the same state, one counts and the other is made again.

use std::time::{Duration, Instant};

use events::control::{Key, KeyDeleted, KeyDisabled, KeyUpdated};
use events::rpc::{CLAIM_LASTS, ClaimRevision, RevisionClaim};
use events::{AccountId, KeyHash};
use tokio::sync::MutexGuard;

use crate::admin::Admin;
use crate::error::GatewayError;

/// How long a change waits for those of other gateways to arrive here.
const PATIENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(20);
/// How long the ledger may take to grant a revision.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
/// How far a change without a claim goes ahead of those that are claimed meanwhile.
const UNCLAIMED_LEAD: u64 = 1_000_000;

/// The state that a key shall have. Its revision and time of change are given when it is recorded.
pub enum Change {
    /// Other fields, or enabled again.
    Update(Key),
    /// Switched off: whatever else changed meanwhile.
    Disable(Key),
    /// Gone: whatever else changed meanwhile.
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
    /// Waits until nobody else changes keys of that account here.
    pub async fn lock_keys(&self, account: &AccountId) -> MutexGuard<'_, ()> {
        let place = account.as_str().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.changing[place % self.changing.len()].lock().await
    }

    /// Changes a key of an account as `change` says, of its newest state; returns its state then.
    ///
    /// # Errors
    /// 404 for a key that is not the account's, the error of `change`, 409 when others change it all the time, 503 when nothing can be
    /// recorded, or the ledger does not answer and the key is neither switched off nor deleted.
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
                // A key must be revoked whatever else is away: nothing that others change of an older state comes behind this revision.
                Err(error) if change.wins() => {
                    tracing::warn!(%error, key = %hash, "a key is switched off or deleted without the ledger's word: {error}");
                    RevisionClaim::Granted { revision: before.key.revision + UNCLAIMED_LEAD }
                }
                answer => answer?,
            };
            match answer {
                // One that took too long may have been given to another meanwhile.
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

    /// Refuses to take away the last key by which an account can manage its keys.
    ///
    /// # Errors
    /// 409 when it is.
    pub fn keep_a_manager(&self, key: &Key) -> Result<(), GatewayError> {
        if self.directory.is_last_manager(key, self.clock.now_us()) {
            return Err(GatewayError::Conflict(
                "This is the account's last usable management key: make another one first, or ask the operator to revoke it.".to_owned(),
            ));
        }
        Ok(())
    }
}
