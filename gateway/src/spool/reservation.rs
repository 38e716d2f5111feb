//! A request's place in the spool: room for its end, taken before it is sent anywhere.

use std::sync::Arc;

use events::{Draft, Payload};

use super::batch::Batch;
use super::queue::RESERVATION_BYTES;
use super::{Spool, SpoolError};

/// Room for the end of one request, taken before it is sent anywhere.
pub struct Reservation {
    pub(super) spool: Arc<Spool>,
    /// The request among those that have no end yet, once its start is recorded.
    pub(super) open: Option<u64>,
}

impl Reservation {
    /// Records the start of the request; its file is kept until the end is recorded. Gives back the position to be [flushed].
    ///
    /// # Errors
    /// When it is larger than a record.
    ///
    /// [flushed]: Spool::flushed
    pub fn start<P: Payload>(&mut self, draft: &Draft<'_, P>) -> Result<u64, SpoolError> {
        let batch = Batch::of(&self.spool.source, |batch| batch.push(draft))?;
        let mut queue = self.spool.queue();
        let position = queue.add(&batch);
        self.open = Some(queue.begin(position));
        Ok(position)
    }

    /// Records the end of the request, all of it in one write, into the room that was reserved. Gives back the position to be
    /// flushed.
    pub fn end(self, write: impl FnOnce(&mut Batch<'_>)) -> u64 {
        let batch = Batch::of_end(&self.spool.source, write);
        let mut queue = self.spool.queue();
        let position = queue.add(&batch);
        queue.ended.extend(self.open.map(|open| (open, position)));
        position
    }

    /// The spool it is a place in.
    #[must_use]
    pub fn spool(&self) -> Arc<Spool> {
        Arc::clone(&self.spool)
    }
}

impl Spool {
    /// Takes room for the end of one request.
    ///
    /// # Errors
    /// When the spool is at its cap or the disk is full: the request must be refused.
    pub fn reserve(self: &Arc<Self>) -> Result<Reservation, SpoolError> {
        let mut queue = self.room_for(RESERVATION_BYTES)?;
        queue.reserved += RESERVATION_BYTES;
        Ok(Reservation { spool: Arc::clone(self), open: None })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.spool.queue().reserved -= RESERVATION_BYTES;
    }
}
