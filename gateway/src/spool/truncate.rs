//! Deleting what everybody has.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use events::{Failpoint, failpoint};

use super::Spool;
use super::segment::{Segment, Sequences};

impl Spool {
    /// Deletes segments that everybody has up to these sequences and that no running request started in; never the one that is
    /// written.
    ///
    /// # Errors
    /// When a file cannot be deleted: it and those behind it stay, and are deleted the next time.
    pub fn truncate(&self, taken_over: &Sequences) -> io::Result<()> {
        while let Some(oldest) = self.oldest_done(taken_over) {
            self.delete(&oldest)?;
            self.files().segments.pop_front();
        }
        Ok(())
    }

    fn oldest_done(&self, taken_over: &Sequences) -> Option<Arc<Segment>> {
        let files = self.files();
        let (first_open, carried) = {
            let queue = self.queue();
            (queue.first_open().unwrap_or(u64::MAX), queue.carried)
        };
        // A start that was recorded again must outlive a loss of power before the first record of it goes.
        if *self.synced_up_to() < carried {
            return None;
        }
        // The next one's header says what was before it: it must be there when this one is not.
        let (oldest, next) = (files.segments.front()?, files.segments.get(1)?);
        let all = oldest.last().iter().zip(taken_over).all(|(last, taken)| last <= taken);
        (all && next.lasts.load(Ordering::Relaxed) && first_open > oldest.ends_at()).then(|| Arc::clone(oldest))
    }

    /// Whether everybody has everything.
    #[must_use]
    pub fn is_taken_over(&self, taken_over: &Sequences) -> bool {
        self.last().iter().zip(taken_over).all(|(last, taken)| last <= taken)
    }

    /// Deletes the spool of an earlier boot.
    ///
    /// # Errors
    /// When a file cannot be deleted; the next start does it again.
    pub fn forget(&self) -> io::Result<()> {
        self.segments().iter().try_for_each(|segment| self.delete(segment))?;
        self.disk.remove_folder(&self.folder)
    }

    /// Deletes the oldest segment. It is gone for good before the next one is: no end is ever gone whose start is still there.
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
