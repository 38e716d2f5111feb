//! The keeper of a purse: wakes when it is low, when somebody waits and from time to time, and takes questions to the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::{AskError, Asker};
use events::clock::Clock;
use events::ids::Ids;
use tokio_util::sync::CancellationToken;

use super::keeping::{Asking, Keeping, TICK};
use super::slice::Moment;

/// How long the ledger may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait before asking a ledger again that does not answer or is behind.
const RETRY: Duration = Duration::from_millis(20);

/// Keeps one purse.
pub struct Keeper {
    /// What is decided.
    pub keeping: Keeping,
    /// Who lends.
    pub ledger: Asker,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids of leases come from.
    pub ids: Arc<dyn Ids>,
}

impl Keeper {
    /// Keeps the purse until `stop`; then nothing is given back here, the end of the boot settles all of it.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.keeping.look(Instant::now());
            let is_quiet = self.keeping.purse.waiting().is_empty();
            if is_quiet && let Some(asking) = self.keeping.tend(self.now()) {
                self.ask(asking).await;
            }
            loop {
                for asking in self.keeping.closings(self.now()) {
                    self.ask(asking).await;
                }
                let Some(asking) = self.for_waiting() else { break };
                if self.ask(asking).await {
                    tokio::time::sleep(RETRY).await;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.keeping.purse.wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    fn for_waiting(&mut self) -> Option<Asking> {
        let at = self.now();
        self.keeping.for_waiting(at, || self.ids.lease(&*self.clock))
    }

    /// Takes a question to the ledger; gives back whether to ask again soon.
    async fn ask(&mut self, asking: Asking) -> bool {
        match self.ledger.ask(&asking.question, ASK_TIMEOUT).await {
            Ok(answer) => {
                let at = self.now();
                self.keeping.answered(&asking, answer, at)
            }
            Err(error) => {
                if let AskError::Refused(_, reason) = &error {
                    tracing::warn!(account = %asking.question.account, reason, "no lease: {reason}");
                }
                self.keeping.failed(asking, Instant::now())
            }
        }
    }
}
