//! The keeper of a purse: wakes when it is low, when somebody waits and from time to time, and takes questions to the ledger.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eventlog::{AskError, Asker, Throttle};
use events::clock::Clock;
use events::ids::Ids;
use tokio_util::sync::CancellationToken;

use super::Purses;
use super::keeping::{Asking, Keeping, TICK};
use super::slice::Moment;

/// How long the ledger may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait before asking a ledger again that does not answer or is behind.
const RETRY: Duration = Duration::from_millis(20);

/// How long a purse without money is kept that nobody asks for.
const UNUSED_KEPT: Duration = Duration::from_secs(5);

/// Keeps one purse.
pub struct Keeper {
    /// What is decided.
    pub keeping: Keeping,
    /// Where the purse is found, and taken out of when nobody has used it for a while.
    pub purses: Arc<Mutex<Purses>>,
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
        let mut used_at = Instant::now();
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
            let is_empty = self.keeping.is_empty();
            if !is_empty {
                used_at = Instant::now();
            } else if used_at.elapsed() >= UNUSED_KEPT && self.give_up_unused() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.keeping.purse.wake.notified() => used_at = Instant::now(),
                () = tokio::time::sleep(if is_empty { UNUSED_KEPT } else { TICK }) => {}
            }
        }
    }

    /// Takes the purse out of those that are found, unless a request has just found it.
    fn give_up_unused(&self) -> bool {
        let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        // The other one is in the table, whose lock everybody takes who looks for a purse.
        let is_unused = Arc::strong_count(&self.keeping.purse) <= 2;
        if is_unused {
            purses.remove(&self.keeping.purse.scope);
        }
        is_unused
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
                static TROUBLES: Throttle = Throttle::new();
                if let AskError::Refused(_, reason) = &error
                    && let (_, Some(unsaid)) = TROUBLES.failed()
                {
                    tracing::warn!(account = %asking.question.account, reason, unsaid, "no lease: {reason}");
                }
                self.keeping.failed(asking, Instant::now())
            }
        }
    }
}
