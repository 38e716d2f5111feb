//! A request's reservation in the spool: room for its end, taken before the request is sent to a provider.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use events::{Draft, Payload};

use super::batch::Batch;
use super::queue::RESERVATION_BYTES;
use super::{Spool, SpoolError};

/// A reservation of room for the end of one request, taken before the request is sent to a provider.
pub struct Reservation {
    pub(super) spool: Arc<Spool>,
    /// The number of the request among the open ones; `None` until its start is recorded.
    pub(super) open: Option<u64>,
}

impl Reservation {
    /// Records the start of the request; its file is kept until the end is recorded. Returns the position to pass to [`Spool::flushed`].
    ///
    /// # Errors
    /// Fails if the event is larger than a record.
    pub fn start<P: Payload>(&mut self, draft: &Draft<'_, P>) -> Result<u64, SpoolError> {
        let batch = Batch::of(&self.spool.source, |batch| batch.push(draft))?;
        let mut queue = self.spool.queue();
        let position = queue.add(&batch);
        self.open = Some(queue.begin(position));
        Ok(position)
    }

    /// Records the end of the request in one write, into the reserved room. Returns the position to be flushed.
    pub fn end(self, write: impl FnOnce(&mut Batch<'_>)) -> u64 {
        let batch = Batch::of_end(&self.spool.source, write);
        let mut queue = self.spool.queue();
        let position = queue.add(&batch);
        queue.ended.extend(self.open.map(|open| (open, position)));
        position
    }

    #[must_use]
    pub fn spool(&self) -> Arc<Spool> {
        Arc::clone(&self.spool)
    }
}

impl Spool {
    /// Reserves room for the end of one request.
    ///
    /// # Errors
    /// Fails if the spool is at its size limit or the disk is full; the request must be rejected then.
    pub fn reserve(self: &Arc<Self>) -> Result<Reservation, SpoolError> {
        let mut queue = self.room_for(RESERVATION_BYTES)?;
        queue.reserved += RESERVATION_BYTES;
        self.used.store(queue.used(), Ordering::Relaxed);
        Ok(Reservation { spool: Arc::clone(self), open: None })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.spool.queue().reserved -= RESERVATION_BYTES;
    }
}
