//! A budget: the local_lease that an account's (or a limited key's) requests are paid from, and those who wait for it to be filled.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use events::rpc::Denial;
use events::{AccountId, KeyHash, Nanos};
use tokio::sync::{Notify, oneshot};

use super::local_lease::{Hold, LocalLease, Moment};
use crate::error::GatewayError;

/// How long a denial is believed without asking again.
const DENIAL_LASTS: Duration = Duration::from_millis(250);
/// Requests that may wait for one budget.
const WAITING_MAX: usize = 10_000;

/// Whose budget: an account's, or one key's when it has a limit (with the revision the ledger must know).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The account.
    pub account: AccountId,
    /// The key, and its revision.
    pub key: Option<(KeyHash, u64)>,
}

/// A budget.
#[derive(Debug)]
pub struct Budget {
    /// Whose.
    pub scope: Scope,
    current: RwLock<Option<Arc<LocalLease>>>,
    waiting: Mutex<VecDeque<Waiter>>,
    denied: Mutex<Option<(Instant, Nanos, Denial)>>,
    /// Wakes the refiller.
    pub wake: Notify,
    /// Below this much free money the refiller is woken.
    pub low_water: AtomicI64,
    /// Counts holds, so that the refiller sees whether it is used.
    pub holds: AtomicU64,
}

/// A request that waits for money.
#[derive(Debug)]
pub struct Waiter {
    /// The least it can go on with.
    pub least: Nanos,
    /// What it asked for in full.
    pub most: Nanos,
    /// Told the outcome.
    pub answer: oneshot::Sender<Result<Hold, Denied>>,
}

/// Why a waiting request gets nothing.
#[derive(Debug, Clone)]
pub enum Denied {
    /// There is no money.
    Money(Denial),
    /// The ledger does not answer.
    Away,
}

impl Budget {
    /// An empty budget.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            current: RwLock::new(None),
            waiting: Mutex::new(VecDeque::new()),
            denied: Mutex::new(None),
            wake: Notify::new(),
            low_water: AtomicI64::new(0),
            holds: AtomicU64::new(0),
        }
    }

    /// Takes a hold from what is here, without waiting.
    #[must_use]
    pub fn hold_now(&self, amount: Nanos, at: Moment) -> Option<Hold> {
        let local_lease = self.local_lease()?;
        let hold = local_lease.hold(amount, at)?;
        self.holds.fetch_add(1, Ordering::Relaxed);
        if local_lease.free().0 < self.low_water.load(Ordering::Relaxed) {
            self.wake.notify_one();
        }
        Some(hold)
    }

    /// Waits until the refiller has money for a hold between `least` and `most`, or knows that there is none.
    ///
    /// # Errors
    /// 402 when there is none, 503 when the ledger does not answer.
    pub async fn hold(&self, least: Nanos, most: Nanos) -> Result<Hold, GatewayError> {
        let denied = |denial| GatewayError::PaymentRequired { denial: Box::new(denial), needed: least };
        let answered = match self.queue(least, most, Instant::now()) {
            Ok(answered) => answered,
            Err(Denied::Money(denial)) => return Err(denied(denial)),
            Err(Denied::Away) => return Err(GatewayError::LedgerUnavailable),
        };
        match answered.await {
            Ok(Ok(hold)) => {
                self.holds.fetch_add(1, Ordering::Relaxed);
                Ok(hold)
            }
            Ok(Err(Denied::Money(denial))) => Err(denied(denial)),
            Ok(Err(Denied::Away)) | Err(_) => Err(GatewayError::LedgerUnavailable),
        }
    }

    /// Queues a request for money, unless it is known already that there is none for it.
    ///
    /// # Errors
    /// When there is no money, or too many wait.
    pub fn queue(&self, least: Nanos, most: Nanos, now: Instant) -> Result<oneshot::Receiver<Result<Hold, Denied>>, Denied> {
        if let Some(denial) = self.denied_before(least, now) {
            return Err(Denied::Money(denial));
        }
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.len() >= WAITING_MAX {
                return Err(Denied::Away);
            }
            waiting.push_back(Waiter { least, most, answer });
        }
        self.wake.notify_one();
        Ok(answered)
    }

    /// The local_lease that holds are taken from.
    #[must_use]
    pub fn local_lease(&self) -> Option<Arc<LocalLease>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another local_lease in its place.
    pub fn replace(&self, local_lease: Option<Arc<LocalLease>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = local_lease;
    }

    /// Those who wait.
    pub fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that there was no money for this much.
    pub fn remember(&self, least: Nanos, denial: Denial, now: Instant) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, least, denial));
    }

    /// Forgets that there was no money.
    pub fn forget_denial(&self) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn denied_before(&self, least: Nanos, now: Instant) -> Option<Denial> {
        let denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied
            .as_ref()
            .filter(|(at, amount, _)| now.saturating_duration_since(*at) < DENIAL_LASTS && least >= *amount)
            .map(|(_, _, denial)| denial.clone())
    }
}
