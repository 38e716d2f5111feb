//! Admission: no request goes on without money set aside for it and a place in the spool.

pub mod quota;
pub mod local_lease;
pub mod budget;
pub mod refill_policy;
pub mod lease_refiller;
pub mod admitted;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use eventlog::{Throttle, rpc};
use events::clock::Clock;
use events::control::Key;
use events::ids::Ids;
use events::request::{Format, RequestStarted};
use events::{AccountId, Draft, Failpoint, RequestId, failpoint};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::SpoolMode;
use crate::error::GatewayError;
use crate::metrics::Counts;
use crate::route::Plan;
use crate::spool::{Spool, SpoolError};
pub use admitted::{Admitted, Charge, End, Served};
pub use budget::{Budget, Scope};
use local_lease::Moment;
use quota::Slot;

/// What admits requests.
pub struct Admission {
    /// Records starts and ends.
    pub spool: Arc<Spool>,
    /// When the end is on disk.
    pub mode: SpoolMode,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<dyn Ids>,
    /// Who lends credit.
    pub ledger: rpc::Client,
    /// Counts the refillers of budgets.
    pub tasks: TaskTracker,
    /// Runs them.
    pub refill_runtime: Handle,
    /// Ends them.
    pub stop: CancellationToken,
    /// Counts what becomes of requests.
    pub counts: Counts,
    /// One for each account, and for each key with a limit.
    pub budgets: Arc<Mutex<Budgets>>,
}

/// The budgets that are in use.
pub type Budgets = HashMap<Scope, Arc<Budget>>;

/// What is known of a request when it asks to be admitted.
#[derive(Debug)]
pub struct Intent<'a> {
    /// Its id.
    pub request: RequestId,
    /// The credential.
    pub key: &'a Key,
    /// The format that the client speaks.
    pub format: Format,
    /// What it will try.
    pub plan: &'a Plan,
    /// Whether the answer is a stream.
    pub streamed: bool,
    /// The end user.
    pub user: Option<String>,
    /// The calling application.
    pub app: Option<String>,
}

/// The error of a request that cannot be recorded; the operator is told once a minute.
fn refused(error: &SpoolError) -> GatewayError {
    static TROUBLES: Throttle = Throttle::new();
    if let (_, Some(unsaid)) = TROUBLES.failed() {
        tracing::error!(%error, unsaid, "requests are refused: {error}");
    }
    if matches!(error, SpoolError::TooLarge(_)) { GatewayError::Internal } else { GatewayError::SpoolFull }
}

impl Admission {
    /// Sets money aside, takes a place in the spool and records the start.
    ///
    /// The slot is taken when the request is admitted.
    ///
    /// # Errors
    /// 402 when there is no money, 503 when the ledger does not answer or the spool is full.
    pub async fn admit(&self, intent: Intent<'_>, slot: &mut Option<Slot>) -> Result<Admitted, GatewayError> {
        let mut reservation = self.spool.reserve().map_err(|error| refused(&error))?;
        failpoint(Failpoint::RequestReserved);
        let budget = self.budget(intent.key);
        let hold = match budget.hold_now(intent.plan.max_cost(), Moment::now(&*self.clock)) {
            Some(hold) => hold,
            None => budget.hold(intent.plan.min_cost(), intent.plan.max_cost()).await?,
        };
        // It may have waited for its money: it is admitted now that it has it.
        let now_us = self.clock.now_us();
        failpoint(Failpoint::RequestHeld);
        let started = RequestStarted {
            request: intent.request.clone(),
            account: intent.key.account.clone(),
            key: intent.key.hash.clone(),
            lease: hold.lease().clone(),
            hold_nanos: hold.amount(),
            model: intent.plan.candidates.first().map(|candidate| candidate.model.id.clone()).unwrap_or_default(),
            user: intent.user,
            app: intent.app,
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
        let admitted = Admitted::new(started, (hold, reservation), slot.take(), self);
        // What fails here has an end all the same: `admitted` records it when it is dropped.
        self.spool.flushed(position).await.map_err(|error| refused(&error))?;
        failpoint(Failpoint::StartWritten);
        if self.mode == SpoolMode::Strict {
            self.spool.synced(position).await;
        }
        Ok(admitted)
    }

    /// Credit has come to an account: what was denied before may be there now.
    pub fn credited(&self, account: &AccountId) {
        let budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.values().filter(|budget| budget.scope.account == *account).for_each(|budget| budget.forget_denial());
    }

    /// The budget that pays for a key: its own when it has a limit, else its account's.
    fn budget(&self, key: &Key) -> Arc<Budget> {
        let scope = Scope { account: key.account.clone(), key: key.limit_nanos.map(|_| (key.hash.clone(), key.revision)) };
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
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
        };
        self.tasks.spawn_on(refiller.run(self.stop.clone()), &self.refill_runtime);
        budget
    }
}
