//! The ledger's readers of the log.

use eventlog::ReaderId;
use events::subject::Stream;

/// The reader that posts usage.
pub const POSTINGS: ReaderId = ReaderId { name: "postings", stream: Stream::Usage };
/// The reader that keeps accounts and keys.
pub const DIRECTORY: ReaderId = ReaderId { name: "directory", stream: Stream::Control };
pub const ALL: [ReaderId; 2] = [POSTINGS, DIRECTORY];
