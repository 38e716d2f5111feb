//! Changes of an account: of two changes based on the same revision, one is recorded and the other is computed again from the new state.

use std::time::{Duration, Instant};

use events::AccountId;
use events::control::{Account, AccountUpdated};
use events::rpc::{CLAIM_LASTS, ClaimRevision, RevisionClaim};

use super::unknown;
use crate::admin::Admin;
use crate::error::GatewayError;

/// The time after which a change stops retrying because the account's newest state has not arrived here from other gateways.
const PATIENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(20);
/// The longest wait for the ledger to grant a revision.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
/// The distance by which an unclaimed revision exceeds the known one, so that it supersedes revisions claimed in the meantime.
const UNCLAIMED_LEAD: u64 = 1_000_000;

impl Admin {
    /// Applies `change` to the newest state of an account, records it, and returns the new state. A change that `wins` does not need the
    /// ledger.
    ///
    /// # Errors
    /// Returns 404 for an unknown account, 409 if concurrent changes do not stop, 503 if nothing can be recorded or the ledger does not reply.
    pub async fn change_account(&self, id: &AccountId, wins: bool, change: impl Fn(&Account) -> Account) -> Result<Account, GatewayError> {
        let _alone = self.lock_keys(id).await;
        let since = Instant::now();
        loop {
            let before = self.directory.account(id).ok_or_else(unknown)?;
            let is_late = since.elapsed() >= PATIENCE;
            let claim = ClaimRevision { key: id.as_str().into(), known: before.revision, wins: wins && is_late };
            let claimed = Instant::now();
            let answer = match self.ledger.call(&claim, CLAIM_PATIENCE).await {
                Err(error) if wins => {
                    tracing::warn!(%error, account = %id, "an account is changed without the ledger's word: {error}");
                    RevisionClaim::Granted { revision: before.revision + UNCLAIMED_LEAD }
                }
                answer => answer?,
            };
            match answer {
                // A claim that took longer may already have been granted to another gateway.
                RevisionClaim::Granted { revision } if wins || claimed.elapsed() < CLAIM_LASTS => {
                    let account = Account { revision, ..change(&before) };
                    self.record(id.as_str(), id.as_str(), &AccountUpdated { account: account.clone() }).await?;
                    return Ok(account);
                }
                RevisionClaim::Granted { .. } | RevisionClaim::Behind if is_late => {
                    return Err(GatewayError::Conflict("This account is being changed by others: read it and try again.".to_owned()));
                }
                RevisionClaim::Granted { .. } | RevisionClaim::Behind => tokio::time::sleep(RETRY).await,
            }
        }
    }
}
