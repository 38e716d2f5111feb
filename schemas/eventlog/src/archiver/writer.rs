//! The writer that follows a stream and copies its events to the archive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::clock::Clock;
use events::subject::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::trim_streams::Aging;
use crate::archive::segment::{self, Manifest, hash};
use crate::archive::storage::{Archive, ArchiveError};
use crate::connect::{Log, LogError};
use crate::record::Record;
use crate::tail::TailError;

/// The maximum number of events per read.
const READ: usize = 2_000;
/// The time to wait for more events.
const LINGER: Duration = Duration::from_millis(250);
/// The pause after a failure, and while another process writes.
const RETRY: Duration = Duration::from_secs(2);
/// The compression level: it costs little and makes the data 10 to 20 times smaller.
const LEVEL: i32 = 3;

/// The schedule of segments and of the aging of events.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveTerms {
    /// The longest time that events wait for their segment.
    pub every_seconds: u32,
    /// The size of a segment before compression.
    pub segment_bytes: usize,
    /// The days for which archived events stay in their streams; forever if absent.
    pub keep_days: Option<f64>,
}

impl Default for ArchiveTerms {
    fn default() -> Self {
        Self { every_seconds: 300, segment_bytes: 32 << 20, keep_days: None }
    }
}

/// A task that copies streams to the archive.
pub struct Archiver {
    pub log: Log,
    pub archive: Archive,
    pub terms: ArchiveTerms,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("an event cannot be written: {0}")]
    Event(#[from] serde_json::Error),
    #[error("it cannot be compressed: {0}")]
    Compression(#[from] std::io::Error),
    #[error("another process writes it")]
    Fenced,
}

/// Events that are not in a segment yet.
#[derive(Default)]
struct Open {
    lines: Vec<u8>,
    first: u64,
    last: u64,
    last_id: String,
    count: u64,
}

impl Open {
    fn add(&mut self, record: &Record) -> Result<(), serde_json::Error> {
        if self.count == 0 {
            self.first = record.sequence;
        }
        segment::write(record, &mut self.lines)?;
        (self.last, self.count) = (record.sequence, self.count + 1);
        self.last_id.clone_from(&record.id);
        Ok(())
    }
}

impl Archiver {
    /// Archives a stream until `stop`, while `is_first` is true. After a failure it retries from the last segment.
    pub async fn run(&self, stream: Stream, is_first: watch::Receiver<bool>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if *is_first.borrow() {
                match self.follow(stream, &is_first, &stop).await {
                    Ok(()) | Err(Stop::Tail(TailError::Reconnected)) => continue,
                    Err(error) => tracing::warn!(stream = stream.name(), %error, "{} is not archived: {error}", stream.name()),
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    async fn follow(&self, stream: Stream, is_first: &watch::Receiver<bool>, stop: &CancellationToken) -> Result<(), Stop> {
        let log = self.log.live();
        let mut last = self.archive.last(stream).await?;
        let end = last.as_ref().map(|(manifest, _)| manifest.end());
        let mut tail = log.tail(stream, end.as_ref()).await?;
        let is_continued = end.is_some_and(|end| end.identity == tail.identity) && !tail.restarted;
        let mut aging = Aging::open(&self.archive, stream, self.terms.keep_days, is_continued, tail.first).await?;
        let every = Duration::from_secs(self.terms.every_seconds.into());
        let (mut open, mut since) = (Open::default(), Instant::now());
        while !stop.is_cancelled() && *is_first.borrow() {
            let batch = tokio::select! {
                () = stop.cancelled() => break,
                batch = tail.next_batch_within(READ, LINGER, Duration::from_secs(1)) => batch?,
            };
            if open.count == 0 {
                since = Instant::now();
            }
            for record in &batch {
                open.add(record)?;
            }
            if open.count > 0 && (since.elapsed() >= every || open.lines.len() >= self.terms.segment_bytes) {
                let written = self.write(stream, &tail.identity, std::mem::take(&mut open), last.as_ref()).await?;
                if let Some(aging) = &mut aging {
                    aging.add(written.0.clone());
                }
                last = Some(written);
            }
            if let Some(aging) = &mut aging {
                aging.age(&log, &self.archive, self.clock.now_us()).await;
            }
        }
        // Writes the rest: a process that is stopped more often than segments are due would otherwise never write one.
        if open.count > 0 && *is_first.borrow() {
            self.write(stream, &tail.identity, open, last.as_ref()).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        stream: Stream,
        identity: &str,
        open: Open,
        last: Option<&(Manifest, String)>,
    ) -> Result<(Manifest, String), Stop> {
        let events = zstd::encode_all(&*open.lines, LEVEL)?;
        let number = last.map_or(1, |(manifest, _)| manifest.number + 1);
        let sha256 = hash(&events);
        let manifest = Manifest {
            stream: stream.name().to_owned(),
            number,
            identity: identity.to_owned(),
            first: open.first,
            last: open.last,
            last_id: open.last_id,
            count: open.count,
            archived_at_us: self.clock.now_us(),
            file: format!("{number:010}-{}.ndjson.zst", &sha256[..16]),
            sha256,
            previous: last.map_or_else(String::new, |(_, hash)| hash.clone()),
        };
        if !self.archive.write(&manifest, events).await? {
            return Err(Stop::Fenced);
        }
        tracing::debug!(stream = stream.name(), number, count = manifest.count, "archived");
        self.archive.last(stream).await?.ok_or(Stop::Fenced)
    }
}
