//! What is recorded and not written yet: sequences are given here, under a lock that nobody holds while the disk is busy.

use std::collections::{BTreeMap, VecDeque};

use super::batch::Batch;
use super::record;
use super::segment::{Sequences, length};

/// Bytes that an admitted request may need until its end is recorded.
pub(super) const RESERVATION_BYTES: u64 = 16 * 1024;
/// What is recorded and not written yet.
pub(super) struct Queue {
    pub(super) pending: Vec<u8>,
    pub(super) sequences: Sequences,
    /// All bytes that were ever recorded.
    pub(super) position: u64,
    /// Bytes that the files allocated so far still take.
    pub(super) room: u64,
    pub(super) reserved: u64,
    /// Requests whose end is not synced yet, by a number of their own: where their start is recorded.
    pub(super) open: BTreeMap<u64, u64>,
    /// How many requests were ever open.
    begun: u64,
    /// Those of them whose end is recorded, and where.
    pub(super) ended: VecDeque<(u64, u64)>,
    /// Up to where starts were recorded again; what they stood in before is kept until that is synced.
    pub(super) carried: u64,
    /// Whether the last write failed: what it should have written is still pending.
    pub(super) is_stuck: bool,
}

impl Queue {
    /// Nothing is recorded yet.
    pub(super) fn new(sequences: Sequences, room: u64) -> Self {
        Self {
            pending: Vec::new(),
            sequences,
            position: 0,
            room,
            reserved: 0,
            open: BTreeMap::new(),
            begun: 0,
            ended: VecDeque::new(),
            carried: 0,
            is_stuck: false,
        }
    }

    /// Notes a request whose start is recorded there; returns its number.
    pub(super) fn begin(&mut self, position: u64) -> u64 {
        self.begun += 1;
        self.open.insert(self.begun, position);
        self.begun
    }

    /// Whether the end of a request is still to be recorded.
    pub(super) fn is_running(&self, request: u64) -> bool {
        self.open.contains_key(&request) && !self.ended.iter().any(|(ended, _)| *ended == request)
    }

    /// Where the oldest of the starts is recorded that must be kept.
    pub(super) fn first_open(&self) -> Option<u64> {
        self.open.values().min().copied()
    }

    /// Lets go of requests whose ends are synced up to a position.
    pub(super) fn close(&mut self, synced: u64) {
        while let Some((request, _)) = self.ended.pop_front_if(|(_, end)| *end <= synced) {
            self.open.remove(&request);
        }
    }

    /// Gives sequences and appends; gives back the position behind.
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
