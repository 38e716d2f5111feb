//! A request that has started and, as far as its events were read, has not ended.

use crate::request::{RequestProgress, RequestStarted};
use crate::usage_recorded::UsageRecorded;

/// The start of a request and its newest progress. A gateway that starts again, and the ledger for a gateway that never does, end it.
#[derive(Debug, Clone)]
pub struct OpenRequest {
    pub started: RequestStarted,
    progress: Option<RequestProgress>,
}

impl OpenRequest {
    #[must_use]
    pub fn new(started: RequestStarted) -> Self {
        Self { started, progress: None }
    }

    /// Keeps the dearer of two progresses. Costs only grow, and a progress that was recorded again may come after a newer one.
    pub fn note_progress(&mut self, progress: RequestProgress) {
        if self.progress.as_ref().is_none_or(|known| known.cost_nanos <= progress.cost_nanos) {
            self.progress = Some(progress);
        }
    }

    #[must_use]
    pub fn has_progress(&self) -> bool {
        self.progress.is_some()
    }

    /// Returns the charge for what was relayed by the last progress; without one, nothing is charged.
    #[must_use]
    pub fn charge(&self, latency_us: u64) -> UsageRecorded {
        UsageRecorded::unfinished(&self.started, self.progress.as_ref(), latency_us)
    }
}
