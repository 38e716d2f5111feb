//! The status of the spool: the progress of the ledger and the projector, and the fill level.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Spool;
use super::delivery::Delivery;
use super::segment::{Sequences, length};
use super::writer::TAIL_BYTES;

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
        // Readers that have nothing to read are not down.
        if delivery.taken_over != *taken_over || has(&last) {
            delivery.taken_over = *taken_over;
            delivery.backpressure.note_progress(Instant::now());
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

    /// Returns the bytes that events and reserved room can take in all files.
    fn capacity(&self) -> u64 {
        let files = self.config.bytes_max.checked_div(self.config.segment_bytes).unwrap_or(0);
        files * self.config.segment_bytes.saturating_sub(TAIL_BYTES)
    }

    /// Returns the share of the capacity that is in use, from 0 to 1.
    #[must_use]
    pub fn fill_level(&self) -> f64 {
        real(self.used.load(Ordering::Relaxed)) / real(self.capacity().max(1))
    }

    /// Adapts the backpressure to the fill level.
    pub(super) fn adapt_backpressure(&self) {
        self.used.store(self.queue().used(), Ordering::Relaxed);
        let share = self.delivery().backpressure.adapt(self.fill_level(), Instant::now());
        self.unhindered.store(part(self.capacity(), share), Ordering::Relaxed);
    }

    /// Returns the time that a request waits before its admission, because the spool fills faster than it is read.
    #[must_use]
    pub fn backpressure(&self) -> Duration {
        if self.used.load(Ordering::Relaxed) <= self.unhindered.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        self.delivery().backpressure.wait(self.fill_level(), Instant::now())
    }

    /// Returns the bytes of all files and the number of requests whose end is not synced.
    #[must_use]
    pub fn in_use(&self) -> (u64, usize) {
        let files = self.files();
        (length(files.segments.len()) * self.config.segment_bytes, self.queue().open.len())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a level needs no more than three digits")]
const fn real(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a number of bytes")]
const fn part(of: u64, share: f64) -> u64 {
    (of as f64 * share) as u64
}
