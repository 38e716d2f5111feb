//! Shipping the spool to the log, and forgetting what the ledger and the projector have.
//!
//! The files themselves are the queue: whatever is synced and lies above the watermarks is sent, in order, and sent again after every new
//! connection, since what the server had acknowledged it may have lost. Ids make that harmless.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use eventlog::{Log, Throttle, rpc};
use events::clock::Clock;
use events::ids::Ids;
use events::rpc::{CloseSource, GetWatermarks};
use events::subject::Stream;
use events::{Failpoint, failpoint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Spool;
use super::cursor::{SpoolCursor, marks, taken_over};
use super::segment::Sequences;

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_millis(200);
/// How long to gather what is synced before it is sent.
const GATHER: Duration = Duration::from_millis(20);
/// How often watermarks are asked for.
const WATERMARKS_EVERY: Duration = Duration::from_millis(500);
/// The same while the spool is more than half full.
const WATERMARKS_OFTEN: Duration = Duration::from_millis(50);
/// How long what was recorded again may take to be synced.
const SYNC_PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer may take.
const RPC_TIMEOUT: Duration = Duration::from_secs(5);
/// When watermarks stand still for so long although everything is sent, it is sent again: something was lost on the way.
const STUCK: Duration = Duration::from_secs(10);

/// Ships one spool.
pub struct Publisher {
    /// The spool.
    pub spool: Arc<Spool>,
    /// Where to.
    pub log: Log,
    /// The ledger, for its watermarks.
    pub ledger: rpc::Client,
    /// The projector, for its watermarks.
    pub projector: rpc::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<dyn Ids>,
}

impl Publisher {
    /// Ships until `stop`, then until everything that is written is told or `abandon_flush`.
    pub async fn run(self, stop: CancellationToken, abandon_flush: CancellationToken) {
        let mut cursor = SpoolCursor::default();
        let mut syncs = self.spool.syncs();
        let mut connects = self.log.connects();
        let mut taken = Sequences::default();
        let mut asked = Instant::now();
        let mut moved = Instant::now();
        let troubles = Throttle::new();
        loop {
            if connects.has_changed().unwrap_or(false) {
                connects.mark_unchanged();
                cursor.restart();
            }
            let sent = tokio::select! {
                () = abandon_flush.cancelled() => return,
                sent = self.send(&mut cursor, &taken) => sent,
            };
            let every = if self.spool.is_half_full() { WATERMARKS_OFTEN } else { WATERMARKS_EVERY };
            if asked.elapsed() >= every {
                asked = Instant::now();
                let now = self.watermarks().await.unwrap_or(taken);
                if now != taken {
                    moved = Instant::now();
                }
                taken = now;
                self.spool.note_taken_over(&taken);
                self.make_room(&taken).await;
                if moved.elapsed() > STUCK && !self.spool.is_taken_over(&taken) {
                    moved = Instant::now();
                    cursor.restart();
                }
            }
            match sent {
                Ok(true) => {
                    troubles.succeeded();
                    continue;
                }
                Ok(false) if stop.is_cancelled() && self.spool.is_synced() => return,
                Ok(false) => {}
                Err(error) => {
                    let (wait, report) = troubles.failed();
                    if let Some(unsaid) = report {
                        tracing::warn!(%error, unsaid, "events wait in the spool: {error}");
                    }
                    let _stopped = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                // A moment more makes one batch of what comes together.
                _ = syncs.changed() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Deletes what everybody has. Requests that run long are recorded again where they are all that keeps a file.
    async fn make_room(&self, taken: &Sequences) {
        loop {
            let carried = self.spool.carry_forward(taken, &*self.clock, &*self.ids).unwrap_or_else(|error| {
                tracing::warn!(%error, "requests that run long keep the spool's files: {error}");
                None
            });
            let is_synced = match carried {
                None => true,
                Some(position) => tokio::time::timeout(SYNC_PATIENCE, self.spool.synced(position)).await.is_ok(),
            };
            if let Err(error) = self.spool.truncate(taken) {
                tracing::warn!(%error, "a file of the spool cannot be deleted: {error}");
                return;
            }
            if carried.is_none() || !is_synced {
                return;
            }
        }
    }

    /// Ships the spool of an earlier boot until everybody has it and its leases are settled, then deletes it.
    pub async fn finish(self, stop: CancellationToken) {
        let shipping = CancellationToken::new();
        let last_usage = self.spool.last()[Stream::Usage.index()];
        let (spool, ledger, projector, log) = (Arc::clone(&self.spool), self.ledger.clone(), self.projector.clone(), self.log.clone());
        let (clock, ids) = (Arc::clone(&self.clock), Arc::clone(&self.ids));
        let watcher = Self { spool, log, ledger, projector, clock, ids };
        let watch = async {
            loop {
                let taken = watcher.watermarks().await.is_some_and(|taken| watcher.spool.is_taken_over(&taken));
                let close = CloseSource { source: watcher.spool.source.0.clone(), last_usage };
                if taken && watcher.ledger.call(&close, RPC_TIMEOUT).await.unwrap_or(false) {
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.run(CancellationToken::new(), shipping) => return,
            () = watch => {}
        }
        failpoint(Failpoint::RecoveryTakenOver);
        if let Err(error) = watcher.spool.forget() {
            tracing::warn!(%error, "the spool of an earlier boot cannot be deleted: {error}");
        }
    }

    /// Sends the next events that are not taken over; false when there are none.
    async fn send(&self, cursor: &mut SpoolCursor, taken: &Sequences) -> Result<bool, SendError> {
        let Some((events, end)) = cursor.next(&self.spool, taken)? else { return Ok(false) };
        if !events.is_empty() {
            self.log.send(events).await?;
            failpoint(Failpoint::SpoolSent);
        }
        cursor.sent(end);
        Ok(true)
    }

    /// Up to where ledger and projector both have everything, where both need it; `None` when one does not answer.
    async fn watermarks(&self) -> Option<Sequences> {
        let source = self.spool.source.0.clone();
        let ledger = self.ledger.call(&GetWatermarks { source: source.clone() }, RPC_TIMEOUT).await.ok()?;
        let projector = self.projector.call(&GetWatermarks { source }, RPC_TIMEOUT).await.ok()?;
        self.spool.note_marks(marks(&ledger, &projector, &self.spool.last()));
        Some(taken_over(&ledger, &projector))
    }
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the spool cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Log(#[from] eventlog::LogError),
}
