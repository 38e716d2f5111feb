//! Aging: archived events leave their stream after a configured time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use events::subject::Stream;

use crate::archive::segment::Manifest;
use crate::archive::storage::{Archive, ArchiveError};
use crate::connect::{Log, LogError};

/// The pause after a failure. Events that stay a little longer do no harm.
const RETRY: Duration = Duration::from_mins(1);

/// The reason why events stay in a stream.
#[derive(Debug, thiserror::Error)]
enum Stays {
    #[error("it was made to be kept whole (deny_purge), which NATS does not take back; leave [archive] keep_days out, or make it anew")]
    KeptWhole,
    #[error("the stream is not what it was when they were archived")]
    Other,
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The segments whose events the stream still holds: an unbroken series up to the archive's last one, oldest first.
pub struct Aging {
    stream: Stream,
    keep_us: i64,
    segments: VecDeque<Manifest>,
    retry_at: Option<Instant>,
}

impl Aging {
    /// Opens the segments of a stream whose events have not left it, or returns `None` if no event is to leave the stream.
    ///
    /// `is_continued` says that the stream holds the event with which the archive ends. Otherwise, as after a rollback, only segments that
    /// are archived from now on count.
    pub async fn open(
        archive: &Archive,
        stream: Stream,
        keep_days: Option<f64>,
        is_continued: bool,
        first: u64,
    ) -> Result<Option<Self>, ArchiveError> {
        let Some(days) = keep_days.filter(|_| stream.may_age()) else { return Ok(None) };
        let keep_us = i64::try_from(Duration::try_from_secs_f64(days * 86_400.0).unwrap_or(Duration::MAX).as_micros()).unwrap_or(i64::MAX);
        let goes_on = |segment: &Manifest, after: Option<&Manifest>| {
            segment.last >= first && after.is_none_or(|after| after.identity == segment.identity && after.first == segment.last + 1)
        };
        let segments = if is_continued { archive.back(stream, goes_on).await? } else { VecDeque::new() };
        Ok(Some(Self { stream, keep_us, segments, retry_at: None }))
    }

    /// Adds a segment that was just written.
    pub fn add(&mut self, segment: Manifest) {
        self.segments.push_back(segment);
    }

    /// Removes the events of the oldest segment from the stream, if they were archived long enough ago. A failure is logged and retried
    /// later.
    pub async fn age(&mut self, log: &Log, archive: &Archive, now_us: i64) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        let is_due = |segment: &&Manifest| segment.archived_at_us.saturating_add(self.keep_us) <= now_us;
        let Some(oldest) = self.segments.front().filter(is_due) else { return };
        if let Err(error) = release(log, archive, self.stream, oldest).await {
            tracing::warn!(stream = self.stream.name(), %error, "old events stay in {}: {error}", self.stream.name());
            self.retry_at = Some(Instant::now() + RETRY);
            return;
        }
        self.segments.pop_front();
    }
}

/// Purges the events of a segment from the stream. Before that, it reads the segment back from the archive and checks that the stream still
/// holds the segment's last event.
async fn release(log: &Log, archive: &Archive, stream: Stream, segment: &Manifest) -> Result<(), Stays> {
    let handle = log.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
    if handle.cached_info().config.deny_purge {
        return Err(Stays::KeptWhole);
    }
    archive.read(segment).await?;
    if !log.holds(stream, &segment.end()).await? {
        return Err(Stays::Other);
    }
    let purged = handle.purge().sequence(segment.last + 1).await.map_err(LogError::server)?.purged;
    tracing::debug!(stream = stream.name(), number = segment.number, purged, "events have left the stream");
    Ok(())
}
