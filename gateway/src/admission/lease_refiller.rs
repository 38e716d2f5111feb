//! The refiller of a budget: wakes when it is low, when somebody waits and from time to time, and takes requests to the ledger.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eventlog::{RpcError, Throttle, rpc};
use events::clock::Clock;
use events::ids::Ids;
use tokio_util::sync::CancellationToken;

use super::Budgets;
use super::local_lease::Moment;
use super::refill_policy::{LeaseCall, RefillPolicy, TICK};

/// How long the ledger may take.
const RPC_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait before call a ledger again that does not answer or is behind.
const RETRY: Duration = Duration::from_millis(20);

/// How long a budget without money is kept that nobody asks for.
const UNUSED_KEPT: Duration = Duration::from_secs(5);

/// Keeps one budget.
pub struct LeaseRefiller {
    /// What is decided.
    pub policy: RefillPolicy,
    /// Where the budget is found, and taken out of when nobody has used it for a while.
    pub budgets: Arc<Mutex<Budgets>>,
    /// Who lends.
    pub ledger: rpc::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids of leases come from.
    pub ids: Arc<dyn Ids>,
}

impl LeaseRefiller {
    /// Keeps the budget until `stop`; then nothing is given back here, the end of the boot settles all of it.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut used_at = Instant::now();
        loop {
            self.policy.measure(Instant::now());
            let is_quiet = self.policy.budget.waiting().is_empty();
            if is_quiet && let Some(call) = self.policy.tick(self.now()) {
                self.ask(call).await;
            }
            loop {
                for call in self.policy.closings(self.now()) {
                    self.ask(call).await;
                }
                let Some(call) = self.refill_for_waiters() else { break };
                if self.ask(call).await {
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

    /// Takes the budget out of those that are found, unless a request has just found it.
    fn remove_unused(&self) -> bool {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        // The other one is in the table, whose lock everybody takes who looks for a budget.
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

    /// Takes a request to the ledger; gives back whether to ask again soon.
    async fn ask(&mut self, call: LeaseCall) -> bool {
        match self.ledger.call(&call.request, RPC_TIMEOUT).await {
            Ok(answer) => {
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
