//! Batches of events without a sequence yet: serialized to JSON before any lock is taken.

use events::subject::{Stream, subject};
use events::{Draft, Payload, Source};
use uuid::Uuid;

use super::{SpoolError, record};

/// Events that are recorded together, in their order.
pub struct Batch<'a> {
    source: &'a Source,
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    /// The subject of an event that does not fit; nothing of the batch is recorded then.
    too_large: Option<String>,
}

/// The end of one event in the batch's bytes, and the other fields of its record.
pub(super) struct Entry {
    pub(super) stream: Stream,
    pub(super) id: Uuid,
    pub(super) subject: String,
    pub(super) end: usize,
}

impl<'a> Batch<'a> {
    /// Collects events into a batch.
    ///
    /// # Errors
    /// Fails if one of them is larger than a record.
    pub(super) fn of(source: &'a Source, write: impl FnOnce(&mut Self)) -> Result<Self, SpoolError> {
        let mut batch = Self { source, bytes: Vec::with_capacity(2_048), entries: Vec::with_capacity(2), too_large: None };
        write(&mut batch);
        match batch.too_large.take() {
            None => Ok(batch),
            Some(subject) => Err(SpoolError::TooLarge(subject)),
        }
    }

    /// Collects the events of a request's end. No caller can handle an error any more, so an event that does not fit is left out and logged
    /// as an error.
    pub(super) fn of_end(source: &'a Source, write: impl FnOnce(&mut Self)) -> Self {
        let mut batch = Self { source, bytes: Vec::with_capacity(2_048), entries: Vec::with_capacity(2), too_large: None };
        write(&mut batch);
        if let Some(subject) = batch.too_large.take() {
            tracing::error!(subject, "an event of a request's end is larger than the spool takes and is left out");
        }
        batch
    }

    pub fn push<P: Payload>(&mut self, draft: &Draft<'_, P>) {
        let start = self.bytes.len();
        let subject = subject::<P>(draft.account, draft.subject);
        if draft.write_unnumbered(self.source, &mut self.bytes).is_ok() && record::fits(&subject, &self.bytes[start..]) {
            self.entries.push(Entry { stream: P::STREAM, id: draft.id, subject, end: self.bytes.len() });
        } else {
            self.bytes.truncate(start);
            self.too_large = Some(subject);
        }
    }
}
