//! Why the spool takes nothing more.

use std::io;

/// Why nothing more is taken.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// At its cap, or the disk is full.
    #[error("the spool is full: {0}")]
    Full(String),
    /// An event is larger than a record.
    #[error("an event for {0} is larger than the spool takes")]
    TooLarge(String),
    /// What was written may not be on the disk: the system forgets it after it has said so once.
    #[error("the disk did not keep what was written to the spool: {0}")]
    Sync(io::Error),
    /// The disk failed.
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
