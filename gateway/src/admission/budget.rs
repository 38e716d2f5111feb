//! The budget of an account, or of a key with a limit: the local lease that pays for requests, and the requests that wait for it to be
//! refilled.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use events::rpc::Denial;
use events::{AccountId, KeyHash, Nanos};
use tokio::sync::{Notify, oneshot};

use super::local_lease::{Hold, LocalLease, Moment};
use crate::error::GatewayError;

/// The time for which a denial is reused without calling the ledger again.
const DENIAL_LASTS: Duration = Duration::from_millis(250);
/// The maximum number of requests that wait for one budget.
const WAITING_MAX: usize = 10_000;

/// The owner of a budget: an account, or one key with a limit, together with the key's revision that the ledger must know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    pub account: AccountId,
    /// The key and its revision; `None` for the budget of the account.
    pub key: Option<(KeyHash, u64)>,
}

/// A budget that pays for requests.
#[derive(Debug)]
pub struct Budget {
    pub scope: Scope,
    current: RwLock<Option<Arc<LocalLease>>>,
    waiting: Mutex<VecDeque<Waiter>>,
    denied: Mutex<Option<(Instant, Nanos, Denial)>>,
    /// The signal that wakes the refiller.
    pub wake: Notify,
    /// The amount of free money below which the refiller is woken.
    pub low_water: AtomicI64,
    /// The number of holds taken, from which the refiller sees whether the budget is in use.
    pub holds: AtomicU64,
}

/// A request that waits for money.
#[derive(Debug)]
pub struct Waiter {
    /// The smallest hold with which the request can proceed.
    pub least: Nanos,
    /// The full amount that the request asked for.
    pub most: Nanos,
    /// The channel that receives the outcome.
    pub answer: oneshot::Sender<Result<Hold, Denied>>,
}

/// The reason a waiting request gets no hold.
#[derive(Debug, Clone)]
pub enum Denied {
    /// The account or key has no money.
    Money(Denial),
    /// The ledger is unavailable.
    Away,
}

impl Budget {
    /// Creates an empty budget.
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

    /// Takes a hold from the local lease without waiting; `None` if too little is free.
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
    /// Returns 402 if there is no money, 503 if the ledger is unavailable.
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

    /// Queues a request for money.
    ///
    /// # Errors
    /// Fails if a recent denial covers the amount, or if too many requests wait.
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

    /// Returns the local lease from which holds are taken.
    #[must_use]
    pub fn local_lease(&self) -> Option<Arc<LocalLease>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the local lease.
    pub fn replace(&self, local_lease: Option<Arc<LocalLease>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = local_lease;
    }

    /// Locks and returns the queue of waiting requests.
    pub fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a denial of this amount.
    pub fn remember(&self, least: Nanos, denial: Denial, now: Instant) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, least, denial));
    }

    /// Forgets the last denial.
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
