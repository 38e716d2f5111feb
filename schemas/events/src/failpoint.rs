//! Failpoints: named places around the money at which a test lets the process die, as by `kill -9`. They work only in builds with debug
//! assertions; in a release build they do nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that arms a failpoint: `AROUTER_FAILPOINT=lease.saved:3` kills the process when it reaches `lease.saved` for
/// the third time.
pub const VARIABLE: &str = "AROUTER_FAILPOINT";

macro_rules! failpoints {
    ($($(#[$what:meta])* $point:ident $name:literal,)*) => {
        /// A place at which the process can be made to die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Failpoint {
            $($(#[$what])* $point,)*
        }

        impl Failpoint {
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// Returns the name that arms it.
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
    /// A place in the spool is reserved; nothing else has happened.
    RequestReserved "request.reserved",
    /// Money is held; nothing is recorded.
    RequestHeld "request.held",
    /// The start is recorded in memory.
    StartRecorded "request.start_recorded",
    /// The start is on disk; no provider was called.
    StartWritten "request.start_written",
    /// A provider has responded.
    ProviderAnswered "request.provider_answered",
    /// The end is recorded in memory.
    EndRecorded "request.end_recorded",
    /// The end is on disk; the client does not know.
    EndWritten "request.end_written",
    /// The progress of a stream is on disk.
    ProgressWritten "request.progress_written",
    /// A write to the spool is half done.
    SpoolHalfWritten "spool.half_written",
    /// The next file of the spool is created.
    SegmentMade "spool.segment_made",
    /// A file of the spool is deleted because every reader has its events.
    SegmentForgotten "spool.segment_forgotten",
    /// Events are in the log; the spool's reader has not advanced.
    SpoolSent "spool.sent",
    /// A request of an earlier boot is settled; others are not.
    RecoverySettled "recovery.settled",
    /// An earlier boot is taken over and its leases are closed; its folder still exists.
    RecoveryTakenOver "recovery.taken_over",
    /// A change of a key or an account is on disk; its caller does not know.
    ControlRecorded "control.recorded",
    /// A reader has begun a transaction.
    ReaderBegun "reader.begun",
    /// The reader's events are applied.
    ReaderApplied "reader.applied",
    /// The reader's checkpoint is moved.
    ReaderMoved "reader.moved",
    /// The reader's transaction is committed.
    ReaderCommitted "reader.committed",
    /// A lease is granted or changed, but not committed.
    LeaseSaved "lease.saved",
    /// The lease is committed; the gateway does not know.
    LeaseCommitted "lease.committed",
    /// Credit is posted, but not committed.
    CreditSaved "credit.saved",
    /// The credit is committed; the caller does not know.
    CreditCommitted "credit.committed",
    /// The ledger's events are in the log; the outbox does not know.
    OutboxSent "outbox.sent",
    /// All leases of an earlier boot are closed; its gateway does not know.
    SourceClosed "source.closed",
}

/// The armed failpoint, and the number of times that it may still be reached.
static ARMED: OnceLock<(Failpoint, AtomicU64)> = OnceLock::new();

/// Arms a failpoint: `NAME:TIMES`. Returns false if there is no such failpoint, one is armed already, or this is a release build.
#[must_use]
pub fn arm(text: &str) -> bool {
    let parsed = text.split_once(':').and_then(|(name, times)| {
        let point = Failpoint::ALL.iter().copied().find(|point| point.name() == name)?;
        Some((point, AtomicU64::new(times.parse().ok()?)))
    });
    cfg!(debug_assertions) && parsed.is_some_and(|armed| ARMED.set(armed).is_ok())
}

/// Kills the process if this failpoint is armed and reached for the last time.
#[inline]
pub fn failpoint(point: Failpoint) {
    if dies_at(point) {
        die();
    }
}

/// Returns whether the process is to die at this failpoint now, for a caller that must first do half of its work.
#[inline]
#[must_use]
pub fn dies_at(point: Failpoint) -> bool {
    cfg!(debug_assertions) && ARMED.get().is_some_and(|(armed, left)| *armed == point && left.fetch_sub(1, Ordering::Relaxed) == 1)
}

/// Ends the process at once: nothing is closed, flushed or reported.
pub fn die() {
    if cfg!(debug_assertions) {
        std::process::abort();
    }
}
