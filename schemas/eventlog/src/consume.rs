//! The one loop by which a reader turns events into rows. Each transaction contains a batch's effects, the sources and the checkpoint.

use std::sync::Arc;
use std::time::Duration;

use events::clock::Clock;
use events::envelope::RawEnvelope;
use events::{Failpoint, failpoint};
use sqlx::AnyConnection;
use sqlx::error::DatabaseError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{advance, checkpoint};
use crate::connect::{Log, LogError};
use crate::fold::{Event, Fold, Rejected};
use crate::quarantine;
use crate::reader_id::ReaderId;
use crate::record::{Checkpoint, Record};
use crate::sources::Sources;
use crate::store::{Store, is_data_error};
use crate::tail::{Tail, TailError};
use crate::throttle::Throttle;

/// The batching of events into transactions.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The maximum number of events in one transaction.
    pub batch_max: usize,
    /// The time for which a transaction waits for more events.
    pub linger: Duration,
}

impl Pace {
    /// The pace for results that somebody waits for.
    pub const PROMPT: Self = Self { batch_max: 500, linger: Duration::from_millis(15) };
    /// The pace for results that somebody looks at: fewer and larger transactions leave processor time to requests.
    pub const VISIBLE: Self = Self { batch_max: 2_000, linger: Duration::from_millis(50) };
    /// The pace for results that nobody waits for.
    pub const RELAXED: Self = Self { batch_max: 5_000, linger: Duration::from_millis(250) };
}

/// The pause before another attempt.
pub(crate) const RETRY: Duration = Duration::from_millis(200);

/// The pause between two looks at the reader that another one stays behind.
const BEHIND_PAUSE: Duration = Duration::from_millis(5);

/// Resources that the readers of one process share.
#[derive(Clone)]
pub struct ReaderContext {
    pub log: Log,
    pub store: Store,
    pub clock: Arc<dyn Clock>,
}

/// A reader of one stream.
pub struct Reader {
    id: ReaderId,
    context: ReaderContext,
    fold: Arc<dyn Fold>,
    pace: Pace,
    /// The position after each commit, and whether the stream has more events.
    progress: watch::Sender<Progress>,
    troubles: Throttle,
    behind: Option<ReaderId>,
}

/// The progress of a reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The sequence of the last applied event.
    pub sequence: u64,
    /// The id of that event.
    pub event_id: String,
    /// The time at which it was applied, in microseconds since 1970.
    pub applied_at_us: i64,
    /// Whether everything that the log has was read.
    pub is_waiting: bool,
}

/// The reason why a reader starts again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("another process moved the checkpoint")]
    Fenced,
    #[error("what it reads has changed")]
    Moved,
}

impl Reader {
    /// Creates a reader that has not started.
    #[must_use]
    pub fn new(id: ReaderId, context: ReaderContext, fold: Arc<dyn Fold>, pace: Pace, progress: watch::Sender<Progress>) -> Self {
        Self { id, context, fold, pace, progress, troubles: Throttle::new(), behind: None }
    }

    /// Makes the reader apply an event only after another reader of the same database has applied all that its stream had when the event was
    /// read. So a fold finds the rows that earlier events of the other stream made.
    #[must_use]
    pub fn behind(mut self, other: Option<ReaderId>) -> Self {
        self.behind = other;
        self
    }

    /// Reads until `stop`. After a failure it retries from the checkpoint.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.read(&stop).await {
                Ok(()) => return,
                Err(Stop::Tail(TailError::Reconnected)) => {}
                Err(error) => {
                    let wait = trouble(&self.troubles, self.id, &error);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    async fn read(&self, stop: &CancellationToken) -> Result<(), Stop> {
        let mut checkpoint = checkpoint(&self.context.store, self.id).await?;
        let mut sources = self.saved_sources().await?;
        let mut tail = self.context.log.tail(self.id.stream, checkpoint.as_ref()).await?.shared();
        if tail.restarted {
            tracing::warn!(
                stream = self.id.stream.name(),
                "{} is not what it was (rolled back or made anew): reading it again from its start",
                self.id.stream.name()
            );
        }
        if let Some(checkpoint) = &checkpoint {
            self.progress.send_modify(|progress| {
                progress.sequence = checkpoint.sequence;
                progress.event_id.clone_from(&checkpoint.event_id);
            });
        }
        let end = self.context.log.last_sequence(self.id.stream).await?;
        while !stop.is_cancelled() {
            self.progress.send_modify(|progress| progress.is_waiting = tail.has_read(end));
            let batch = next(&mut tail, self.pace, stop).await?;
            if batch.is_empty() {
                return Ok(());
            }
            if !self.other_has_caught_up(stop).await? {
                return Ok(());
            }
            let next = self.commit_parts(Batch::read(&batch), checkpoint.clone(), &mut sources, &tail.identity).await?;
            self.troubles.succeeded();
            self.progress.send_replace(Progress {
                sequence: next.sequence,
                event_id: next.event_id.clone(),
                applied_at_us: self.context.clock.now_us(),
                is_waiting: batch.len() < self.pace.batch_max && tail.has_read(end),
            });
            checkpoint = Some(next);
        }
        Ok(())
    }

    /// Waits for the reader that this one stays behind. Returns false at a stop.
    async fn other_has_caught_up(&self, stop: &CancellationToken) -> Result<bool, Stop> {
        let Some(other) = self.behind else { return Ok(true) };
        let end = self.context.log.last_sequence(other.stream).await?;
        while checkpoint(&self.context.store, other).await?.map_or(0, |checkpoint| checkpoint.sequence) < end {
            if stop.run_until_cancelled(tokio::time::sleep(BEHIND_PAUSE)).await.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Commits a batch. If the database refuses it because of an event's data, that event is found by bisection and set aside, so that it
    /// blocks no other event.
    async fn commit_parts(
        &self,
        batch: Batch<'_>,
        mut checkpoint: Option<Checkpoint>,
        sources: &mut Sources,
        identity: &str,
    ) -> Result<Checkpoint, Stop> {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let committed = match self.commit(&part, checkpoint.as_ref(), sources, identity).await {
                Err(Stop::Database(error)) if is_known_already(&error) => {
                    *sources = self.saved_sources().await?;
                    self.commit(&part, checkpoint.as_ref(), sources, identity).await
                }
                done => done,
            };
            match committed {
                Ok(next) => checkpoint = Some(next),
                Err(Stop::Database(error)) if is_data_error(&error) => {
                    // `sources` may contain events that were not committed.
                    *sources = self.saved_sources().await?;
                    parts.extend(part.halves(&error, &*self.fold).into_iter().rev());
                }
                Err(stop) => return Err(stop),
            }
        }
        checkpoint.ok_or(Stop::Moved)
    }

    async fn saved_sources(&self) -> Result<Sources, sqlx::Error> {
        Sources::load(&mut *self.context.store.reads.acquire().await?, self.id).await
    }

    async fn commit(
        &self,
        batch: &Batch<'_>,
        from: Option<&Checkpoint>,
        sources: &mut Sources,
        identity: &str,
    ) -> Result<Checkpoint, Stop> {
        let mut transaction = self.context.store.begin_exclusive().await?;
        batch.apply(&mut transaction, &*self.fold, self.id, sources, self.context.clock.now_us()).await?;
        let next = batch.end(identity);
        if !advance(&mut transaction, self.id, from, &next).await? {
            return Err(Stop::Fenced);
        }
        failpoint(Failpoint::ReaderMoved);
        transaction.commit().await?;
        failpoint(Failpoint::ReaderCommitted);
        Ok(next)
    }
}

/// Logs once in a while that reading stopped, and returns the time to wait before it starts again.
pub(crate) fn trouble(troubles: &Throttle, reader: ReaderId, error: &Stop) -> Duration {
    let (wait, report) = troubles.failed();
    let stream = reader.stream.name();
    if let Some(unsaid) = report {
        tracing::warn!(stream, unsaid, %error, "reading {stream} stopped and starts again: {error}");
    }
    wait
}

/// Returns whether a transaction failed because a row of it exists already. A fold that skipped the check for existing rows makes it when
/// it is called again.
pub(crate) fn is_known_already(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(DatabaseError::is_unique_violation)
}

/// Events with their envelopes and their sequences in their sources, or the reasons why these cannot be read.
pub(crate) struct Batch<'a>(pub Vec<(&'a Record, Read<'a>)>);

/// An envelope and its sequence in its source, or the reason why they cannot be read.
type Read<'a> = Result<(RawEnvelope<'a>, u64), Unreadable<'a>>;

/// An event that is set aside before it is applied.
pub(crate) struct Unreadable<'a> {
    /// The reason as one sentence.
    pub reason: String,
    /// The source and the sequence there, if known.
    pub from: Option<(&'a str, u64)>,
    /// The account that may owe money because of this event.
    pub freezes_account: Option<&'a str>,
}

impl<'a> Batch<'a> {
    /// Parses the envelopes of records.
    pub fn read(records: &'a [Record]) -> Self {
        let read = |record: &'a Record| {
            let read =
                RawEnvelope::parse(&record.payload).and_then(|envelope| envelope.sequence_number().map(|sequence| (envelope, sequence)));
            read.map_err(|error| Unreadable { reason: error.to_string(), from: None, freezes_account: None })
        };
        Self(records.iter().map(|record| (record, read(record))).collect())
    }

    /// Applies all events and records their sources.
    pub async fn apply(
        &self,
        connection: &mut AnyConnection,
        fold: &dyn Fold,
        reader: ReaderId,
        sources: &mut Sources,
        now_us: i64,
    ) -> Result<(), sqlx::Error> {
        let mut events = Vec::with_capacity(self.0.len());
        for (record, read) in &self.0 {
            if let Ok((envelope, sequence)) = read {
                events.push(Event { record, envelope: *envelope, is_repeat: sources.has(envelope.source, *sequence) });
            }
        }
        apply(connection, fold, reader, &events, &self.broken(), now_us).await?;
        for (_, read) in &self.0 {
            match read {
                Ok((envelope, sequence)) => sources.note(envelope.source, *sequence),
                Err(Unreadable { from: Some((source, sequence)), .. }) => sources.note(source, *sequence),
                Err(Unreadable { from: None, .. }) => {}
            }
        }
        sources.save(connection, reader).await
    }

    /// Splits the batch into halves. A single event becomes one that cannot be applied, with the database's error as its reason.
    pub fn halves(mut self, error: &sqlx::Error, fold: &dyn Fold) -> Vec<Self> {
        if self.0.len() > 1 {
            let second = self.0.split_off(self.0.len() / 2);
            return vec![self, Self(second)];
        }
        let refused = self.0.pop().map(|(record, read)| {
            let freezes_account = read.as_ref().ok().and_then(|(envelope, _)| fold.owes(envelope));
            let from = read.as_ref().ok().map(|(envelope, sequence)| (envelope.source, *sequence));
            (record, Err(Unreadable { reason: format!("the database refuses it: {error}"), from, freezes_account }))
        });
        refused.into_iter().map(|refused| Self(vec![refused])).collect()
    }

    /// Returns the position of a reader that has read the whole batch.
    pub fn end(&self, identity: &str) -> Checkpoint {
        let last = self.0.last().map_or((0, String::new()), |(record, _)| (record.sequence, record.id.clone()));
        Checkpoint { identity: identity.to_owned(), sequence: last.0, event_id: last.1 }
    }

    /// Returns the events that cannot be read.
    pub fn broken(&self) -> Vec<Rejected<'a>> {
        let rejected = |(record, read): &(&'a Record, Read<'a>)| {
            let Unreadable { reason, freezes_account, .. } = read.as_ref().err()?;
            Some(Rejected { record, reason: reason.clone(), freezes_account: *freezes_account })
        };
        self.0.iter().filter_map(rejected).collect()
    }
}

/// Applies events, and sets aside those that are broken or cannot be applied.
pub(crate) async fn apply(
    connection: &mut AnyConnection,
    fold: &dyn Fold,
    reader: ReaderId,
    events: &[Event<'_>],
    broken: &[Rejected<'_>],
    now_us: i64,
) -> Result<(), sqlx::Error> {
    failpoint(Failpoint::ReaderBegun);
    let rejected = fold.apply(connection, events).await?;
    failpoint(Failpoint::ReaderApplied);
    for rejected in rejected.iter().chain(broken) {
        let (sequence, reason) = (rejected.record.sequence, rejected.reason.as_str());
        tracing::error!(stream = reader.stream.name(), reader = reader.name, sequence, reason, "an event is set aside: {reason}");
        quarantine::set_aside(connection, reader, rejected, now_us).await?;
    }
    Ok(())
}

/// Returns the next batch, or an empty one at a stop. A stop interrupts only the wait: a batch that is being written is completed.
async fn next(tail: &mut Tail, pace: Pace, stop: &CancellationToken) -> Result<Vec<Record>, TailError> {
    tokio::select! {
        () = stop.cancelled() => Ok(Vec::new()),
        batch = tail.next_batch(pace.batch_max, pace.linger) => batch,
    }
}
