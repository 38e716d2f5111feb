//! Events that the ledger could not apply: an account that may owe something by one gets no new leases until an operator has decided.

use std::sync::Arc;

use eventlog::{Throttle, quarantine};
use events::rpc::{DecideQuarantine, DecideReply, LeaseRequest};

use crate::control_reader::NoteControl;
use crate::posting::PostUsage;
use crate::process::Ledger;
use crate::readers;
use crate::rpc::database_error;

static REFUSALS: Throttle = Throttle::new();

/// Refuses a request about a lease of a frozen account; what it gives back at the end is always taken.
///
/// # Errors
/// When it is frozen, or the database is away: one sentence.
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

/// Applies an event again, or gives it up.
///
/// # Errors
/// When the database is away, or somebody else moved an account meanwhile: ask again.
pub async fn decide(ledger: &Arc<Ledger>, command: &DecideQuarantine) -> Result<DecideReply, sqlx::Error> {
    quarantine::decide(&ledger.store, command, ledger.clock.now_us(), |reader| match reader {
        name if name == readers::POSTINGS.name => Some(Arc::new(PostUsage::new(Arc::clone(ledger)))),
        name if name == readers::DIRECTORY.name => Some(Arc::new(NoteControl)),
        _ => None,
    })
    .await
}
