//! What is recorded and not written yet: sequences are given here, under a lock that nobody holds while the disk is busy.

use std::collections::{BTreeSet, VecDeque};

use super::batch::Batch;
use super::record;
use super::segment::Sequences;
use super::writer::length;

/// What is recorded and not written yet.
pub(super) struct Queue {
    pub(super) pending: Vec<u8>,
    pub(super) sequences: Sequences,
    /// All bytes that were ever recorded.
    pub(super) position: u64,
    /// Bytes that the files allocated so far still take.
    pub(super) room: u64,
    pub(super) reserved: u64,
    /// Where the starts of requests are recorded whose end is not synced yet.
    pub(super) open: BTreeSet<u64>,
    /// Those of them whose end is recorded, and where.
    pub(super) ended: VecDeque<(u64, u64)>,
    /// Whether the last write failed: what it should have written is still pending.
    pub(super) is_stuck: bool,
}

impl Queue {
    /// Lets go of requests whose ends are synced up to a position.
    pub(super) fn close(&mut self, synced: u64) {
        while let Some((start, _)) = self.ended.pop_front_if(|(_, end)| *end <= synced) {
            self.open.remove(&start);
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
