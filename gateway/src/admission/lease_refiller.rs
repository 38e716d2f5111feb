//! The refiller of a budget: it wakes on low money, on waiting requests and at intervals, and calls the ledger.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eventlog::{RpcError, Throttle, rpc};
use events::clock::Clock;
use events::ids::Ids;
use tokio_util::sync::CancellationToken;

use super::Budgets;
use super::allowance::Allowances;
use super::local_lease::Moment;
use super::refill_policy::{LeaseCall, RefillPolicy, TICK};

/// The longest wait for a reply of the ledger.
const RPC_TIMEOUT: Duration = Duration::from_secs(3);
/// The delay before the ledger is called again after it was unavailable or behind.
const RETRY: Duration = Duration::from_millis(20);

/// The time after which an empty and unused budget is removed.
const UNUSED_KEPT: Duration = Duration::from_secs(5);

/// A task that keeps one budget filled.
pub struct LeaseRefiller {
    /// The state that decides which calls to make.
    pub policy: RefillPolicy,
    /// The table of all budgets; an unused budget is removed from it.
    pub budgets: Arc<Mutex<Budgets>>,
    /// The client of the ledger, which grants the leases.
    pub ledger: rpc::Client,
    /// The counts that come with the replies.
    pub allowances: Arc<Allowances>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
}

impl LeaseRefiller {
    /// Keeps the budget filled until `stop`. Nothing is returned to the ledger then, because the end of the boot settles all leases.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut used_at = Instant::now();
        loop {
            self.policy.measure(Instant::now());
            let is_quiet = self.policy.budget.waiting().is_empty();
            if is_quiet && let Some(call) = self.policy.tick(self.now()) {
                self.send(call).await;
            }
            loop {
                for call in self.policy.closings(self.now()) {
                    self.send(call).await;
                }
                let Some(call) = self.refill_for_waiters() else { break };
                if self.send(call).await {
                    tokio::time::sleep(RETRY).await;
                }
            }
            let is_empty = self.policy.is_empty();
            if !is_empty {
                used_at = Instant::now();
            } else if used_at.elapsed() >= UNUSED_KEPT && self.remove_unused() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.policy.budget.wake.notified() => used_at = Instant::now(),
                () = tokio::time::sleep(if is_empty { UNUSED_KEPT } else { TICK }) => {}
            }
        }
    }

    /// Removes the budget from the table, unless a request has just looked it up.
    fn remove_unused(&self) -> bool {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        // One reference is here and one is in the table. Every lookup takes the table's lock, so the count cannot grow meanwhile.
        let is_unused = Arc::strong_count(&self.policy.budget) <= 2;
        if is_unused {
            budgets.remove(&self.policy.budget.scope);
        }
        is_unused
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    fn refill_for_waiters(&mut self) -> Option<LeaseCall> {
        let at = self.now();
        self.policy.refill_for_waiters(at, || self.ids.lease(&*self.clock))
    }

    /// Sends a call to the ledger; returns whether to call again soon.
    async fn send(&mut self, call: LeaseCall) -> bool {
        match self.ledger.call(&call.request, RPC_TIMEOUT).await {
            Ok(answer) => {
                // The count comes first, because the requests that wait for the reply read it.
                if let Some(byok) = answer.byok {
                    self.allowances.note(&call.request.account, byok);
                }
                let at = self.now();
                self.policy.answered(&call, answer, at)
            }
            Err(error) => {
                static TROUBLES: Throttle = Throttle::new();
                if let RpcError::Refused(_, reason) = &error
                    && let (_, Some(unsaid)) = TROUBLES.failed()
                {
                    tracing::warn!(account = %call.request.account, reason, unsaid, "no lease: {reason}");
                }
                self.policy.failed(call, Instant::now())
            }
        }
    }
}
