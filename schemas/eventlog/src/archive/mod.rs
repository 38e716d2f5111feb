//! The archive: the streams' events in files that outlive them, in a folder or in a bucket of any S3-compatible store.
//!
//! Each stream has a chain of segments. The manifest `{STREAM}/{number}.json` describes the file `{STREAM}/{number}-{hash}.ndjson.zst`,
//! which has one unchanged event per line. A manifest contains the hash of its file and of the manifest before it, so that every change or
//! removal is detected.
//!
//! The chain follows the log as readers do. After a rollback it begins again at the start of the stream, and ids show which events it
//! contains twice.

pub mod file;
pub mod segment;
pub mod storage;

pub use file::{FileWriter, Folder};
pub use segment::Manifest;
pub use storage::{Archive, ArchiveError};
