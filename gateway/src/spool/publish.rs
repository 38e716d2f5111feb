//! Shipping the spool to the log, and forgetting what the ledger and the projector have.
//!
//! The files themselves are the queue: whatever is synced and lies above the watermarks is sent, in order, and sent again after every new
//! connection, since what the server had acknowledged it may have lost. Ids make that harmless.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventlog::{Asker, Log, Outgoing};
use events::ask::{AskLedgerWatermarks, AskProjectorWatermarks, CloseSource, Watermarks};
use events::subject::Stream;
use events::{KillPoint, kill_point};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Spool;
use super::record::{Found, RECORD_MAX, read};
use super::segment::{HEADER, Segment, Sequences};

/// Events appended at once.
const BATCH: usize = 512;
/// Bytes read at once.
const CHUNK: usize = 512 * 1024;
const _: () = assert!(CHUNK > RECORD_MAX);
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_millis(200);
/// How long to gather what is synced before it is sent.
const GATHER: Duration = Duration::from_millis(20);
/// How often watermarks are asked for.
const WATERMARKS_EVERY: Duration = Duration::from_millis(500);
/// How long an answer may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// When watermarks stand still for so long although everything is sent, it is sent again: something was lost on the way.
const STUCK: Duration = Duration::from_secs(10);

/// Events that were read, and the segment and byte that they end at.
type Read = (Vec<Outgoing>, Arc<Segment>, u64);

/// Ships one spool.
pub struct Publisher {
    /// The spool.
    pub spool: Arc<Spool>,
    /// Where to.
    pub log: Log,
    /// The ledger, for its watermarks.
    pub ledger: Asker,
    /// The projector, for its watermarks.
    pub projector: Asker,
}

/// A position in the spool: which segment, by its number in the list's order, and the byte.
struct Cursor {
    segment: Option<Arc<Segment>>,
    offset: u64,
}

impl Publisher {
    /// Ships until `stop`, then until everything that is written is acknowledged or `give_up`.
    pub async fn run(self, stop: CancellationToken, give_up: CancellationToken) {
        let mut cursor = Cursor { segment: None, offset: HEADER };
        let mut syncs = self.spool.syncs();
        let mut connects = self.log.connects();
        let mut taken = Sequences::default();
        let mut asked = Instant::now();
        let mut moved = Instant::now();
        loop {
            if connects.has_changed().unwrap_or(false) {
                connects.mark_unchanged();
                cursor.segment = None;
            }
            let sent = tokio::select! {
                () = give_up.cancelled() => return,
                sent = self.send(&mut cursor, &taken) => sent,
            };
            if asked.elapsed() >= WATERMARKS_EVERY {
                asked = Instant::now();
                let now = self.watermarks().await.unwrap_or(taken);
                if now != taken {
                    moved = Instant::now();
                }
                taken = now;
                if let Err(error) = self.spool.truncate(&taken) {
                    tracing::warn!(%error, "a file of the spool cannot be deleted: {error}");
                }
                if moved.elapsed() > STUCK && !self.spool.is_taken_over(&taken) {
                    moved = Instant::now();
                    cursor.segment = None;
                }
            }
            match sent {
                Ok(true) => continue,
                Ok(false) if stop.is_cancelled() && self.spool.is_synced() => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "events wait in the spool: {error}"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                // A moment more makes one batch of what comes together.
                _ = syncs.changed() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Ships the spool of an earlier boot until everybody has it and its leases are settled, then deletes it.
    pub async fn finish(self, stop: CancellationToken) {
        let shipping = CancellationToken::new();
        let last_usage = self.spool.last()[Stream::Usage.index()];
        let (spool, ledger, projector, log) = (Arc::clone(&self.spool), self.ledger.clone(), self.projector.clone(), self.log.clone());
        let watcher = Self { spool, log, ledger, projector };
        let watch = async {
            loop {
                let taken = watcher.watermarks().await.is_some_and(|taken| watcher.spool.is_taken_over(&taken));
                let close = CloseSource { source: watcher.spool.source.0.clone(), last_usage };
                if taken && watcher.ledger.ask(&close, ASK_TIMEOUT).await.unwrap_or(false) {
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
        kill_point(KillPoint::RecoveryTakenOver);
        // Oldest first: should it die here, no end is gone whose start is still there.
        for segment in watcher.spool.segments() {
            if let Err(error) = std::fs::remove_file(&segment.path) {
                tracing::debug!(%error, "a file of the spool of an earlier boot is left to the next step");
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&watcher.spool.folder) {
            tracing::warn!(%error, "the spool of an earlier boot cannot be deleted: {error}");
        }
    }

    /// Sends the next events that are not taken over; false when there are none.
    async fn send(&self, cursor: &mut Cursor, taken: &Sequences) -> Result<bool, SendError> {
        let Some((events, segment, offset)) = next_events(&self.spool, cursor, taken)? else {
            return Ok(false);
        };
        if !events.is_empty() {
            self.log.send(events).await?;
            kill_point(KillPoint::SpoolSent);
        }
        cursor.segment = Some(segment);
        cursor.offset = offset;
        Ok(true)
    }

    /// Up to where ledger and projector both have everything, where both need it; `None` when one does not answer.
    async fn watermarks(&self) -> Option<Sequences> {
        let source = self.spool.source.0.clone();
        let ledger = self.ledger.ask(&AskLedgerWatermarks { source: source.clone() }, ASK_TIMEOUT).await.ok()?;
        let projector = self.projector.ask(&AskProjectorWatermarks { source }, ASK_TIMEOUT).await.ok()?;
        let of = |marks: &Watermarks, stream| marks.get(&stream).copied().unwrap_or(0);
        Some(Stream::ALL.map(|stream| {
            let projected = of(&projector, stream);
            if needs_ledger(stream) { projected.min(of(&ledger, stream)) } else { projected }
        }))
    }
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the spool cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Log(#[from] eventlog::LogError),
}

/// The next events of a spool that are synced, and where they end.
fn next_events(spool: &Spool, cursor: &Cursor, taken: &Sequences) -> io::Result<Option<Read>> {
    let segments = spool.segments();
    let at = cursor.segment.as_ref().and_then(|current| segments.iter().position(|segment| Arc::ptr_eq(segment, current)));
    let (mut index, mut offset) = at.map_or((0, HEADER), |index| (index, cursor.offset));
    while let Some(segment) = segments.get(index) {
        let end = spool.synced_in(segment);
        if offset >= end {
            if end < segment.filled() {
                return Ok(None);
            }
            index += 1;
            offset = HEADER;
            continue;
        }
        let mut buffer = Vec::new();
        segment.read(offset, end, &mut buffer, CHUNK)?;
        let (events, read) = parse(&buffer, taken);
        if read == 0 {
            // Cannot be read here either; the scan has said so. Go on behind it.
            if let Some(behind) = segment.behind_hole(offset) {
                offset = behind;
            } else {
                index += 1;
                offset = HEADER;
            }
            continue;
        }
        return Ok(Some((events, Arc::clone(segment), offset + u64::try_from(read).unwrap_or(u64::MAX))));
    }
    Ok(None)
}

/// The events in a chunk that are not taken over, and how many of its bytes they end at.
fn parse(chunk: &[u8], taken: &Sequences) -> (Vec<Outgoing>, usize) {
    let mut events = Vec::with_capacity(BATCH);
    let mut offset = 0;
    while events.len() < BATCH {
        let Found::Record(record) = read(&chunk[offset..]) else { break };
        if record.sequence > taken[record.stream.index()] {
            events.push(Outgoing {
                stream: record.stream,
                subject: record.subject.to_owned(),
                id: record.id.to_string(),
                payload: Bytes::copy_from_slice(record.event),
            });
        }
        offset += record.size;
    }
    (events, offset)
}

/// Which readers must have an event of a stream before it may be forgotten.
const fn needs_ledger(stream: Stream) -> bool {
    match stream {
        Stream::Usage | Stream::Control => true,
        Stream::Requests | Stream::Ledger => false,
    }
}

#[cfg(test)]
mod tests {
    use events::ids::{Ids, SystemIds};
    use events::request::RequestRefused;
    use events::{Draft, Source, SystemClock};

    use super::*;
    use crate::config::SpoolConfig;

    #[test]
    fn nothing_is_shipped_before_it_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::create(folder.path().join("boot"), Source::gateway("n", "boot"), SpoolConfig::default()).unwrap();
        let refused = RequestRefused {
            request: "r".into(),
            key: "k".into(),
            model: "m".to_owned(),
            status: 402,
            code: "insufficient_credits".to_owned(),
            refused_at_us: 0,
        };
        let record = || {
            let id = SystemIds.uuid(&SystemClock);
            let draft = Draft { id, time_us: 0, account: "a", subject: "r", traceparent: None, payload: &refused };
            spool.append(|batch| batch.push(&draft)).unwrap();
        };
        let taken = Sequences::default();
        let mut cursor = Cursor { segment: None, offset: HEADER };
        let mut shipped = || {
            let Some((events, segment, offset)) = next_events(&spool, &cursor, &taken).unwrap() else { return 0 };
            cursor = Cursor { segment: Some(segment), offset };
            events.len()
        };
        record();
        assert_eq!(shipped(), 0, "written and not synced");
        spool.sync().unwrap();
        record();
        assert_eq!(shipped(), 1, "what is synced, and nothing behind it");
        assert_eq!(shipped(), 0);
        spool.sync().unwrap();
        assert_eq!((shipped(), spool.is_synced()), (1, true));
    }
}
