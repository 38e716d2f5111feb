//! The status of the spool: what ledger and projector have of it, and how full it is.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Spool;
use super::delivery::Delivery;
use super::segment::{Sequences, length};

impl Spool {
    fn delivery(&self) -> MutexGuard<'_, Delivery> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes up to where ledger and projector have everything.
    pub fn note_taken_over(&self, taken_over: &Sequences) {
        let last = self.last();
        let has = |sequences: &Sequences| sequences.iter().zip(taken_over).all(|(sequence, taken)| sequence <= taken);
        let mut delivery = self.delivery();
        if delivery.waiting.as_ref().is_none_or(|(sequences, _)| has(sequences)) {
            delivery.waiting = (!has(&last)).then(|| (last, Instant::now()));
        }
    }

    /// Notes up to where the ledger and the projector each have everything.
    pub fn note_marks(&self, marks: [Sequences; 2]) {
        self.delivery().marks = marks;
    }

    /// How many events the ledger and the projector each lack, of those that they need.
    #[must_use]
    pub fn behind(&self) -> [(&'static str, u64); 2] {
        let (last, marks) = (self.last(), self.delivery().marks);
        let of = |marks: &Sequences| last.iter().zip(marks).map(|(last, mark)| last.saturating_sub(*mark)).sum();
        [("ledger", of(&marks[0])), ("projector", of(&marks[1]))]
    }

    /// How long the oldest event waits, at most, that ledger and projector do not both have.
    #[must_use]
    pub fn oldest_unshipped(&self) -> Duration {
        self.delivery().waiting.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// Whether more than half of what the files may take is taken.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        let files = self.files();
        length(files.segments.len() + files.spares.len()) * self.config.segment_bytes * 2 > self.config.bytes_max
    }

    /// Bytes of files, and requests that have no end yet.
    #[must_use]
    pub fn in_use(&self) -> (u64, usize) {
        let files = self.files();
        (length(files.segments.len()) * self.config.segment_bytes, self.queue().open.len())
    }
}
