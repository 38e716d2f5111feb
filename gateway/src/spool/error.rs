//! Errors of the spool.

use std::io;

/// The reason the spool does not accept an event.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The spool is at its size limit, or the disk is full.
    #[error("the spool is full: {0}")]
    Full(String),
    /// An event is larger than a record.
    #[error("an event for {0} is larger than the spool takes")]
    TooLarge(String),
    /// A sync failed, so written bytes may not be on disk. The system reports such a loss only once.
    #[error("the disk did not keep what was written to the spool: {0}")]
    Sync(io::Error),
    #[error("the spool cannot be written: {0}")]
    Io(#[from] io::Error),
}

pub(super) fn full(error: io::Error) -> SpoolError {
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        SpoolError::Full("no space is left on the disk; free some".to_owned())
    } else {
        SpoolError::Io(error)
    }
}
