//! Deletion of the files that all readers have.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use events::{Failpoint, failpoint};

use super::Spool;
use super::segment::{Segment, Sequences};

impl Spool {
    /// Deletes segments whose events are all taken over and in which no open request started; never the current one.
    ///
    /// # Errors
    /// Fails if a file cannot be deleted; that file and later ones stay until the next call.
    pub fn truncate(&self, taken_over: &Sequences) -> io::Result<()> {
        while let Some(oldest) = self.oldest_done(taken_over) {
            self.delete(&oldest)?;
            self.files().segments.pop_front();
            self.queue().start = oldest.ends_at();
        }
        Ok(())
    }

    fn oldest_done(&self, taken_over: &Sequences) -> Option<Arc<Segment>> {
        let files = self.files();
        let (first_open, carried) = {
            let queue = self.queue();
            (queue.first_open().unwrap_or(u64::MAX), queue.carried)
        };
        // A start that was recorded again must be durable before its first record is deleted.
        if *self.synced_up_to() < carried {
            return None;
        }
        // The header of the next file holds the sequences before it, so it must be durable before this file is deleted.
        let (oldest, next) = (files.segments.front()?, files.segments.get(1)?);
        let all = oldest.last().iter().zip(taken_over).all(|(last, taken)| last <= taken);
        (all && next.lasts.load(Ordering::Relaxed) && first_open > oldest.ends_at()).then(|| Arc::clone(oldest))
    }

    /// Returns whether all readers have everything.
    #[must_use]
    pub fn is_taken_over(&self, taken_over: &Sequences) -> bool {
        self.last().iter().zip(taken_over).all(|(last, taken)| last <= taken)
    }

    /// Deletes the spool of an earlier boot.
    ///
    /// # Errors
    /// Fails if a file cannot be deleted; the next start tries again.
    pub fn forget(&self) -> io::Result<()> {
        self.segments().iter().try_for_each(|segment| self.delete(segment))?;
        self.disk.remove_folder(&self.folder)
    }

    /// Deletes the oldest segment durably before the next one is deleted. Otherwise a start could survive the deletion of its end.
    fn delete(&self, segment: &Segment) -> io::Result<()> {
        match self.disk.remove(&segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.disk.sync_folder(&self.folder)?;
        failpoint(Failpoint::SegmentForgotten);
        Ok(())
    }
}
