//! The ledger's readers of the log.

use eventlog::ReaderId;
use events::subject::Stream;

/// Posts usage.
pub const POSTINGS: ReaderId = ReaderId { name: "postings", stream: Stream::Usage };
/// Knows accounts and keys.
pub const DIRECTORY: ReaderId = ReaderId { name: "directory", stream: Stream::Control };
/// Every reader of the ledger.
pub const ALL: [ReaderId; 2] = [POSTINGS, DIRECTORY];
