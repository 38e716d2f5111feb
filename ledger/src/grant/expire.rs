//! Moves the rest of expired grants to the book `breakage`. Credit that gateways hold stays until they return it: a request that was
//! admitted before the expiry may still end.

use events::Nanos;
use events::ledger::CreditKind;

use super::repo;
use crate::credit::Change;
use crate::decide::{self, Command};
use crate::process::Ledger;

/// The most accounts that one sweep handles.
const SWEEP_MAX: i64 = 200;

/// Expires the grants that are due.
///
/// # Errors
/// Returns `RowNotFound` if another process changed an account concurrently; the next sweep retries.
pub async fn sweep(ledger: &Ledger) -> Result<(), sqlx::Error> {
    let now_us = ledger.clock.now_us();
    if repo::expired(&mut *ledger.store.reads.acquire().await?, now_us, 1).await?.is_empty() {
        return Ok(());
    }
    let mut transaction = ledger.store.begin_exclusive().await?;
    let accounts = repo::expired(&mut transaction, now_us, SWEEP_MAX).await?;
    let mut state = ledger.state();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    state.load_accounts(&mut transaction, &accounts).await?;
    state.load_grants(&mut transaction, &accounts).await?;
    state.apply(&Command::Expire, now_us);
    state.save(&mut transaction, ledger).await?;
    transaction.commit().await
}

impl decide::State {
    pub(crate) fn expire(&mut self, now_us: i64) {
        let due: Vec<(String, String)> = self
            .grants
            .iter()
            .flat_map(|(account, grants)| grants.iter().map(move |grant| (account, grant)))
            .filter(|(_, grant)| grant.is_expired(now_us))
            .map(|(account, grant)| (account.clone(), grant.id.clone()))
            .collect();
        for (account, id) in due {
            let Some(available) = self.accounts.get(&account).map(|account| account.available) else { continue };
            let taken = self.take_from_grant(&account, &id, available);
            if taken > Nanos::ZERO {
                let change = Change {
                    // Credit that was held at the expiry expires later, by another transaction, so the id includes the account's version.
                    id: format!("expiry/{id}/{}", self.accounts.get(&account).map_or(0, |account| account.version)),
                    kind: CreditKind::Expiry,
                    amount: Nanos(-taken.0),
                    description: "expired credit".to_owned(),
                    fingerprint: String::new(),
                    grant: None,
                    taken_from: Some(id.clone()),
                };
                self.change_credit(&account, change, now_us);
            }
        }
    }
}
