//! The queue of recorded events that are not written yet. Sequences are assigned here, under a lock that is never held while waiting for
//! the disk.

use std::collections::{BTreeMap, VecDeque};

use super::batch::Batch;
use super::record;
use super::segment::{Sequences, length};

/// The bytes that an admitted request may need until its end is recorded.
pub(super) const RESERVATION_BYTES: u64 = 16 * 1024;
pub(super) struct Queue {
    pub(super) pending: Vec<u8>,
    pub(super) sequences: Sequences,
    /// The total number of bytes ever recorded.
    pub(super) position: u64,
    /// The position at which the oldest file begins.
    pub(super) start: u64,
    /// The bytes that fit into the files allocated so far.
    pub(super) room: u64,
    pub(super) reserved: u64,
    /// The position of the recorded start of each request whose end is not synced yet, by the request's number.
    pub(super) open: BTreeMap<u64, u64>,
    /// The number of requests ever opened.
    begun: u64,
    /// The numbers of open requests whose end is recorded, and the positions of those ends.
    pub(super) ended: VecDeque<(u64, u64)>,
    /// The position up to which starts were recorded again; the older copies are kept until it is synced.
    pub(super) carried: u64,
    /// Whether the last write failed and its bytes are still pending.
    pub(super) is_stuck: bool,
}

impl Queue {
    pub(super) fn new(sequences: Sequences, room: u64) -> Self {
        Self {
            pending: Vec::new(),
            sequences,
            position: 0,
            start: 0,
            room,
            reserved: 0,
            open: BTreeMap::new(),
            begun: 0,
            ended: VecDeque::new(),
            carried: 0,
            is_stuck: false,
        }
    }

    /// Returns the bytes of the events in the files, and of reserved room.
    pub(super) const fn used(&self) -> u64 {
        self.position.saturating_sub(self.start) + self.reserved
    }

    /// Registers a request whose start is recorded at a position; returns its number.
    pub(super) fn begin(&mut self, position: u64) -> u64 {
        self.begun += 1;
        self.open.insert(self.begun, position);
        self.begun
    }

    /// Returns whether the end of a request is still to be recorded.
    pub(super) fn is_running(&self, request: u64) -> bool {
        self.open.contains_key(&request) && !self.ended.iter().any(|(ended, _)| *ended == request)
    }

    /// Returns the position of the oldest start that must be kept.
    pub(super) fn first_open(&self) -> Option<u64> {
        self.open.values().min().copied()
    }

    /// Removes requests whose ends are synced, given the synced position.
    pub(super) fn close(&mut self, synced: u64) {
        while let Some((request, _)) = self.ended.pop_front_if(|(_, end)| *end <= synced) {
            self.open.remove(&request);
        }
    }

    /// Assigns sequences and appends the events; returns the position after them.
    pub(super) fn add(&mut self, batch: &Batch<'_>) -> u64 {
        let before = self.pending.len();
        let mut start = 0;
        for entry in &batch.entries {
            let sequence = &mut self.sequences[entry.stream.index()];
            *sequence += 1;
            record::write(&mut self.pending, entry.stream, *sequence, entry.id, &entry.subject, &batch.bytes[start..entry.end]);
            start = entry.end;
        }
        let size = length(self.pending.len() - before);
        self.position += size;
        self.room = self.room.saturating_sub(size);
        self.position
    }
}
