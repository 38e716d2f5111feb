//! A reader that shares its stream with others and applies events in several concurrent transactions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::subject::partition;
use futures_util::future::try_join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::frontier::{Chain, Frontier};
use super::members::Member;
use crate::consume::{Batch, Pace, Progress, RETRY, ReaderContext, Stop, apply, is_known_already, trouble};
use crate::fold::{Event, Fold, Rejected};
use crate::reader_id::ReaderId;
use crate::record::Checkpoint;
use crate::sources::Sources;
use crate::store::is_data_error;
use crate::tail::{Tail, TailError};
use crate::throttle::Throttle;

/// The interval at which a reader writes a heartbeat and checks the others.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// The number of events that a reader may be ahead of the slowest one.
const AHEAD_MAX: usize = 200_000;
/// The pause of a reader that is further ahead.
const WAIT: Duration = Duration::from_millis(50);

/// A reader of one stream that shares it with others.
pub struct SharedReader {
    pub id: ReaderId,
    /// Resources shared with the other readers of the process.
    pub context: ReaderContext,
    /// One fold for each concurrent transaction.
    pub folds: Vec<Arc<dyn Fold>>,
    /// The batching of events for each transaction.
    pub pace: Pace,
    /// The progress of the common checkpoint.
    pub progress: watch::Sender<Progress>,
    /// Whether this reader owns the first partition, and so does the work that only one reader may do.
    pub first: watch::Sender<bool>,
    /// The backoff of retries.
    pub troubles: Throttle,
}

impl SharedReader {
    /// Reads as `member` until `stop`. After a failure it retries from the common checkpoint.
    pub async fn run(self, mut member: Member, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.read(&mut member, &stop).await {
                Ok(()) => break,
                Err(Stop::Tail(TailError::Reconnected) | Stop::Moved) => {}
                Err(error) => {
                    let wait = trouble(&self.troubles, self.id, &error);
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
        if let Err(error) = member.leave().await {
            tracing::warn!(%error, "its partitions go to others only when it has been silent for a while: {error}");
        }
    }

    async fn read(&self, member: &mut Member, stop: &CancellationToken) -> Result<(), Stop> {
        let (checkpoint, chain, mut sources) = member.join().await?;
        self.first.send_replace(member.owned().contains(&0));
        let (mut tail, at, chain) = self.open(member, (checkpoint, chain), &mut sources, stop).await?;
        // The stream is open, so this reader counts as alive.
        if member.heartbeat().await? {
            return Err(Stop::Moved);
        }
        let mut frontier = Frontier::new(at, chain, sources);
        let end = self.context.log.last_sequence(self.id.stream).await?;
        let mut heartbeat_at = Instant::now();
        while !stop.is_cancelled() {
            self.tell(&frontier, end);
            if heartbeat_at.elapsed() >= HEARTBEAT_EVERY {
                heartbeat_at = Instant::now();
                if member.heartbeat().await? {
                    return Err(Stop::Moved);
                }
                self.first.send_replace(member.owned().contains(&0));
            }
            if frontier.len() > AHEAD_MAX {
                tokio::time::sleep(WAIT).await;
            } else {
                let most = self.pace.batch_max * self.folds.len();
                let batch = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    batch = tail.next_batch_within(most, self.pace.linger, HEARTBEAT_EVERY) => batch?,
                };
                if batch.is_empty() && frontier.is_empty() {
                    continue;
                }
                self.apply(member, &Batch::read(&batch), &mut frontier).await?;
            }
            if !member.settle(&mut frontier).await? {
                return Err(Stop::Moved);
            }
            self.troubles.succeeded();
        }
        Ok(())
    }

    /// Opens the stream after the common checkpoint, or at its start if the checkpoint does not hold.
    async fn open(
        &self,
        member: &mut Member,
        (checkpoint, chain): (Option<Checkpoint>, Chain),
        sources: &mut Sources,
        stop: &CancellationToken,
    ) -> Result<(Tail, Checkpoint, Chain), Stop> {
        let read = checkpoint.as_ref().filter(|checkpoint| checkpoint.sequence > 0);
        let mut tail = self.context.log.tail(self.id.stream, read).await?.shared();
        let (checkpoint, chain) = self.read_archived(member, &mut tail, (checkpoint, chain), sources, stop).await?;
        match checkpoint {
            Some(checkpoint) if !tail.restarted && checkpoint.identity == tail.identity && checkpoint.sequence == tail.read_to => {
                Ok((tail, checkpoint, chain))
            }
            other => {
                if other.is_some() {
                    tracing::warn!(
                        stream = self.id.stream.name(),
                        "{} is not what it was (rolled back or made anew): reading it again from its start",
                        self.id.stream.name()
                    );
                }
                let start = Checkpoint { identity: tail.identity.clone(), sequence: tail.read_to, event_id: String::new() };
                let chain = member.begin_anew(other.as_ref(), &start).await?.ok_or(Stop::Moved)?;
                Ok((tail, start, chain))
            }
        }
    }

    /// Reads the events that have left the stream from the archive. The owner of the first partition does this alone and in order, for all
    /// partitions. The others wait until the common checkpoint is within the stream.
    async fn read_archived(
        &self,
        member: &mut Member,
        tail: &mut Tail,
        (mut checkpoint, mut chain): (Option<Checkpoint>, Chain),
        sources: &mut Sources,
        stop: &CancellationToken,
    ) -> Result<(Option<Checkpoint>, Chain), Stop> {
        let (Some(fold), mut heartbeat_at) = (self.folds.first(), Instant::now()) else { return Ok((checkpoint, chain)) };
        loop {
            let records = tail.next_archived(self.pace.batch_max).await?;
            if records.is_empty() {
                return Ok((checkpoint, chain));
            }
            // The caller starts again, finds the stop request and ends.
            if stop.is_cancelled() {
                return Err(Stop::Moved);
            }
            if !member.owned().contains(&0) {
                tokio::time::sleep(RETRY).await;
                return Err(Stop::Moved);
            }
            let mut parts = vec![Batch::read(&records)];
            while let Some(part) = parts.pop() {
                let next = part.end(&tail.identity);
                match self.commit_archived(member, &**fold, &part, (checkpoint.as_ref(), &next), sources).await {
                    Ok(moved) => (chain, checkpoint) = (moved, Some(next)),
                    Err(Stop::Database(error)) if is_data_error(&error) => {
                        // The sources have noted events that were not committed.
                        *sources = Sources::load(&mut *self.context.store.reads.acquire().await?, self.id).await?;
                        parts.extend(part.halves(&error, &**fold).into_iter().rev());
                    }
                    Err(stop) => return Err(stop),
                }
            }
            if heartbeat_at.elapsed() >= HEARTBEAT_EVERY {
                heartbeat_at = Instant::now();
                if member.heartbeat().await? {
                    return Err(Stop::Moved);
                }
            }
        }
    }

    /// Commits archived events and moves the common checkpoint behind them.
    async fn commit_archived(
        &self,
        member: &Member,
        fold: &dyn Fold,
        batch: &Batch<'_>,
        (from, to): (Option<&Checkpoint>, &Checkpoint),
        sources: &mut Sources,
    ) -> Result<Chain, Stop> {
        let mut has_looked = false;
        loop {
            let mut transaction = self.context.store.begin_exclusive().await?;
            match batch.apply(&mut transaction, fold, self.id, sources, self.context.clock.now_us()).await {
                Err(error) if is_known_already(&error) && !has_looked => has_looked = true,
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    let chain = member.begin_at(&mut transaction, from, to).await?.ok_or(Stop::Moved)?;
                    transaction.commit().await?;
                    return Ok(chain);
                }
            }
        }
    }

    /// Records a batch, and applies the events of this reader's partitions in concurrent transactions.
    async fn apply(&self, member: &Member, batch: &Batch<'_>, frontier: &mut Frontier) -> Result<(), Stop> {
        let owned: Vec<i64> = member.owned().iter().copied().collect();
        let mut parts: Vec<Vec<Event<'_>>> = self.folds.iter().map(|_| Vec::new()).collect();
        for (record, read) in &batch.0 {
            let from = read.as_ref().ok().map(|(envelope, sequence)| (envelope.source, *sequence));
            frontier.note(record.sequence, &record.id, from);
            if let Ok((envelope, _)) = read
                && let Ok(place) = owned.binary_search(&i64::from(partition(envelope.account)))
            {
                parts[place % self.folds.len()].push(Event { record, envelope: *envelope, is_repeat: false });
            }
        }
        let broken = if member.owned().contains(&0) { batch.broken() } else { Vec::new() };
        let broken = std::iter::once(broken).chain(std::iter::repeat_with(Vec::new));
        let posts = self.folds.iter().zip(parts).zip(broken).filter(|((_, events), broken)| !events.is_empty() || !broken.is_empty());
        try_join_all(posts.map(|((fold, events), broken)| async move { self.post_parts(member, &**fold, &events, &broken).await })).await?;
        Ok(())
    }

    /// Posts events. If the database refuses them because of their data, the bad event is found by bisection and set aside.
    async fn post_parts(&self, member: &Member, fold: &dyn Fold, events: &[Event<'_>], broken: &[Rejected<'_>]) -> Result<(), Stop> {
        let mut parts = vec![(events, broken)];
        while let Some((events, broken)) = parts.pop() {
            let posted = match self.post(member, fold, events, broken).await {
                Err(Stop::Database(error)) if is_known_already(&error) => self.post(member, fold, events, broken).await,
                done => done,
            };
            match (posted, events) {
                (Err(Stop::Database(error)), [event]) if is_data_error(&error) => {
                    let reason = format!("the database refuses it: {error}");
                    let refused = Rejected { record: event.record, reason, freezes_account: fold.owes(&event.envelope) };
                    self.post(member, fold, &[], &[refused]).await?;
                    self.post(member, fold, &[], broken).await?;
                }
                (Err(Stop::Database(error)), [_, _, ..]) if is_data_error(&error) => {
                    let (first, second) = events.split_at(events.len() / 2);
                    parts.extend([(second, &broken[..0]), (first, broken)]);
                }
                (posted, _) => posted?,
            }
        }
        Ok(())
    }

    async fn post(&self, member: &Member, fold: &dyn Fold, events: &[Event<'_>], broken: &[Rejected<'_>]) -> Result<(), Stop> {
        let mut transaction = self.context.store.begin_shared().await?;
        if !member.holds(&mut transaction).await? {
            return Err(Stop::Moved);
        }
        apply(&mut transaction, fold, self.id, events, broken, self.context.clock.now_us()).await?;
        transaction.commit().await?;
        Ok(())
    }

    fn tell(&self, frontier: &Frontier, end: u64) {
        let at = frontier.at();
        let is_waiting = at.sequence >= end && frontier.is_empty();
        self.progress.send_if_modified(|progress| {
            let is_new = progress.sequence != at.sequence || progress.event_id != at.event_id || progress.is_waiting != is_waiting;
            if is_new {
                let (sequence, event_id) = (at.sequence, at.event_id.clone());
                *progress = Progress { sequence, event_id, applied_at_us: self.context.clock.now_us(), is_waiting };
            }
            is_new
        });
    }
}
