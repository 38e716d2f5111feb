//! Admission: a request proceeds only with money held for it and with room in the spool.

pub mod rate_window;
pub mod limit;
pub mod local_share;
pub mod share_renewer;
pub mod rate_limits;
pub mod rate_headers;
pub mod purchases;
pub mod in_flight_quota;
pub mod local_lease;
pub mod allowance;
pub mod budget;
pub mod refill_policy;
pub mod lease_refiller;
pub mod current_attempt;
pub mod admitted;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use eventlog::{Throttle, rpc};
use events::clock::Clock;
use events::control::Key;
use events::ids::Ids;
use events::request::{Format, RequestStarted};
use events::{AccountId, Draft, Failpoint, Nanos, RequestId, failpoint};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{LimitsConfig, SpoolMode};
use crate::error::GatewayError;
use crate::metrics::Counts;
use crate::route::Plan;
use crate::route::reports::Reports;
use crate::spool::{Spool, SpoolError};
pub use admitted::{Admitted, Charge, End, Served};
pub use budget::{Budget, Scope};
pub use current_attempt::Access;
use in_flight_quota::Slot;
use local_lease::Moment;

const NANOS_PER_USD: i64 = 1_000_000_000;

/// The admission of requests.
pub struct Admission {
    /// The spool that records starts and ends.
    pub spool: Arc<Spool>,
    /// The mode that defines at which point events must be on disk.
    pub mode: SpoolMode,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// The client of the ledger, which grants leases.
    pub ledger: rpc::Client,
    /// The tracker of the refiller tasks.
    pub tasks: TaskTracker,
    /// The runtime of the refiller tasks.
    pub refill_runtime: Handle,
    /// The token that stops the refiller tasks.
    pub stop: CancellationToken,
    /// The counters of request outcomes.
    pub counts: Counts,
    /// The place where changes of breakers are told.
    pub reports: Reports,
    /// The accounts that have bought credit, which may use free models more.
    pub purchases: purchases::Purchases,
    /// The free requests with own provider keys.
    pub allowances: Arc<allowance::Allowances>,
    /// The budgets in use: one per account, and one per key with a limit.
    pub budgets: Arc<Mutex<Budgets>>,
}

/// The budgets in use, by their owner.
pub type Budgets = HashMap<Scope, Arc<Budget>>;

/// The properties of a request that asks for admission.
#[derive(Debug)]
pub struct Intent<'a> {
    pub request: RequestId,
    pub key: &'a Key,
    /// The format that the client speaks.
    pub format: Format,
    /// The routing plan, which bounds the cost.
    pub plan: &'a Plan,
    /// Whether the response is a stream.
    pub streamed: bool,
    pub user: Option<String>,
    pub app: Option<String>,
}

/// Returns the error for a request that cannot be recorded. The log reports it to the operator at most once a minute.
fn refused(error: &SpoolError) -> GatewayError {
    static TROUBLES: Throttle = Throttle::new();
    if let (_, Some(unsaid)) = TROUBLES.failed() {
        tracing::error!(%error, unsaid, "requests are refused: {error}");
    }
    if matches!(error, SpoolError::TooLarge(_)) { GatewayError::Internal } else { GatewayError::SpoolFull }
}

impl Admission {
    /// Takes a hold, takes room in the spool and records the start. Waits first if the spool fills faster than it is read.
    ///
    /// The admitted request takes over `slot`.
    ///
    /// # Errors
    /// Returns 429 for a rate limit, 402 if there is no money, 503 if the ledger is unavailable or the spool is full.
    pub async fn admit(&self, intent: Intent<'_>, slot: &mut Option<Slot>) -> Result<Admitted, GatewayError> {
        if let Some(slot) = slot.as_mut() {
            self.limit(&intent, slot).await?;
        }
        let backpressure = self.spool.backpressure();
        if !backpressure.is_zero() {
            tokio::time::sleep(backpressure).await;
        }
        let mut reservation = self.spool.reserve().map_err(|error| refused(&error))?;
        failpoint(Failpoint::RequestReserved);
        let is_outside_key_limit = !intent.key.include_byok_in_limit;
        let budget = self.budget(intent.key, intent.plan.is_own() && is_outside_key_limit);
        let ticket = if intent.plan.has_own() { Some(self.ticket(&budget).await?) } else { None };
        let is_free = ticket.as_ref().is_some_and(|ticket| ticket.is_free);
        let max_cost = intent.plan.max_cost(is_free);
        let hold = match budget.hold_now(max_cost, Moment::now(&*self.clock)) {
            Some(hold) => hold,
            None => budget.hold(intent.plan.min_cost(is_free), max_cost).await?,
        };
        // The request may have waited for money, so the time of admission is read now.
        let now_us = self.clock.now_us();
        failpoint(Failpoint::RequestHeld);
        let first = intent.plan.candidates.first();
        let started = RequestStarted {
            request: intent.request.clone(),
            account: intent.key.account.clone(),
            key: intent.key.hash.clone(),
            lease: hold.lease().clone(),
            hold_nanos: hold.amount(),
            model: first.map(|candidate| candidate.endpoint.model.id.clone()).unwrap_or_default(),
            user: intent.user,
            app: intent.app,
            experiment: intent.plan.experiment_of(first.map(|candidate| &*candidate.endpoint)),
            format: intent.format,
            streamed: intent.streamed,
            admitted_at_us: now_us,
        };
        let draft = Draft {
            id: self.ids.uuid(&*self.clock),
            time_us: now_us,
            account: started.account.as_str(),
            subject: started.request.as_str(),
            traceparent: None,
            payload: &started,
        };
        let position = reservation.start(&draft).map_err(|error| refused(&error))?;
        failpoint(Failpoint::StartRecorded);
        let admitted = Admitted::new(started, (hold, reservation), (slot.take(), ticket), (intent.plan, is_outside_key_limit), self);
        // A request that fails from here on still gets an end: `admitted` records it on drop.
        self.spool.flushed(position).await.map_err(|error| refused(&error))?;
        failpoint(Failpoint::StartWritten);
        if self.mode == SpoolMode::Strict {
            self.spool.synced(position).await;
        }
        Ok(admitted)
    }

    /// Counts a request against the limits for its model and its tokens.
    async fn limit(&self, intent: &Intent<'_>, slot: &mut Slot) -> Result<(), GatewayError> {
        if intent.plan.is_free() {
            let has_bought = self.has_bought(&intent.key.account, slot.limits()).await;
            slot.take_free(has_bought).await?;
        }
        slot.take_tokens(intent.plan.tokens_max()).await
    }

    /// Returns whether an account has bought enough credit for the higher limit of free models.
    pub async fn has_bought(&self, account: &AccountId, limits: &LimitsConfig) -> bool {
        self.purchases.at_least(Nanos(i64::from(limits.purchase_usd_min) * NANOS_PER_USD), account, &self.ledger).await
    }

    /// Forgets the denials of an account that has received credit.
    pub fn credited(&self, account: &AccountId) {
        self.purchases.forget(account);
        let budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.values().filter(|budget| budget.scope.account == *account).for_each(|budget| budget.forget_denial());
    }

    /// Returns the request's place among those with own provider keys. If the count of the month is unknown, an empty hold makes the ledger
    /// tell it.
    async fn ticket(&self, budget: &Budget) -> Result<allowance::Ticket, GatewayError> {
        let ticket = || self.allowances.ticket(&budget.scope.account, self.clock.now_us());
        if let Some(ticket) = ticket() {
            return Ok(ticket);
        }
        drop(budget.hold(Nanos::ZERO, Nanos::ZERO).await?);
        ticket().ok_or(GatewayError::LedgerUnavailable)
    }

    /// Returns the budget that pays for a key: the key's own if it has a limit, otherwise the account's.
    fn budget(&self, key: &Key, is_outside_key_limit: bool) -> Arc<Budget> {
        let limited = key.limit_nanos.filter(|_| !is_outside_key_limit);
        let scope = Scope { account: key.account.clone(), key: limited.map(|_| (key.hash.clone(), key.revision)) };
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = budgets.get(&scope) {
            return Arc::clone(budget);
        }
        let budget = Arc::new(Budget::new(scope.clone()));
        budgets.insert(scope, Arc::clone(&budget));
        let policy = refill_policy::RefillPolicy::new(Arc::clone(&budget), self.spool.source.0.clone(), std::time::Instant::now());
        let refiller = lease_refiller::LeaseRefiller {
            policy,
            budgets: Arc::clone(&self.budgets),
            ledger: self.ledger.clone(),
            allowances: Arc::clone(&self.allowances),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
        };
        self.tasks.spawn_on(refiller.run(self.stop.clone()), &self.refill_runtime);
        budget
    }
}
