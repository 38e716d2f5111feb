//! Events that the ledger or the projector could not apply, for the operator.

pub mod list;
pub mod show;
pub mod decide;

use events::rpc::{ListQuarantine, Quarantined};
use serde::Serialize;

use super::{Admin, RPC_TIMEOUT};
use crate::error::GatewayError;

/// An event in the quarantine of a reader.
#[derive(Debug, Serialize)]
pub struct Waiting {
    reader: &'static str,
    #[serde(flatten)]
    event: Quarantined,
}

/// Returns the undecided events in quarantine of all readers. With `event_id`, returns only that event, with its payload.
async fn waiting(admin: &Admin, event_id: Option<String>) -> Result<Vec<Waiting>, GatewayError> {
    let (ask, mut waiting) = (ListQuarantine { event_id }, Vec::new());
    for asker in admin.readers() {
        let reader = asker.who().as_str();
        waiting.extend(asker.call(&ask, RPC_TIMEOUT).await?.into_iter().map(|event| Waiting { reader, event }));
    }
    Ok(waiting)
}
