//! Events as they are before they have a place in their source: written as JSON before anybody waits for anybody.

use events::subject::{Stream, subject};
use events::{Draft, Payload, Source};
use uuid::Uuid;

use super::record;

/// Events that are recorded together, in their order.
pub struct Batch<'a> {
    source: &'a Source,
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

/// Where one of them ends, and what its record has besides.
pub(super) struct Entry {
    pub(super) stream: Stream,
    pub(super) id: Uuid,
    pub(super) subject: String,
    pub(super) end: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn of(source: &'a Source, write: impl FnOnce(&mut Self)) -> Self {
        let mut batch = Self { source, bytes: Vec::with_capacity(2_048), entries: Vec::with_capacity(2) };
        write(&mut batch);
        batch
    }

    /// Adds an event.
    pub fn push<P: Payload>(&mut self, draft: &Draft<'_, P>) {
        let start = self.bytes.len();
        let subject = subject::<P>(draft.account, draft.subject);
        if draft.write_unnumbered(self.source, &mut self.bytes).is_ok() && record::fits(&subject, &self.bytes[start..]) {
            self.entries.push(Entry { stream: P::STREAM, id: draft.id, subject, end: self.bytes.len() });
        } else {
            self.bytes.truncate(start);
            tracing::error!(subject, "an event is larger than the spool takes and is dropped");
        }
    }
}
