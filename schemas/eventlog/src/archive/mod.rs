//! The archive: what the streams held, in files that outlive them. A folder, or a bucket of any S3-compatible store.
//!
//! Each stream has a chain of segments: `{STREAM}/{number}.json` says what is in `{STREAM}/{number}-{hash}.ndjson.zst`, one event a line, as
//! it came. A manifest carries the hash of its file and of the manifest before it, so that nothing can be changed or taken out unseen.
//! The chain follows the log as readers do: after a rollback it begins again at the start of the stream, and what is there twice is
//! told by its ids.

pub mod segment;
pub mod storage;

pub use segment::Manifest;
pub use storage::{Archive, ArchiveError};
