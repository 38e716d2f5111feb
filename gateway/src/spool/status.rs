//! The status of the spool: the progress of the ledger and the projector, and the fill level.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Spool;
use super::delivery::Delivery;
use super::segment::{Sequences, length};

impl Spool {
    fn delivery(&self) -> MutexGuard<'_, Delivery> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the sequences up to which every reader has all the events that it needs.
    pub fn note_taken_over(&self, taken_over: &Sequences) {
        let last = self.last();
        let has = |sequences: &Sequences| sequences.iter().zip(taken_over).all(|(sequence, taken)| sequence <= taken);
        let mut delivery = self.delivery();
        if delivery.waiting.as_ref().is_none_or(|(sequences, _)| has(sequences)) {
            delivery.waiting = (!has(&last)).then(|| (last, Instant::now()));
        }
    }

    /// Notes the sequences up to which the ledger and the projector each have everything.
    pub fn note_marks(&self, marks: [Sequences; 2]) {
        self.delivery().marks = marks;
    }

    /// Returns the number of events that the ledger and the projector each still need.
    #[must_use]
    pub fn behind(&self) -> [(&'static str, u64); 2] {
        let (last, marks) = (self.last(), self.delivery().marks);
        let of = |marks: &Sequences| last.iter().zip(marks).map(|(last, mark)| last.saturating_sub(*mark)).sum();
        [("ledger", of(&marks[0])), ("projector", of(&marks[1]))]
    }

    /// Returns the age of the oldest event that the ledger and the projector do not both have, to the accuracy of the watermark requests.
    #[must_use]
    pub fn oldest_unshipped(&self) -> Duration {
        self.delivery().waiting.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// Returns whether the files take more than half of the allowed bytes.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        let files = self.files();
        length(files.segments.len() + files.spares.len()) * self.config.segment_bytes * 2 > self.config.bytes_max
    }

    /// Returns the bytes of all files and the number of requests whose end is not synced.
    #[must_use]
    pub fn in_use(&self) -> (u64, usize) {
        let files = self.files();
        (length(files.segments.len()) * self.config.segment_bytes, self.queue().open.len())
    }
}
