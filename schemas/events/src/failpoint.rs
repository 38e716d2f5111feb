//! Kill points: named instructions around the money at which a test lets the process die, as by `kill -9`. They are in builds with
//! debug assertions only; in a release build they are nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that arms one: `AROUTER_FAILPOINT=lease.saved:3` dies when `lease.saved` is reached for the third time.
pub const VARIABLE: &str = "AROUTER_FAILPOINT";

macro_rules! failpoints {
    ($($(#[$what:meta])* $point:ident $name:literal,)*) => {
        /// An instruction at which the process can be made to die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Failpoint {
            $($(#[$what])* $point,)*
        }

        impl Failpoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// The word that arms it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

failpoints! {
    /// A place in the spool is reserved, nothing else has happened.
    RequestReserved "request.reserved",
    /// Money is held, nothing is recorded.
    RequestHeld "request.held",
    /// The start is recorded in memory.
    StartRecorded "request.start_recorded",
    /// The start is on the disk, nobody was asked.
    StartWritten "request.start_written",
    /// A provider has answered.
    ProviderAnswered "request.provider_answered",
    /// The end is recorded in memory.
    EndRecorded "request.end_recorded",
    /// The end is on the disk, the client knows nothing.
    EndWritten "request.end_written",
    /// The progress of a stream is on the disk.
    ProgressWritten "request.progress_written",
    /// A write to the spool is done by half.
    SpoolHalfWritten "spool.half_written",
    /// The next file of the spool is made.
    SegmentMade "spool.segment_made",
    /// A file of the spool that everybody has is deleted.
    SegmentForgotten "spool.segment_forgotten",
    /// Events are in the log, the spool's reader has not moved on.
    SpoolSent "spool.sent",
    /// A request of an earlier boot is settled, others are not.
    RecoverySettled "recovery.settled",
    /// An earlier boot is taken over and its leases are closed; its folder is still there.
    RecoveryTakenOver "recovery.taken_over",
    /// A change of a key or an account is on the disk, whoever made it knows nothing.
    ControlRecorded "control.recorded",
    /// A reader has begun a transaction.
    ReaderBegun "reader.begun",
    /// Its events are applied.
    ReaderApplied "reader.applied",
    /// Its checkpoint is moved.
    ReaderMoved "reader.moved",
    /// Its transaction is committed.
    ReaderCommitted "reader.committed",
    /// A lease is granted or changed, and not committed.
    LeaseSaved "lease.saved",
    /// It is committed, the gateway knows nothing.
    LeaseCommitted "lease.committed",
    /// Credit is posted, and not committed.
    CreditSaved "credit.saved",
    /// It is committed, whoever posted it knows nothing.
    CreditCommitted "credit.committed",
    /// The ledger's own events are in the log, the outbox does not know.
    OutboxSent "outbox.sent",
    /// All leases of an earlier boot are closed, its gateway knows nothing.
    SourceClosed "source.closed",
}

/// The armed point, and how often it may still be reached.
static ARMED: OnceLock<(Failpoint, AtomicU64)> = OnceLock::new();

/// Arms a point: `NAME:TIMES`. False when there is no such point, when one is armed, or in a release build.
#[must_use]
pub fn arm(text: &str) -> bool {
    let parsed = text.split_once(':').and_then(|(name, times)| {
        let point = Failpoint::ALL.iter().copied().find(|point| point.name() == name)?;
        Some((point, AtomicU64::new(times.parse().ok()?)))
    });
    cfg!(debug_assertions) && parsed.is_some_and(|armed| ARMED.set(armed).is_ok())
}

/// Dies here when this point is armed and reached for the last time.
#[inline]
pub fn failpoint(point: Failpoint) {
    if dies_at(point) {
        die();
    }
}

/// Whether the process is to die at this point now: for what must first be done by half.
#[inline]
#[must_use]
pub fn dies_at(point: Failpoint) -> bool {
    cfg!(debug_assertions) && ARMED.get().is_some_and(|(armed, left)| *armed == point && left.fetch_sub(1, Ordering::Relaxed) == 1)
}

/// Ends the process at once: nothing is closed, flushed or told.
pub fn die() {
    if cfg!(debug_assertions) {
        std::process::abort();
    }
}
