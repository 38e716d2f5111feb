//! The writer of the spool. Sequences are assigned under one short lock, so that a source never has a gap. The disk is written under
//! another lock, so that the concurrent records of many requests become one write.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::failpoint::{self, Failpoint, failpoint};
use events::{Draft, Payload, Source};
use tokio::sync::watch;

use super::batch::Batch;
use super::delivery::Delivery;
use super::disk::Disk;
use super::error::{SpoolError, full};
use super::queue::{Queue, RESERVATION_BYTES};
use super::record::{self, Found, RECORD_MAX};
use super::segment::{Blank, HEADER, Segment, Sequences, length};
use crate::config::SpoolConfig;

/// The bytes at the end of a file that may stay empty because the next record does not fit.
pub(super) const TAIL_BYTES: u64 = RECORD_MAX as u64;

/// The spool of one boot.
pub struct Spool {
    /// The source of its events.
    pub source: Source,
    pub folder: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) config: SpoolConfig,
    /// The queue of recorded events. Its lock is never held while waiting for the disk.
    queue: Mutex<Queue>,
    /// The files. If both locks are taken, this one is taken before `queue`.
    files: Mutex<Files>,
    written: watch::Sender<u64>,
    synced: watch::Sender<u64>,
    /// The number of created files as of the last sync of the folder.
    names_synced: AtomicU64,
    /// The progress of the ledger and the projector.
    pub(super) delivery: Mutex<Delivery>,
    /// The bytes that events and reserved room take.
    pub(super) used: AtomicU64,
    /// The used bytes up to which no request waits.
    pub(super) unhindered: AtomicU64,
}

pub(super) struct Files {
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Empty files, allocated for reserved room.
    pub(super) spares: VecDeque<Blank>,
    next_number: u64,
    scratch: Vec<u8>,
}

impl Files {
    /// Returns the bytes that still fit into the files.
    fn room(&self, config: &SpoolConfig) -> u64 {
        let usable = |filled: u64| config.segment_bytes.saturating_sub(filled).saturating_sub(TAIL_BYTES);
        self.segments.back().map_or(0, |current| usable(current.filled())) + length(self.spares.len()) * usable(HEADER)
    }

    /// Returns the last segment if it is equivalent to a new one.
    fn begun(&self, config: &SpoolConfig, sequences: &Sequences) -> io::Result<Option<&Segment>> {
        let Some(last) = self.segments.back().filter(|last| last.before == *sequences) else { return Ok(None) };
        Ok(last.is_blank(config.segment_bytes)?.then_some(last))
    }

    fn allocate(&mut self, disk: &dyn Disk, folder: &Path, config: &SpoolConfig) -> Result<Blank, SpoolError> {
        let blank = Blank::allocate(disk, folder, self.next_number, config.segment_bytes).map_err(full)?;
        self.next_number += 1;
        Ok(blank)
    }
}

impl Spool {
    /// Creates the spool of a new boot.
    pub fn create(disk: Arc<dyn Disk>, folder: PathBuf, source: Source, config: SpoolConfig) -> Result<Arc<Self>, SpoolError> {
        disk.make_folder(&folder)?;
        Self::resume(disk, folder, source, config, VecDeque::new(), Sequences::default())
    }

    /// Continues the spool of an earlier boot: its segments as read, and a new one after them. An earlier start's new segment is reused if
    /// nothing was written to it.
    pub fn resume(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        source: Source,
        config: SpoolConfig,
        segments: VecDeque<Arc<Segment>>,
        sequences: Sequences,
    ) -> Result<Arc<Self>, SpoolError> {
        let next_number = segments.back().map_or(1, |last| last.number() + 1);
        let mut files = Files { segments, spares: VecDeque::new(), next_number, scratch: Vec::new() };
        if let Some(last) = files.begun(&config, &sequences)? {
            last.begin_again()?;
        } else {
            let current = files.allocate(&*disk, &folder, &config)?;
            current.begin(&sequences)?;
            files.segments.push_back(current.into_segment(sequences));
        }
        // Events written by a killed process may not be on disk yet, and are published from now on. The oldest file must be durable too: a
        // missing one means that all readers had its events.
        for segment in &files.segments {
            segment.file.sync()?;
            segment.lasts.store(true, Ordering::Relaxed);
        }
        disk.sync_folder(&folder)?;
        let room = files.room(&config);
        let queue = Queue::new(sequences, room);
        let (written, synced) = (watch::Sender::new(0), watch::Sender::new(0));
        Ok(Arc::new(Self {
            source,
            folder,
            disk,
            config,
            queue: Mutex::new(queue),
            files: Mutex::new(files),
            written,
            synced,
            names_synced: AtomicU64::new(0),
            delivery: Mutex::default(),
            used: AtomicU64::new(0),
            unhindered: AtomicU64::new(0),
        }))
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records and writes events for which no request has reserved room.
    ///
    /// # Errors
    /// Fails if an event is too large, the spool is full or the disk fails.
    pub fn append(&self, write: impl FnOnce(&mut Batch<'_>)) -> Result<u64, SpoolError> {
        let batch = Batch::of(&self.source, write)?;
        let position = self.room_for(RESERVATION_BYTES.max(length(batch.bytes.len())))?.add(&batch);
        self.flush(position)?;
        Ok(position)
    }

    /// Records and writes an event under a sequence whose own event was damaged.
    pub fn fill<P: Payload>(&self, sequence: u64, draft: &Draft<'_, P>) -> Result<(), SpoolError> {
        let batch = Batch::of(&self.source, |batch| batch.push(draft))?;
        let mut queue = self.room_for(RESERVATION_BYTES)?;
        let last = std::mem::replace(&mut queue.sequences[P::STREAM.index()], sequence - 1);
        let position = queue.add(&batch);
        queue.sequences[P::STREAM.index()] = last;
        drop(queue);
        self.flush(position)
    }

    /// Locks the queue with that many bytes free beyond the reserved ones; allocates more files if needed.
    ///
    /// # Errors
    /// Fails if the spool is at its size limit or the disk is full.
    pub(super) fn room_for(&self, bytes: u64) -> Result<MutexGuard<'_, Queue>, SpoolError> {
        let queue = self.queue();
        if queue.is_stuck {
            let position = queue.position;
            drop(queue);
            self.flush(position)?;
        } else if queue.room >= queue.reserved + bytes {
            return Ok(queue);
        } else {
            drop(queue);
        }
        let mut files = self.files();
        let mut queue = self.queue();
        while queue.room < queue.reserved + bytes {
            let count = length(files.segments.len() + files.spares.len());
            if (count + 1) * self.config.segment_bytes > self.config.bytes_max {
                let megabytes = self.config.bytes_max / 1_048_576;
                return Err(SpoolError::Full(format!(
                    "{count} files are not yet taken over by the ledger and the projector (cap {megabytes} MiB); are they and NATS running?"
                )));
            }
            let spare = files.allocate(&*self.disk, &self.folder, &self.config)?;
            files.spares.push_back(spare);
            failpoint(Failpoint::SegmentMade);
            queue.room = files.room(&self.config).saturating_sub(length(queue.pending.len()));
        }
        Ok(queue)
    }

    /// Writes everything up to a position, together with events that others have recorded meanwhile.
    ///
    /// # Errors
    /// Fails if the disk fails; unwritten events stay recorded and are written once the disk accepts them.
    pub fn flush(&self, position: u64) -> Result<(), SpoolError> {
        if *self.written.borrow() >= position {
            return Ok(());
        }
        let mut files = self.files();
        let (mut bytes, sequences, position) = {
            let mut queue = self.queue();
            let scratch = std::mem::take(&mut files.scratch);
            let pending = std::mem::replace(&mut queue.pending, scratch);
            (pending, queue.sequences, queue.position)
        };
        let result = self.write(&mut files, &mut bytes, &sequences, position);
        let mut queue = self.queue();
        queue.is_stuck = result.is_err();
        if result.is_err() {
            bytes.append(&mut queue.pending);
            std::mem::swap(&mut bytes, &mut queue.pending);
        }
        queue.room = files.room(&self.config).saturating_sub(length(queue.pending.len()));
        drop(queue);
        bytes.clear();
        files.scratch = bytes;
        drop(files);
        result?;
        self.written.send_if_modified(|written| {
            let is_more = *written < position;
            *written = position.max(*written);
            is_more
        });
        Ok(())
    }

    /// Writes records into the current file, and into the next one if they do not fit; removes written records from `bytes`.
    fn write(&self, files: &mut Files, bytes: &mut Vec<u8>, sequences: &Sequences, position: u64) -> Result<(), SpoolError> {
        while !bytes.is_empty() {
            let current = files.segments.back().map(Arc::clone);
            let left =
                current.as_ref().map_or(0, |segment| self.config.segment_bytes.saturating_sub(HEADER).saturating_sub(segment.filled()));
            let all = length(bytes.len());
            let (size, last) = match &current {
                Some(_) if all <= left => (bytes.len(), *sequences),
                Some(segment) => fitting(bytes, left, segment.last()),
                None => (0, *sequences),
            };
            if let Some(segment) = current.filter(|_| size > 0) {
                let offset = segment.filled();
                if failpoint::dies_at(Failpoint::SpoolHalfWritten) {
                    segment.file.write(&bytes[..size / 2], offset)?;
                    failpoint::die();
                }
                segment.file.write(&bytes[..size], offset)?;
                segment.end_at(position - (all - length(size)));
                segment.fill(offset + length(size), &last);
                bytes.drain(..size);
            } else {
                let before = files.segments.back().map_or_else(Sequences::default, |segment| segment.last());
                if files.spares.is_empty() {
                    let blank = files.allocate(&*self.disk, &self.folder, &self.config)?;
                    files.spares.push_back(blank);
                }
                // A spare that cannot be started now stays a spare.
                if let Some(blank) = files.spares.front() {
                    blank.begin(&before)?;
                }
                files.segments.extend(files.spares.pop_front().map(|blank| blank.into_segment(before)));
            }
        }
        Ok(())
    }

    /// Writes everything up to a position, after concurrent requests have recorded their events.
    ///
    /// # Errors
    /// Fails if the disk fails; unwritten events stay recorded.
    pub async fn flushed(&self, position: u64) -> Result<(), SpoolError> {
        // Other ready tasks on this thread run first, and then one write serves all of them.
        tokio::task::yield_now().await;
        self.flush(position)
    }

    /// Returns the number of bytes synced to the disk so far.
    pub(super) fn synced_up_to(&self) -> watch::Ref<'_, u64> {
        self.synced.borrow()
    }

    /// Returns a receiver of the number of bytes synced to the disk so far.
    #[must_use]
    pub fn syncs(&self) -> watch::Receiver<u64> {
        self.synced.subscribe()
    }

    /// Returns whether everything that is written is synced.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.written.borrow() <= *self.synced.borrow()
    }

    /// Returns the offset up to which a segment is synced. Events after it may be lost on a power failure, and their sequences assigned
    /// again, so they must not be sent before.
    #[must_use]
    pub fn synced_in(&self, segment: &Segment) -> u64 {
        // With this order of reads, a concurrent write makes the result smaller, never larger.
        let (synced, filled) = (*self.synced.borrow(), segment.filled());
        filled.saturating_sub(segment.ends_at().saturating_sub(synced)).max(HEADER)
    }

    /// Waits until everything up to a position is synced to the disk.
    pub async fn synced(&self, position: u64) {
        let mut synced = self.synced.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _reached = synced.wait_for(|synced| *synced >= position).await;
    }

    /// Writes and syncs everything recorded so far; called by the sync thread.
    ///
    /// # Errors
    /// Fails if the disk fails. After [`SpoolError::Sync`] the written events must not be relied on.
    pub fn sync(&self) -> Result<(), SpoolError> {
        let recorded = self.queue().position;
        self.flush(recorded)?;
        let position = *self.written.borrow();
        let synced = *self.synced.borrow();
        if synced >= position {
            return Ok(());
        }
        let (segments, made) = {
            let files = self.files();
            (files.segments.iter().filter(|segment| segment.ends_at() > synced).cloned().collect::<Vec<_>>(), files.next_number)
        };
        for segment in &segments {
            segment.file.sync().map_err(SpoolError::Sync)?;
        }
        if self.names_synced.load(Ordering::Relaxed) < made {
            self.disk.sync_folder(&self.folder)?;
            self.names_synced.store(made, Ordering::Relaxed);
        }
        for segment in &segments {
            segment.lasts.store(true, Ordering::Relaxed);
        }
        self.queue().close(position);
        self.synced.send_replace(position);
        Ok(())
    }

    /// Returns the segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.files().segments.iter().cloned().collect()
    }

    /// Returns the last assigned sequences.
    #[must_use]
    pub fn last(&self) -> Sequences {
        self.queue().sequences
    }
}

/// Returns the bytes of whole records that fit, and the last sequences in them.
fn fitting(bytes: &[u8], left: u64, mut last: Sequences) -> (usize, Sequences) {
    let mut size = 0;
    while let Found::Record(record) = record::read(&bytes[size..])
        && length(size + record.size) <= left
    {
        last[record.stream.index()] = record.sequence;
        size += record.size;
    }
    (size, last)
}
