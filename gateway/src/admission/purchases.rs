//! The accounts that have bought credit, as far as this gateway has asked the ledger.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eventlog::rpc;
use events::rpc::GetPurchased;
use events::{AccountId, Nanos};

/// The time for which an account that has bought too little is not asked about again.
const NOT_YET_LASTS: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(2);
/// The number of remembered accounts above which all are forgotten.
const ACCOUNTS_MAX: usize = 100_000;

/// The answers so far: the amount bought in total, and the time of the answer.
#[derive(Debug, Default)]
pub struct Purchases(Mutex<HashMap<AccountId, (Nanos, Instant)>>);

impl Purchases {
    /// Returns whether an account has ever bought this amount in total; false if the ledger does not reply.
    pub async fn at_least(&self, amount: Nanos, account: &AccountId, ledger: &rpc::Client) -> bool {
        let known = self.lock().get(account).copied();
        if let Some((bought, at)) = known
            && (bought >= amount || at.elapsed() < NOT_YET_LASTS)
        {
            return bought >= amount;
        }
        let answer = ledger.call(&GetPurchased { account: account.clone() }, PATIENCE).await;
        let bought = answer.unwrap_or_else(|_| known.map_or(Nanos::ZERO, |(bought, _)| bought));
        let mut all = self.lock();
        if all.len() >= ACCOUNTS_MAX {
            all.clear();
        }
        all.insert(account.clone(), (bought, Instant::now()));
        bought >= amount
    }

    /// Forgets the answer about an account that has received credit.
    pub fn forget(&self, account: &AccountId) {
        self.lock().remove(account);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, (Nanos, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
