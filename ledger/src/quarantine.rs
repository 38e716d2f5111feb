//! Events that the ledger could not apply. An account that may owe a charge for one gets no new leases until an operator decides.

use std::sync::Arc;

use eventlog::{Throttle, quarantine};
use events::rpc::{DecideQuarantine, DecideReply, LeaseRequest};

use crate::control_reader::NoteControl;
use crate::posting::PostUsage;
use crate::process::Ledger;
use crate::readers;
use crate::rpc::database_error;

static REFUSALS: Throttle = Throttle::new();

/// Refuses a lease request of a frozen account; a request that closes a lease always passes.
///
/// # Errors
/// Fails with one sentence if the account is frozen or the database is unavailable.
pub async fn refuse_frozen(ledger: &Ledger, request: &LeaseRequest) -> Result<(), String> {
    if request.closing || !database_error(quarantine::is_frozen(&ledger.store, request.account.as_str()).await)? {
        return Ok(());
    }
    let account = &request.account;
    if let (_, Some(unsaid)) = REFUSALS.failed() {
        tracing::error!(%account, unsaid, "account {account} gets no new leases: an event of it could not be applied; see `arouter admin quarantine list`");
    }
    Err(format!("account {account} is frozen: an event of it could not be applied"))
}

/// Applies an event again, or discards it.
///
/// # Errors
/// Returns `RowNotFound` if another process changed an account concurrently; the caller retries.
pub async fn decide(ledger: &Arc<Ledger>, command: &DecideQuarantine) -> Result<DecideReply, sqlx::Error> {
    quarantine::decide(&ledger.store, command, ledger.clock.now_us(), |reader| match reader {
        name if name == readers::POSTINGS.name => Some(Arc::new(PostUsage::new(Arc::clone(ledger)))),
        name if name == readers::DIRECTORY.name => Some(Arc::new(NoteControl)),
        _ => None,
    })
    .await
}
