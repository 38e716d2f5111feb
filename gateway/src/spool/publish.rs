//! Publishing of the spool to the log, and deletion of the events that the ledger and the projector have.
//!
//! The files themselves are the queue: synced events above the watermarks are sent in order. They are sent again after every new
//! connection, because the server may have lost events that it had acknowledged. Event ids make that harmless.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use eventlog::{Log, Throttle, rpc};
use events::clock::Clock;
use events::ids::Ids;
use events::rpc::{CloseSource, GetWatermarks};
use events::subject::Stream;
use events::{Failpoint, failpoint};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse, FusedFuture};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Spool;
use super::cursor::{SpoolCursor, marks, taken_over};
use super::segment::Sequences;

/// The delay before the next look at the spool if no sync wakes the publisher.
const RETRY: Duration = Duration::from_millis(200);
/// The time for which synced events are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(20);
/// The interval between requests for watermarks.
const WATERMARKS_EVERY: Duration = Duration::from_millis(500);
/// The interval between requests for watermarks while the spool fills.
const WATERMARKS_OFTEN: Duration = Duration::from_millis(50);
/// The fill level from which watermarks are requested often.
const OFTEN_FROM: f64 = 0.4;
/// The longest wait for a sync of the starts that were recorded again.
const SYNC_PATIENCE: Duration = Duration::from_secs(1);
/// The longest wait for a reply.
const RPC_TIMEOUT: Duration = Duration::from_secs(5);
/// The time without progress of the watermarks after which events are sent again, because some were lost on the way.
const STUCK: Duration = Duration::from_secs(10);

/// A task that publishes one spool.
pub struct Publisher {
    pub spool: Arc<Spool>,
    /// The destination of the events.
    pub log: Log,
    /// The client of the ledger, for its watermarks.
    pub ledger: rpc::Client,
    /// The client of the projector, for its watermarks.
    pub projector: rpc::Client,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
}

impl Publisher {
    /// Publishes until `stop`, then until all written events are published or `abandon_flush` is cancelled.
    pub async fn run(self, stop: CancellationToken, abandon_flush: CancellationToken) {
        let mut cursor = SpoolCursor::default();
        let mut syncs = self.spool.syncs();
        let mut connects = self.log.connects();
        let mut taken = Sequences::default();
        let mut asked = Instant::now();
        let mut moved = Instant::now();
        // Publishing does not wait for the answer of the readers: their databases may be busy.
        let mut asking: Fuse<BoxFuture<'_, Option<Sequences>>> = Fuse::terminated();
        let mut answer = None;
        let troubles = Throttle::new();
        let mut seen_control = 0;
        loop {
            if connects.has_changed().unwrap_or(false) {
                connects.mark_unchanged();
                cursor.restart();
            }
            let sent = tokio::select! {
                () = abandon_flush.cancelled() => return,
                sent = self.send(&mut cursor, &taken) => sent,
            };
            let every = if self.spool.fill_level() > OFTEN_FROM { WATERMARKS_OFTEN } else { WATERMARKS_EVERY };
            if asking.is_terminated() && answer.is_none() && asked.elapsed() >= every {
                asked = Instant::now();
                asking = self.watermarks().boxed().fuse();
            }
            if !asking.is_terminated() {
                answer = (&mut asking).now_or_never();
            }
            if let Some(now) = answer.take() {
                let now = now.unwrap_or(taken);
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
                _ = syncs.changed() => {
                    let control = self.spool.last()[Stream::Control.index()];
                    // A short delay puts events that arrive together into one batch. A change of a key is in effect elsewhere only once
                    // it is read there, so it does not wait.
                    if control == seen_control {
                        tokio::time::sleep(GATHER).await;
                    }
                    seen_control = control;
                }
                now = &mut asking, if !asking.is_terminated() => answer = Some(now),
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Deletes the files that all readers have. Long requests are recorded again if only they keep a file.
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

    /// Publishes the spool of an earlier boot until all readers have it and its leases are settled, then deletes it.
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

    /// Sends the next events that are not taken over; returns false if there are none.
    async fn send(&self, cursor: &mut SpoolCursor, taken: &Sequences) -> Result<bool, SendError> {
        let Some((events, end)) = cursor.next(&self.spool, taken)? else { return Ok(false) };
        if !events.is_empty() {
            self.log.send(events).await?;
            failpoint(Failpoint::SpoolSent);
        }
        cursor.sent(end);
        Ok(true)
    }

    /// Returns the sequences up to which every reader that needs a stream has all its events; `None` if a reader does not reply.
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
