//! Writing: sequences are given and records are written under one lock, so that a source never has a gap.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::subject::{Stream, subject};
use events::{Draft, Payload, Source};
use tokio::sync::watch;

use super::record::{self, RECORD_MAX};
use super::segment::{HEADER, Segment, Sequences};
use crate::config::SpoolConfig;

/// Bytes that an admitted request may need until its end is recorded.
const PLACE_BYTES: u64 = 16 * 1024;

/// Why nothing more is taken.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// At its cap, or the disk is full.
    #[error("the spool is full: {0}")]
    Full(String),
    /// The disk failed.
    #[error("the spool cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// The spool of one boot.
pub struct Spool {
    /// The source of its events.
    pub source: Source,
    /// Its folder.
    pub folder: PathBuf,
    config: SpoolConfig,
    state: Mutex<State>,
    written: watch::Sender<u64>,
    synced: watch::Sender<u64>,
}

struct State {
    segments: VecDeque<Arc<Segment>>,
    spare: Option<Arc<Segment>>,
    next_number: u64,
    sequences: Sequences,
    reserved: u64,
    bytes_written: u64,
    scratch: Vec<u8>,
}

/// Room for the end of one request, taken before it is sent anywhere.
pub struct Place {
    spool: Arc<Spool>,
    segment: Option<Arc<Segment>>,
}

/// Records on their way into one write.
pub struct Batch<'a> {
    source: &'a Source,
    sequences: Sequences,
    bytes: &'a mut Vec<u8>,
}

impl Batch<'_> {
    /// Adds an event.
    pub fn push<P: Payload>(&mut self, draft: &Draft<'_, P>) {
        let index = P::STREAM.index();
        let sequence = self.sequences[index] + 1;
        let subject = subject::<P>(draft.account, draft.subject);
        let written =
            record::write(self.bytes, P::STREAM, sequence, draft.id, &subject, |into| draft.write(self.source, sequence, into).is_ok());
        if written {
            self.sequences[index] = sequence;
        } else {
            tracing::error!(subject, "an event is larger than the spool takes and is dropped");
        }
    }
}

impl Spool {
    /// Makes the spool of a new boot.
    ///
    /// # Errors
    /// When the folder cannot be written or the disk is full.
    pub fn create(folder: PathBuf, source: Source, config: SpoolConfig) -> Result<Arc<Self>, SpoolError> {
        std::fs::create_dir_all(&folder)?;
        Self::resume(folder, source, config, VecDeque::new(), Sequences::default())
    }

    /// Goes on with the spool of an earlier boot: its segments as they were read, and a new one behind them.
    ///
    /// # Errors
    /// When the folder cannot be written or the disk is full.
    pub fn resume(
        folder: PathBuf,
        source: Source,
        config: SpoolConfig,
        mut segments: VecDeque<Arc<Segment>>,
        sequences: Sequences,
    ) -> Result<Arc<Self>, SpoolError> {
        let next_number = segments.back().map_or(1, |last| number(&last.path) + 1);
        segments.push_back(Segment::create(&folder, next_number, config.segment_bytes, sequences).map_err(full)?);
        let state =
            State { segments, spare: None, next_number: next_number + 1, sequences, reserved: 0, bytes_written: 0, scratch: Vec::new() };
        Ok(Arc::new(Self {
            source,
            folder,
            config,
            state: Mutex::new(state),
            written: watch::Sender::new(0),
            synced: watch::Sender::new(0),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for the end of one request.
    ///
    /// # Errors
    /// When the spool is at its cap or the disk is full: the request must be refused.
    pub fn reserve(self: &Arc<Self>) -> Result<Place, SpoolError> {
        let mut state = self.lock();
        self.make_room(&mut state, PLACE_BYTES)?;
        state.reserved += PLACE_BYTES;
        Ok(Place { spool: Arc::clone(self), segment: None })
    }

    /// Writes events that no request has reserved room for.
    ///
    /// # Errors
    /// When the spool is full or the disk fails.
    pub fn append(&self, write: impl FnOnce(&mut Batch<'_>)) -> Result<u64, SpoolError> {
        let mut state = self.lock();
        self.make_room(&mut state, PLACE_BYTES)?;
        self.write(&mut state, write).map(|(position, _)| position)
    }

    /// Free bytes beyond what is reserved must not fall below `bytes`; allocates the next file when they would.
    fn make_room(&self, state: &mut State, bytes: u64) -> Result<(), SpoolError> {
        let usable = |segment: &Segment| {
            self.config.segment_bytes.saturating_sub(segment.filled()).saturating_sub(u64::try_from(RECORD_MAX).unwrap_or_default())
        };
        let free = state.segments.back().map_or(0, |segment| usable(segment)) + state.spare.as_ref().map_or(0, |segment| usable(segment));
        if free >= state.reserved + bytes {
            return Ok(());
        }
        let files = u64::try_from(state.segments.len() + usize::from(state.spare.is_some())).unwrap_or_default();
        if state.spare.is_some() || (files + 1) * self.config.segment_bytes > self.config.bytes_max {
            let megabytes = self.config.bytes_max / 1_048_576;
            return Err(SpoolError::Full(format!(
                "{files} files are not yet taken over by the ledger and the projector (cap {megabytes} MiB); are they and NATS running?"
            )));
        }
        let spare = Segment::create(&self.folder, state.next_number, self.config.segment_bytes, state.sequences).map_err(full)?;
        state.next_number += 1;
        state.spare = Some(spare);
        Ok(())
    }

    /// One write; sequences count only when it stands. Gives back the end position and the segment.
    fn write(&self, state: &mut State, write: impl FnOnce(&mut Batch<'_>)) -> Result<(u64, Arc<Segment>), SpoolError> {
        let mut bytes = std::mem::take(&mut state.scratch);
        bytes.clear();
        let mut batch = Batch { source: &self.source, sequences: state.sequences, bytes: &mut bytes };
        write(&mut batch);
        let sequences = batch.sequences;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let segment = self.segment_for(state, size)?;
        let offset = segment.filled();
        segment.file.write_all_at(&bytes, offset)?;
        segment.fill(offset + size, &sequences);
        state.sequences = sequences;
        state.bytes_written += size;
        state.scratch = bytes;
        let position = state.bytes_written;
        self.written.send_replace(position);
        Ok((position, segment))
    }

    fn segment_for(&self, state: &mut State, size: u64) -> Result<Arc<Segment>, SpoolError> {
        if let Some(current) = state.segments.back()
            && current.filled() + size <= self.config.segment_bytes
        {
            return Ok(Arc::clone(current));
        }
        let next = if let Some(spare) = state.spare.take() {
            spare
        } else {
            state.next_number += 1;
            Segment::create(&self.folder, state.next_number - 1, self.config.segment_bytes, state.sequences).map_err(full)?
        };
        state.segments.push_back(Arc::clone(&next));
        Ok(next)
    }

    /// Told how many bytes were written so far.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Waits until everything up to a position is synced to the disk.
    pub async fn synced(&self, position: u64) {
        let mut synced = self.synced.subscribe();
        // The sender lives in self: waiting can only end well.
        let _reached = synced.wait_for(|synced| *synced >= position).await;
    }

    /// Syncs what is written now; called by the thread that does nothing else.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> io::Result<()> {
        let position = *self.written.borrow();
        if *self.synced.borrow() >= position {
            return Ok(());
        }
        let segments: Vec<Arc<Segment>> = self.lock().segments.iter().rev().take(2).cloned().collect();
        for segment in segments {
            segment.file.sync_data()?;
        }
        self.synced.send_replace(position);
        Ok(())
    }

    /// The segments from the oldest on.
    #[must_use]
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.lock().segments.iter().cloned().collect()
    }

    /// The last sequences given out.
    #[must_use]
    pub fn last(&self) -> Sequences {
        self.lock().sequences
    }

    /// Deletes segments that everybody has up to these sequences; never the one that is written.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub fn truncate(&self, taken_over: &Sequences) -> io::Result<()> {
        let mut done = Vec::new();
        {
            let mut state = self.lock();
            while state.segments.len() > 1 {
                let Some(first) = state.segments.front() else { break };
                let all = first.last().iter().zip(taken_over).all(|(last, taken)| last <= taken);
                if !all || first.has_open() {
                    break;
                }
                done.extend(state.segments.pop_front());
            }
        }
        done.iter().try_for_each(|segment| std::fs::remove_file(&segment.path))
    }

    /// Whether everybody has everything.
    #[must_use]
    pub fn is_taken_over(&self, taken_over: &Sequences) -> bool {
        self.last().iter().zip(taken_over).all(|(last, taken)| last <= taken)
    }
}

impl Place {
    /// Writes the start of the request; its file is kept until the end is written.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn start<P: Payload>(&mut self, draft: &Draft<'_, P>) -> Result<u64, SpoolError> {
        let mut state = self.spool.lock();
        let (position, segment) = self.spool.write(&mut state, |batch| batch.push(draft))?;
        segment.count_open(1);
        self.segment = Some(segment);
        Ok(position)
    }

    /// Writes the end of the request, in one write, into the room that was reserved.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn end(self, write: impl FnOnce(&mut Batch<'_>)) -> Result<u64, SpoolError> {
        let mut state = self.spool.lock();
        self.spool.write(&mut state, write).map(|(position, _)| position)
    }

    /// The spool it is a place in.
    #[must_use]
    pub fn spool(&self) -> Arc<Spool> {
        Arc::clone(&self.spool)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.spool.lock().reserved -= PLACE_BYTES;
        if let Some(segment) = self.segment.take() {
            segment.count_open(-1);
        }
    }
}

fn full(error: io::Error) -> SpoolError {
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        SpoolError::Full("no space is left on the disk; free some".to_owned())
    } else {
        SpoolError::Io(error)
    }
}

fn number(path: &Path) -> u64 {
    path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()).unwrap_or_default()
}

/// Bytes before the first record of a segment.
#[must_use]
pub const fn first_offset() -> u64 {
    HEADER
}

/// Which readers must have an event of a stream before it may be forgotten.
#[must_use]
pub const fn needs_ledger(stream: Stream) -> bool {
    match stream {
        Stream::Usage | Stream::Control => true,
        Stream::Requests | Stream::Ledger => false,
    }
}
